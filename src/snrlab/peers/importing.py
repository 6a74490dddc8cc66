"""Any source that can be explained, as a run file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.config.run_file_text import Line
from snrlab.config.wrong_file import WEIGHTS
from snrlab.core.errors import UserError
from snrlab.files.text import read_json, read_toml
from snrlab.peers.conversion import Conversion, Dropped, readable
from snrlab.peers.interpretation import interpret
from snrlab.peers.kohya.data import IMAGE_OPTIONS, IMAGES
from snrlab.peers.kohya.importer import from_kohya
from snrlab.peers.kohya.model_output import MODEL
from snrlab.peers.onetrainer.importer import from_onetrainer
from snrlab.peers.reading import read_source
from snrlab.peers.run_file_writer import Written, write_run_file
from snrlab.peers.settings import Interpretation, Settings

PATHS = ("model.path", "model.vae", "data.folder", "data.regularisation", "data.masks", "data.dataset_config",
         "lora.start_from")  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """A run file from another trainer's settings.

    Attributes:
        understood: what they were understood to be.
        written: the run file.
        missing: paths in it where nothing is.
    """

    understood: Interpretation
    written: Written
    missing: tuple[str, ...]


def import_source(
    source: Path,
    dataset: Path | None = None,
    *,
    as_is: bool = False,
    refuses: Callable[[Path], str] = lambda path: "",
) -> Imported:
    """The run file for a source.

    Args:
        source: anything that can be explained, but a run of ours.
        dataset: kohya's dataset TOML; by default what the source names.
        as_is: with the trainer's own formulas instead of the right ones.
        refuses: why a dataset TOML cannot be used as it is, in sentences; empty where it can.

    Raises:
        UserError: the source cannot be read, or is for something that is not trained here.
    """
    asked = read_source(source)
    if asked.trainer == "snrlab":
        raise UserError(
            f"{source.name} is {asked.kind}: there is nothing to carry over. Train it as it is.", code="nothing-to-do"
        )
    if dataset is not None and asked.trainer != "kohya":
        raise UserError(f"{source.name} is {asked.kind}, which has no dataset TOML.", code="wrong-file")
    understood = interpret(asked)
    folder = source.parent
    if asked.trainer == "kohya":
        transfer = _kohya(asked, understood, folder, dataset, as_is, refuses)
    else:
        transfer = from_onetrainer(understood, folder, as_is=as_is)
    written = write_run_file(transfer.lines, transfer.left, _head(source, understood, as_is))
    return Imported(understood, written, _missing(written.lines))


def _kohya(
    asked: Settings,
    understood: Interpretation,
    folder: Path,
    dataset: Path | None,
    as_is: bool,
    refuses: Callable[[Path], str],
) -> Conversion:
    stated = readable("dataset_config", "str", asked.options.get("dataset_config"))
    path, notes = dataset, []
    if path is None and stated:
        stated = str(stated)
        path = next((file for file in (Path(stated), folder / stated) if file.is_file()), None)
        if path is None:
            why = "there is no such file; give it as the second argument"
            notes.append(Dropped(f'dataset_config = "{stated}"', why, code="missing-file", names=("dataset_config",)))
    if path is None:
        transfer = from_kohya(understood, folder, as_is=as_is)
        transfer.left += notes
        return transfer
    tables = read_json(path) if path.suffix.lower() == ".json" else read_toml(path)
    if not isinstance(tables.get("datasets"), list):
        raise UserError(f"{path.name} is no dataset TOML of kohya's: it has no [[datasets]].", code="wrong-file")
    why = refuses(path) or _needs_the_training_file(asked.options, tables)
    transfer = from_kohya(understood, folder, tables, None if why else path, as_is=as_is)
    if why:
        stated = f'dataset_config = "{path.name}"'
        transfer.left.append(Dropped(stated, f"written out as sets: {why}", "idle", names=("dataset_config",)))
    return transfer


def _needs_the_training_file(options: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    """Which options of the training file the dataset TOML leaves to it, in words; empty where there are none."""
    general = dataset.get("general", {})
    names = [name for name in IMAGE_OPTIONS if name != "resolution" and name in options and name not in general]
    levels = [*dataset["datasets"], *(subset for group in dataset["datasets"] for subset in group.get("subsets", []))]
    needed = [name for name in names if not all(name in level for level in levels if "subsets" not in level)]
    needed = [name for name in needed if not all(name in level for level in levels if "subsets" in level)]
    return f"the training file says {', '.join(needed)} for it." if needed else ""


def _head(source: Path, understood: Interpretation, as_is: bool) -> list[str]:
    how = (
        f"As it is: with the formulas of {understood.version}."
        if as_is
        else "As it was meant: where the trainer's formula is not that of the method it names, the right one."
    )
    open_ = [f"{r.message[0].upper()}{r.message[1:]}" for r in understood.asked.remarks if r.code == "not_recorded"]
    return [
        f"From {source.name}, {understood.asked.kind}, by snrlab import.",
        how,
        "Behind each value is where it came from; what could not be carried stands at the end.",
        *open_,
    ]


def _missing(lines: tuple[Line, ...]) -> tuple[str, ...]:
    """Paths that are not there, as the run file would look for them."""
    found = []
    for line in lines:
        is_path = line.name in PATHS or (line.name.startswith("data.sets[") and line.name.endswith(("folder", "masks")))
        value = str(line.value)
        if is_path and not line.said and value in (IMAGES, MODEL):
            found.append(f"{line.name}: the settings do not name it; {value} is a placeholder")
        elif is_path and not Path(value).expanduser().exists():
            hub = line.name == "model.path" and re.fullmatch(r"[\w-]+/[\w.-]+", value) and not value.endswith(WEIGHTS)
            what = " here; if it is a name on a hub, download the model first" if hub else ""
            found.append(f"{line.name}: nothing is at {value}{what}")
    return tuple(found)
