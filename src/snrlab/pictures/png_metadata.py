"""PNG files of generated pictures that carry how they were made, in the form that web UIs read."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from snrlab.config.sections.output import SampleConfig
from snrlab.core.registries.samplers import SAMPLERS
from snrlab.files.writing import atomically
from snrlab.models.encode_rule import PLAIN_RULE, EncodeRule
from snrlab.pictures.requests import SampleRequest


def save_png(picture: Image.Image, text: str, path: Path) -> None:
    """Write a PNG with generation parameters in it, atomically."""
    info = PngInfo()
    info.add_text("parameters", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as file:
        picture.save(file, format="PNG", pnginfo=info)


def parameters(config: SampleConfig, size: tuple[int, int], model: str) -> str:
    """Generation parameters of a grid in the text form of A1111."""
    return (
        f"{' | '.join(config.prompts)}\nNegative prompt: {config.negative}\n"
        f"Steps: {config.steps}, Sampler: {SAMPLERS[config.sampler].title}, CFG scale: {config.guidance:g}, "
        f"Seed: {config.seed}, Size: {size[0]}x{size[1]}, Model: {model}"
        + (f", Epsilon scaling: {config.epsilon_scaling:g}" if config.epsilon_scaling != 1 else "")
    )


def request_parameters(
    request: SampleRequest, model: str, rule: EncodeRule = PLAIN_RULE, *, epsilon_scaling: float = 1.0
) -> str:
    """Generation parameters of one picture in the text form of A1111.

    Args:
        request: the request that the picture was drawn from.
        model: name of the model; never a path.
        rule: the rule by which the prompt was encoded.
        epsilon_scaling: divisor of the predicted noise.
    """
    settings = {
        "Steps": request.steps,
        "Sampler": SAMPLERS[request.sampler].title,
        "CFG scale": f"{request.guidance:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model": _quoted(model),
        "Clip skip": rule.clip_skip,
        "Noise": request.place or None,
        "Epsilon scaling": f"{epsilon_scaling:g}" if epsilon_scaling != 1 else None,
    }
    lines = [request.prompt] + ([f"Negative prompt: {request.negative}"] if request.negative else [])
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in settings.items() if value is not None)])


def _quoted(text: str) -> str:
    """A value as A1111 writes it: in quotes where it contains a separator."""
    return json.dumps(text, ensure_ascii=False) if set(",:\n") & set(text) else text
