"""Which model a path or a name means, from its header alone: no weights are read and no torch is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from snrlab.config.presets import PRESET_NAMES, PresetBase
from snrlab.config.sections.model import ShippedModel
from snrlab.core.errors import UserError, nearest
from snrlab.model_files.header import read_header
from snrlab.model_files.model_facts import folder_facts, read_model_json, shipped_facts
from snrlab.model_files.recognise import recognise

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


@dataclass(frozen=True)
class BaseModel:
    """A base model that has been looked at.

    Attributes:
        kind: its family, or small for those that ship.
        path: where it is; None for one that ships.
        shipped: the name of one that ships.
        prediction_type: what it predicts, or None where it does not say.
        about: a line that says what was found.
    """

    kind: PresetBase
    path: Path | None
    shipped: ShippedModel | None
    prediction_type: str | None
    about: str


def identify(model: str) -> BaseModel:
    """The model of that path or name.

    Raises:
        UserError: nothing there, or nothing that can be trained; the message says what it is.
    """
    names = get_args(ShippedModel)
    path = Path(model).expanduser()
    if model in names and not path.exists():
        name = cast("ShippedModel", model)
        about = f"model: {model}, which ships with snrlab"
        return BaseModel("small", None, name, shipped_facts(name).prediction_type, about)
    if not path.exists():
        guess = nearest(model, names)
        hint = f" Did you mean '{guess}'?" if guess else f" Models that ship: {', '.join(names)}."
        raise UserError(f"--model: there is no file or folder {model}.{hint}", code="missing-file")
    return _folder(path.absolute()) if path.is_dir() else _file(path.absolute())


def _file(path: Path) -> BaseModel:
    found = recognise(read_header(path, "--model"))
    says = f"predicts {found.prediction_type}" if found.prediction_type else "what it predicts is not said"
    about = f"model: {path.name}, {PRESET_NAMES[found.family]}, {says} ({found.source})"
    return BaseModel(found.family, path, None, found.prediction_type, about)


def _folder(path: Path) -> BaseModel:
    """A diffusers folder, by its config files."""
    kind = read_model_json(path, "model_index.json", "--model").get("_class_name")
    if kind not in PIPELINES:
        raise UserError(f"--model: {path} holds a {kind}; allowed: {', '.join(PIPELINES)}.", code="not-supported")
    unet = read_model_json(path, "unet/config.json", "--model")
    predicts = folder_facts(path, "--model").prediction_type
    family: PresetBase = "sd2" if unet.get("use_linear_projection") else "sd1"
    if kind == "StableDiffusionXLPipeline":
        family = "sdxl"
    about = f"model: {path.name}, {PRESET_NAMES[family]} in a diffusers folder, predicts {predicts}"
    return BaseModel(family, path, None, predicts, about)
