"""Loading a separate autoencoder (VAE), from any form it is published in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snrlab.core.errors import UserError
from snrlab.model_files.header import Header, read_header
from snrlab.model_files.model_facts import read_model_json
from snrlab.model_files.recognise import other_kind
from snrlab.models.layouts.original_layout import PREFIXES, layout
from snrlab.models.networks import assign_weights, empty_network, fit_shape, open_tensors
from snrlab.models.storage.diffusers_folder import fill_from, load_network

_FIELD = "model.vae"


def load_vae(path: Path, dtype: torch.dtype | None, config: Mapping[str, Any]) -> nn.Module:
    """Load an autoencoder on the CPU.

    Args:
        path: a .safetensors file in the original layout (alone, or a whole model's) or in diffusers', the folder of a
            diffusers autoencoder, or a diffusers folder that has one.
        dtype: number format; None keeps the file's.
        config: config of the model's own autoencoder. A file does not state the scaling factor of its latents, so it is
            taken from here; a folder does, and must agree.

    Raises:
        UserError: nothing at the path, no autoencoder, or one of another family.
    """
    if not path.exists():
        raise UserError(f"{_FIELD}: there is no file or folder {path}.", code="missing-file")
    if path.is_dir():
        folder = path / "vae" if (path / "vae").is_dir() else path
        _check_latents(folder, config)
        return load_network(folder, "vae", dtype, _FIELD)
    header = read_header(path, _FIELD)
    prefix = PREFIXES["sd1"]["vae"]
    if header.has("encoder.down_blocks."):
        return fill_from(empty_network("vae", config), [header], dtype, header.where)
    if header.has(prefix + "encoder.down."):
        return _load_original(header, prefix, config, dtype)
    if header.has("encoder.down."):
        return _load_original(header, "", config, dtype)
    raise UserError(f"{header.where} holds no autoencoder; it is {other_kind(header)}.", code="wrong-file")


def _load_original(header: Header, prefix: str, config: Mapping[str, Any], dtype: torch.dtype | None) -> nn.Module:
    network = empty_network("vae", config)
    shapes = network.state_dict()
    tensors: dict[str, Tensor] = {}
    with open_tensors(header) as file:
        for entry in layout("vae", shapes, config, "sd1"):
            name = prefix + entry.name.removeprefix(PREFIXES["sd1"]["vae"])
            if name not in header.shapes:
                raise UserError(
                    f"{header.where} has no tensor {name}; it is not a complete autoencoder.", code="incomplete-weights"
                )
            needed = tuple(entry.join(shapes).shape)
            tensors |= entry.split(fit_shape(file.read(name, dtype), needed, name, header.where))
    return assign_weights(network, tensors)


def _check_latents(folder: Path, config: Mapping[str, Any]) -> None:
    vae_config = read_model_json(folder, "config.json", _FIELD)
    for key, default in (("scaling_factor", 0.18215), ("latent_channels", 4)):
        value, needed = vae_config.get(key, default), config.get(key, default)
        if value != needed:
            raise UserError(
                f"{_FIELD}: {folder} has {key} {value}, but the model was trained with {needed}: it is the autoencoder "
                "of another family.",
                code="does-not-fit-model",
            )
