"""Checks of paths before the training libraries are loaded, which takes seconds: a wrong path is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from snrlab.core.errors import UserError

if TYPE_CHECKING:
    from snrlab.config import RunConfig


def refuse_unusable_inputs(config: RunConfig) -> None:
    """Check that what a run names exists: its model, LoRA, folders of images, and the package of its optimizer.

    Raises:
        UserError: something is missing, or the model's file is of another kind.
    """
    from snrlab.data.dataset import find
    from snrlab.model_files.model_facts import read_model_facts, read_model_json

    refuse_missing_package(config)
    data = config.data
    if any(not Path(folder).is_dir() for folder in (data.folder, *(one.folder for one in data.sets)) if folder):
        find(data).refuse_problems()
    if config.model.path is not None and Path(config.model.path).is_dir():
        read_model_json(Path(config.model.path), "model_index.json")
    read_model_facts(config.model)
    for field, file in (("model.vae", config.model.vae), ("lora.start_from", config.lora.start_from)):
        if file is not None:
            refuse_missing(Path(file), field)


def refuse_missing_package(config: RunConfig) -> None:
    """Check that the package of the run's optimizer is installed, without importing it (UserError)."""
    from snrlab.train.optim.properties import refuse_uninstalled_optimizer

    refuse_uninstalled_optimizer(config.train.optimizer.name)


def refuse_unusable_source(source: Path, lora: Path | None, *, folders_of_pictures: bool = False) -> None:
    """Check the SOURCE of `sample` and `evaluate`: a run folder, a model, or the name of a model that ships.

    Args:
        source: the argument.
        lora: the LoRA file that goes on top, if any.
        folders_of_pictures: whether a folder without a model is allowed.

    Raises:
        UserError: there is nothing, an unfinished run, or a file of another kind.
    """
    from snrlab.model_files.model_facts import read_model_json
    from snrlab.runs.folder import RunFolder, resume_line

    if lora is not None:
        refuse_missing(lora, "--lora")
    if find_model(source, "SOURCE") != source:
        return
    folder = RunFolder(source)
    if folder.started and not folder.finished:
        raise UserError(
            f"{source} holds an unfinished run. To go on with it:\n  {resume_line(folder)}", code="run-unfinished"
        )
    if source.is_dir() and not folder.started and not folders_of_pictures:
        read_model_json(source, "model_index.json", "SOURCE")


def find_model(source: Path, field: str) -> Path:
    """The path of a model, which may be the name of one that ships unless a file or folder has that name.

    Raises:
        UserError: there is nothing; the message says what to do.
    """
    from snrlab.config.sections.model import ShippedModel
    from snrlab.model_files.model_facts import missing_model_hint, shipped_folder

    if source.exists():
        return source
    for name in get_args(ShippedModel):
        if str(source) == name:
            return shipped_folder(name)
    raise UserError(f"{field}: there is no file or folder {source}.{missing_model_hint(source)}", code="missing-file")


def refuse_missing(path: Path, field: str) -> None:
    """Check that there is something at a path (UserError)."""
    if not path.exists():
        raise UserError(f"{field}: there is no file {path}.", code="missing-file")


def has_lora(source: Path, lora: Path | None) -> bool:
    """Whether a source of `sample` or `evaluate` comes with a LoRA: a file, or the result of a run."""
    from snrlab.runs.folder import RunFolder

    folder = RunFolder(source)
    return lora is not None or (folder.started and folder.read_config().train.method == "lora")
