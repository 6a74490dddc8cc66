"""Everything that a comparison reads from one run folder, without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.config import RunConfig
from snrlab.core.errors import UserError
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import ValidationLine, read_validation
from snrlab.runs.status import RunStatus, run_status


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A run under comparison.

    Attributes:
        label: its name in the comparison.
        status: state and progress; of a run that is not finished, what it has measured so far is compared.
        validation: its measurements on held-out images, in the order of steps.
        held_out: hashes of picture and captions of each held-out image by its name; None where none were recorded.
        model: hashes of the base model's files; empty for one that ships.
    """

    label: str
    path: Path
    config: RunConfig
    status: RunStatus
    validation: tuple[ValidationLine, ...]
    held_out: dict[str, tuple[str, str]] | None
    model: dict[str, str]

    @property
    def finished(self) -> bool:
        """Whether it trained to its end."""
        return self.status.state == "finished"

    def measured_at(self, step: int) -> ValidationLine:
        """The measurement after `step` steps."""
        return next(line for line in self.validation if line["step"] == step)


def are_run_folders(texts: Sequence[str]) -> bool:
    """Whether every argument is the folder of a run, each with or without `Label = ` before it."""
    return all(RunFolder(_split_label(text)[1]).started for text in texts)


def read_run_records(texts: Sequence[str]) -> list[RunRecord]:
    """Read the runs of a comparison, each with or without `Label = ` before its folder.

    Raises:
        UserError: fewer than two, a label or a folder given twice, or a folder that cannot be read.
    """
    if len(texts) < 2:
        raise UserError(f"'{texts[0]}' alone cannot be compared; name a second run.", code="nothing-to-do")
    split = [_split_label(text) for text in texts]
    folders = [RunFolder(path) for _, path in split]
    configs = [folder.read_config() for folder in folders]
    names = [config.name for config in configs]
    labels = [
        label or (config.name if names.count(config.name) == 1 else path.as_posix())
        for (label, path), config in zip(split, configs, strict=True)
    ]
    for given, what in ((labels, "is called"), ([str(path.resolve()) for _, path in split], "is the folder")):
        twice = next((entry for entry in given if given.count(entry) > 1), None)
        if twice is not None:
            raise UserError(f"more than one run {what} {twice}; name each run once.", code="stated-twice")
    return [_read_record(*parts) for parts in zip(labels, folders, configs, strict=True)]


def _read_record(label: str, folder: RunFolder, config: RunConfig) -> RunRecord:
    held_out, model = _read_inputs(folder)
    return RunRecord(
        label,
        folder.path,
        config,
        run_status(folder),
        tuple(sorted(read_validation(folder.validation_file), key=lambda line: line["step"])),
        held_out,
        model,
    )


def _read_inputs(folder: RunFolder) -> tuple[dict[str, tuple[str, str]] | None, dict[str, str]]:
    """The hashes of the held-out images by name (None where none are recorded) and of the model's files."""
    try:
        inputs: dict[str, Any] = json.loads(folder.sources_file.read_text(encoding="utf-8"))
        return {row["name"]: (row["picture"], row["text"]) for row in inputs["held_back"]}, dict(inputs["model"])
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(
            f"{folder.sources_file} is damaged, so nothing says which images the run held out.", code="damaged-file"
        ) from None


def _split_label(text: str) -> tuple[str, Path]:
    label, is_labelled, path = text.partition(" = ")
    return (label.strip(), Path(path.strip())) if is_labelled else ("", Path(text))
