"""Writing a whole model as a diffusers folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTokenizer

from snrlab.models.components import Components
from snrlab.models.pixels import PixelIdentity
from snrlab.models.storage.diffusers_folder import STEMS
from snrlab.models.storage.safetensors_file import PendingTensor, write_tensors

if TYPE_CHECKING:
    from snrlab.models.components import Network


def save_folder(components: Components, path: Path, dtype: torch.dtype | None, largest: int | None = None) -> None:
    """Write a model as a diffusers folder; the networks in memory keep their number format.

    Args:
        components: the model.
        path: an existing folder.
        dtype: number format of the weights; None keeps each tensor's own.
        largest: leave out tensors of more bytes, as a trial of whether the rest can be written.

    Raises:
        UserError: the model's prediction type is unknown.
    """
    components.known_prediction_type()
    for part, network in components.networks.items():
        _save_config(network, path / part)
        save_weights(components, part, path, dtype, largest)
    for name, tokenizer in components.tokenizers.items():
        tokenizer.save_pretrained(path / name)
        _save_vocabulary(tokenizer, path / name)
    save_index(components, path)


def save_weights(
    components: Components, part: str, path: Path, dtype: torch.dtype | None, largest: int | None = None
) -> None:
    """Write one network into a diffusers folder, under names that all versions of the libraries read.

    The libraries' own writers ignore the number format (diffusers) or keep the network's (transformers).
    """
    (path / part).mkdir(parents=True, exist_ok=True)
    prefix = "text_model." if part == "text_encoder" else ""  # transformers 5 has no such level, older ones need it
    tensors = [
        PendingTensor(prefix + name.removeprefix(prefix), tuple(t.shape), dtype or t.dtype, partial(Tensor.detach, t))
        for name, t in components.networks[part].state_dict().items()
    ]
    write_tensors(path / part / f"{STEMS[part]}.safetensors", tensors, {"format": "pt"}, largest)


def save_index(components: Components, path: Path) -> None:
    """Write the scheduler's config and the pipeline's index, model_index.json."""
    (path / "scheduler").mkdir(parents=True, exist_ok=True)
    _write_json(path / "scheduler" / "scheduler_config.json", components.scheduler_config)
    autoencoder = components.vae
    index: dict[str, Any] = {
        "scheduler": ["diffusers", components.scheduler_config.get("_class_name", "DDIMScheduler")],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": [
            "diffusers" if isinstance(autoencoder, AutoencoderKL) else PixelIdentity.__module__,
            type(autoencoder).__name__,
        ],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
    }
    if components.family == "sdxl":
        index |= {
            "_class_name": "StableDiffusionXLPipeline",
            "force_zeros_for_empty_prompt": True,
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
        }
    else:
        index |= {
            "_class_name": "StableDiffusionPipeline",
            "requires_safety_checker": False,
            "safety_checker": [None, None],
        }
    _write_json(path / "model_index.json", dict(sorted(index.items())))


def _save_config(network: Network, folder: Path) -> None:
    """Write the network's config, without the path that it was loaded from."""
    # diffusers' networks save their config; transformers' have a config that saves itself
    save = getattr(network, "save_config", None) or network.config.save_pretrained
    save(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    _write_json(file, dict(sorted(config.items())))


def _save_vocabulary(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write vocab.json and merges.txt, which transformers 5 omits and older programs require."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
