"""Loading a whole model from a diffusers folder, in any form that hubs publish; always offline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from snrlab.core.errors import UserError, first_line
from snrlab.model_files.header import PICKLES, Header, read_header, refuse_pickle
from snrlab.model_files.model_facts import folder_facts, read_model_json
from snrlab.models.clip import with_plain_padding
from snrlab.models.components import Components
from snrlab.models.networks import TensorFile, assign_weights, empty_network, fit_shape, open_tensors

STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
_PARTS = {
    "StableDiffusionPipeline": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "StableDiffusionXLPipeline": (
        "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler",
    ),
}  # fmt: skip
_CLASSES = {"unet": ("UNet2DConditionModel",), "vae": ("AutoencoderKL", "PixelIdentity")}
# names in autoencoders saved before diffusers had a common attention module
FORMER = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def load_folder(
    path: Path,
    dtype: torch.dtype | None,
    vae_dtype: torch.dtype | None,
    vae: nn.Module | None = None,
    field: str = "model.path",
) -> Components:
    """Load a model on the CPU, tensor by tensor.

    Args:
        path: the folder.
        dtype: number format of the UNet and the text encoders; None keeps the files', which then stay mapped.
        vae_dtype: the same for the autoencoder.
        vae: an autoencoder to use instead of the folder's.
        field: name of the option or field that gave the folder, for messages.

    Raises:
        UserError: not a diffusers folder, a part is missing, broken or pickled, or another kind of model.
    """
    index = read_model_json(path, "model_index.json", field)
    kind = str(index.get("_class_name"))
    if kind not in _PARTS:
        raise UserError(f"{field}: {path} holds a {kind}; allowed: {', '.join(_PARTS)}.", code="not-supported")
    parts = [part for part in _PARTS[kind] if not (part == "vae" and vae is not None)]
    for part in parts:
        if not (path / part).is_dir():
            raise UserError(
                f"{field}: {path} has no folder '{part}'; a {kind} has {', '.join(_PARTS[kind])}.", code="missing-file"
            )
    facts = folder_facts(path, field)
    networks: dict[str, Any] = {"vae": vae} if vae is not None else {}
    networks |= {
        part: load_network(path / part, part, dtype if part != "vae" else vae_dtype, field)
        for part in STEMS
        if part in parts
    }
    if networks["unet"].config.in_channels != networks["vae"].config.latent_channels:
        raise UserError(
            f"{field}: the UNet of {path} takes {networks['unet'].config.in_channels} channels, not the "
            f"{networks['vae'].config.latent_channels} of a latent: an inpainting model or the like. "
            "Train the model that it was made from.",
            code="not-supported",
        )
    return Components(
        **networks,
        **{part: _load_tokenizer(path / part, field) for part in parts if part.startswith("tokenizer")},
        scheduler_config=dict(facts.scheduler_config),
        label=facts.label,
        prediction_source=facts.prediction_source,
        assumed=facts.assumed,
    )


def load_network(folder: Path, part: str, dtype: torch.dtype | None, field: str = "model.path") -> nn.Module:
    """Load a network from its folder: one file, shards, or a variant such as fp16.

    Raises:
        UserError: no weights, only pickled ones, or weights that do not match the config.
    """
    config = read_model_json(folder, "config.json", field)
    kind = config.get("_class_name")
    if part in _CLASSES and kind is not None and kind not in _CLASSES[part]:
        raise UserError(
            f"{field}: {folder} holds a {kind}; allowed: {', '.join(_CLASSES[part])}.", code="not-supported"
        )
    try:
        network = empty_network(part, config)
    except (ValueError, TypeError, KeyError) as reason:
        raise UserError(
            f"{field}: {folder / 'config.json'} does not describe a {part} ({reason}).", code="invalid-content"
        ) from None
    headers = [read_header(file, field) for file in _weight_files(folder, STEMS[part], field)]
    return fill_from(network, headers, dtype, f"{field}: {folder}")


def fill_from(network: nn.Module, headers: list[Header], dtype: torch.dtype | None, where: str) -> nn.Module:
    """Fill an empty network from files with diffusers' names (UserError where tensors are missing)."""
    shapes = network.state_dict()
    names = _match_names(shapes, headers)
    missing = [name for name in shapes if name not in names]
    if missing:
        raise UserError(
            f"{where} lacks {len(missing)} of {len(shapes)} tensors, such as {missing[0]}.", code="incomplete-weights"
        )
    with ExitStack() as stack:
        files = [stack.enter_context(open_tensors(header)) for header in headers]
        tensors = {name: _read_tensor(files, names[name], dtype) for name in shapes}
    return assign_weights(network, {n: fit_shape(t, tuple(shapes[n].shape), n, where) for n, t in tensors.items()})


def _weight_files(folder: Path, stem: str, field: str) -> list[Path]:
    """The files of a network; of several variants the plain one is preferred, then fp16, then any."""
    variants: dict[str, list[Path]] = {}
    pattern = re.compile(
        rf"{re.escape(stem)}(?:\.(?P<variant>[\w-]+?))?(?:-\d{{5}}-of-\d{{5}})?(?:\.(?P<after>[\w]+))?\.safetensors"
    )
    for file in sorted(folder.glob("*.safetensors")):
        if match := pattern.fullmatch(file.name):
            variants.setdefault(match["variant"] or match["after"] or "", []).append(file)
    for variant in ("", "fp16", *variants):
        if variant in variants:
            return variants[variant]
    pickled = [file for file in sorted(folder.glob("*")) if file.suffix in PICKLES]
    if pickled:
        refuse_pickle(pickled[0], field)
    raise UserError(f"{field}: {folder} has no {stem}.safetensors.", code="missing-file")


def _match_names(shapes: Mapping[str, Tensor], headers: list[Header]) -> dict[str, str]:
    """Names in the files by names in the network; they differ between versions of the libraries."""
    names = {}
    for name in (name for header in headers for name in header.shapes):
        current = name
        for old, new in FORMER.items():
            current = current.replace(old, new) if ".attentions." in current else current
        for candidate in (current, current.removeprefix("text_model."), f"text_model.{current}"):
            if candidate in shapes:
                names[candidate] = name
    return names


def _read_tensor(files: list[TensorFile], name: str, dtype: torch.dtype | None) -> Tensor:
    return next(file for file in files if name in file.header.shapes).read(name, dtype)


def _load_tokenizer(folder: Path, field: str) -> CLIPTokenizer:
    try:
        return with_plain_padding(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
    except (OSError, ValueError, KeyError) as reason:
        raise UserError(f"{field}: {folder} does not load: {first_line(reason)}", code="invalid-content") from None
