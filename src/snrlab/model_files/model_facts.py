"""Facts that a base model states about itself: noise schedule and prediction type, read without its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from snrlab.config.sections.model import ModelConfig, ShippedModel
from snrlab.core.errors import UserError, nearest
from snrlab.core.regular_file import check_regular_file
from snrlab.model_files import families
from snrlab.model_files.header import read_header
from snrlab.model_files.recognise import Checkpoint, Claim, recognise


@dataclass(frozen=True)
class ModelFacts:
    """Facts that a base model states about itself.

    Attributes:
        label: name of the model in messages and metadata; never a path.
        scheduler_config: content of its scheduler_config.json, or that of its family for a single file.
        prediction_source: how the prediction type and the schedule are known, in words.
        assumed: those of them that the model does not state; a run file may then set them without `convert`.
        missing: why the model could not be read, in words; empty if it was read.
    """

    label: str
    scheduler_config: Mapping[str, Any] = field(hash=False)
    prediction_source: str = "its scheduler_config.json"
    assumed: frozenset[Claim] = frozenset()
    missing: str = ""

    @property
    def prediction_type(self) -> str | None:
        """What the network predicts; None if neither the model nor its family says."""
        return self.scheduler_config.get("prediction_type", "epsilon")


def read_model_facts(config: ModelConfig) -> ModelFacts:
    """Read the facts of the base model that [model] names.

    Raises:
        UserError: it does not exist, or is not a whole model of a known family.
    """
    if config.shipped is not None:
        return shipped_facts(config.shipped)
    if config.random is not None:
        return ModelFacts(f"snrlab-{config.random}", shipped_facts("small").scheduler_config)
    path = Path(str(config.path)).expanduser()
    if not path.exists():
        raise UserError(
            f"model.path: there is no file or folder {path}.{missing_model_hint(path)}", code="missing-file"
        )
    return folder_facts(path) if path.is_dir() else checkpoint_facts(recognise(read_header(path)))


_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")  # owner/name on Hugging Face


def missing_model_hint(path: Path) -> str:
    """What to do where a path that names a model leads to nothing: a shipped model's name, runs, or a download.

    >>> missing_model_hint(Path("smal"))
    ' Did you mean small, a model that ships?'
    """
    guess = nearest(str(path), get_args(ShippedModel))
    if guess:
        return f" Did you mean {guess}, a model that ships?"
    if path.parts[:1] == ("runs",):
        return " To see the runs that there are: snrlab runs"
    if _REPOSITORY.fullmatch(path.as_posix()) and not path.parent.exists():
        return (
            " If that is a model on Hugging Face, download it first: "
            f"hf download {path.as_posix()} --local-dir models/{path.name}"
        )
    return ""


def facts_or_assumption(config: ModelConfig) -> ModelFacts:
    """Facts of the model; one that cannot be read is assumed to be SD 1.5, with the reason in `missing`."""
    try:
        return read_model_facts(config)
    except (UserError, OSError) as error:
        label = Path(config.path).name if config.path else str(config.shipped or config.random)
        return ModelFacts(
            label,
            families.config("sd1", "scheduler"),
            "the model could not be read",
            frozenset({"prediction_type", "zero_terminal_snr"}),
            missing=str(error),
        )


def checkpoint_facts(checkpoint: Checkpoint) -> ModelFacts:
    """Facts of a checkpoint file: what it states itself, and its family's defaults for the rest."""
    scheduler = families.config(checkpoint.family, "scheduler") | {"prediction_type": checkpoint.prediction_type}
    if checkpoint.zero_terminal_snr:
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return ModelFacts(checkpoint.header.path.stem, scheduler, checkpoint.source, checkpoint.assumed)


def folder_facts(path: Path, field: str = "model.path") -> ModelFacts:
    """Facts of a diffusers folder.

    Raises:
        UserError: it has no readable scheduler/scheduler_config.json.
    """
    scheduler = read_model_json(path, "scheduler/scheduler_config.json", field)
    if "prediction_type" in scheduler:
        return ModelFacts(path.name, scheduler)
    source = "its scheduler_config.json leaves it out, which means epsilon"
    return ModelFacts(path.name, scheduler, source, frozenset({"prediction_type"}))


def shipped_facts(name: ShippedModel) -> ModelFacts:
    """Facts of a model that ships with the package."""
    return ModelFacts(f"snrlab-{name.replace('_', '-')}", folder_facts(shipped_folder(name)).scheduler_config)


def shipped_folder(name: ShippedModel) -> Path:
    """Folder of a model that ships, in diffusers layout."""
    return Path(str(resources.files(f"snrlab.models.{name}")))


def read_model_json(path: Path, name: str, field: str = "model.path") -> dict[str, Any]:
    """Read a JSON object from a diffusers folder.

    Raises:
        UserError: the folder or file is missing, or cannot be read.
    """
    if not path.is_dir():
        raise UserError(f"{field}: there is no folder {path}.", code="missing-file")
    check_regular_file(path / name, field)
    try:
        content = json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{field}: {path} has no {name}; a diffusers folder has one.", code="missing-file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{field}: {path / name} cannot be read ({error}).", code="unreadable-file") from None
    return content if isinstance(content, dict) else {}
