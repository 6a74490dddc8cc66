"""Model families: the configs of their networks in the format of diffusers and transformers, without weights."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Literal

Family = Literal["sd1", "sd2", "sdxl"]
FAMILY_NAMES: dict[Family, str] = {
    "sd1": "Stable Diffusion 1.5",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
}
PARTS: dict[Family, tuple[str, ...]] = {
    "sd1": ("unet", "vae", "text_encoder"),
    "sd2": ("unet", "vae", "text_encoder"),
    "sdxl": ("unet", "vae", "text_encoder", "text_encoder_2"),
}
TEXT_WIDTHS: dict[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # by the UNet's cross_attention_dim


def config(family: Family, part: str) -> dict[str, Any]:
    """Config of a part of a family: a network of `PARTS`, or `scheduler`.

    >>> config("sdxl", "unet")["cross_attention_dim"]
    2048
    """
    file = resources.files("snrlab.model_files.families").joinpath(family, f"{part}.json")
    return json.loads(file.read_text(encoding="utf-8"))
