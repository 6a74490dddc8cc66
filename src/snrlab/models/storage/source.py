"""Loading the base model: from a path, shipped with the package, or with random weights."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from snrlab.config.sections.model import ModelConfig, ShippedModel
from snrlab.core.errors import UserError
from snrlab.model_files import families
from snrlab.model_files.header import read_header
from snrlab.model_files.model_facts import missing_model_hint, read_model_json, shipped_facts, shipped_folder
from snrlab.model_files.recognise import recognise
from snrlab.models.components import Components
from snrlab.models.small.build import build
from snrlab.models.storage.autoencoder import load_vae
from snrlab.models.storage.diffusers_folder import load_folder
from snrlab.models.storage.single_file import load_single_file
from snrlab.progress import timed

logger = logging.getLogger(__name__)
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def load_base(config: ModelConfig, seed: int, dtype: torch.dtype = torch.float32) -> Components:
    """Load or build the base model on the CPU, with its autoencoder in fp32 (UserError where that fails)."""
    if config.path is not None:
        return load_model(Path(config.path), dtype, vae=Path(config.vae) if config.vae else None)
    model = shipped(config.shipped) if config.shipped is not None else build(config.random or "small", seed)
    for name, network in model.networks.items():
        if name != "vae":
            network.to(dtype)
    return model


def load_model(
    path: Path,
    dtype: torch.dtype | None = torch.float32,
    vae_dtype: torch.dtype | None = torch.float32,
    vae: Path | None = None,
    field: str = "model.path",
) -> Components:
    """Load a model from a single .safetensors file or a diffusers folder, on the CPU.

    Args:
        path: the file or the folder.
        dtype: number format of the UNet and the text encoders; None keeps the files'.
        vae_dtype: the same for the autoencoder, which is small and sensitive: half precision blurs or overflows.
        vae: file or folder of an autoencoder that replaces the model's.
        field: name of the option or field that gave the path, for messages.

    Raises:
        UserError: nothing at the path, a pickle, or not a whole model of a known family; the message says what it is.
    """
    if not path.exists():
        raise UserError(f"{field}: there is no file or folder {path}.{missing_model_hint(path)}", code="missing-file")
    autoencoder = None if vae is None else load_vae(vae, vae_dtype, _vae_config(path, field))
    with timed(logger, f"loaded {path}" + (f" with the autoencoder {vae}" if vae else "")):
        reader = load_folder if path.is_dir() else load_single_file
        model = reader(path, dtype, vae_dtype, autoencoder, field)
    prediction = f"{model.prediction_type} ({model.prediction_source})"
    logger.debug(f"{model.label} is of the family {model.family} and predicts {prediction}")
    return model


def _vae_config(path: Path, field: str) -> dict[str, Any]:
    """Config of the model's own autoencoder."""
    if path.is_file():
        return recognise(read_header(path, field)).config("vae")
    if (path / "vae").is_dir():
        return read_model_json(path / "vae", "config.json", field)
    is_sdxl = read_model_json(path, "model_index.json", field).get("_class_name") == "StableDiffusionXLPipeline"
    return families.config("sdxl" if is_sdxl else "sd1", "vae")


def shipped(name: ShippedModel) -> Components:
    """Load a small model that ships with the package.

    The parts that small_v shares with small are loaded from small's folder: small_v has them as symbolic links only,
    which a checkout on Windows may lack.
    """
    facts = shipped_facts(name)
    model = replace(
        load_model(shipped_folder("small")), label=facts.label, scheduler_config=dict(facts.scheduler_config)
    )
    if name == "small":
        return model
    unet = UNet2DConditionModel.from_pretrained(
        shipped_folder(name) / "unet", local_files_only=True, use_safetensors=True
    )
    return replace(model, unet=unet)
