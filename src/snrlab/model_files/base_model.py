"""Base model that a path or name means, identified from its header alone: reads no weights, needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from snrlab.config.presets import BASE_NAMES, PresetBase
from snrlab.config.sections.model import ShippedModel
from snrlab.core.errors import UserError
from snrlab.model_files.header import read_header
from snrlab.model_files.model_facts import folder_facts, missing_model_hint, read_model_json, shipped_facts
from snrlab.model_files.recognise import recognise

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


@dataclass(frozen=True)
class BaseModel:
    """An identified base model.

    Attributes:
        kind: its family, or small for the models that ship.
        path: of its file or folder; None for a model that ships.
        shipped: name of a model that ships; else None.
        prediction_type: what it predicts; None if it does not say.
        summary: one line for the user.
    """

    kind: PresetBase
    path: Path | None
    shipped: ShippedModel | None
    prediction_type: str | None
    summary: str


def identify(model: str) -> BaseModel:
    """Identify the base model of a path, or of the name of one that ships.

    Raises:
        UserError: the path does not exist, or holds no model that can be trained; the message says what it holds.
    """
    names = get_args(ShippedModel)
    path = Path(model).expanduser()
    if model in names and not path.exists():
        name = cast("ShippedModel", model)
        summary = f"model: {model}, which ships with snrlab"
        return BaseModel("small", None, name, shipped_facts(name).prediction_type, summary)
    if not path.exists():
        hint = missing_model_hint(path) or f" Models that ship: {', '.join(names)}."
        raise UserError(f"--model: there is no file or folder {model}.{hint}", code="missing-file")
    return _identify_folder(path.absolute()) if path.is_dir() else _identify_file(path.absolute())


def _identify_file(path: Path) -> BaseModel:
    """Identify a checkpoint file by its header."""
    checkpoint = recognise(read_header(path, "--model"))
    prediction = (
        f"predicts {checkpoint.prediction_type}" if checkpoint.prediction_type else "it does not say what it predicts"
    )
    summary = f"model: {path.name}, {BASE_NAMES[checkpoint.family]}, {prediction} ({checkpoint.source})"
    return BaseModel(checkpoint.family, path, None, checkpoint.prediction_type, summary)


def _identify_folder(path: Path) -> BaseModel:
    """Identify a diffusers folder by its config files."""
    pipeline = read_model_json(path, "model_index.json", "--model").get("_class_name")
    if pipeline not in PIPELINES:
        raise UserError(f"--model: {path} holds a {pipeline}; allowed: {', '.join(PIPELINES)}.", code="not-supported")
    unet = read_model_json(path, "unet/config.json", "--model")
    prediction_type = folder_facts(path, "--model").prediction_type
    family: PresetBase = "sd2" if unet.get("use_linear_projection") else "sd1"
    if pipeline == "StableDiffusionXLPipeline":
        family = "sdxl"
    summary = f"model: {path.name}, {BASE_NAMES[family]} in a diffusers folder, predicts {prediction_type}"
    return BaseModel(family, path, None, prediction_type, summary)
