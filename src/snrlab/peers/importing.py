"""Import of another trainer's settings, from any source that `explain` reads, as a run file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.config.run_file_text import Line
from snrlab.config.wrong_file import WEIGHT_SUFFIXES
from snrlab.core.errors import UserError
from snrlab.files.text import read_json, read_toml
from snrlab.peers.conversion import Conversion, Dropped, readable
from snrlab.peers.interpretation import interpret
from snrlab.peers.kohya.dataset_options import IMAGE_OPTIONS, IMAGES, ONLY_STATED, stated_batch_sizes
from snrlab.peers.kohya.model_options import MODEL
from snrlab.peers.kohya.to_run_file import from_kohya
from snrlab.peers.onetrainer.to_run_file import from_onetrainer
from snrlab.peers.run_file_writer import Written, write_run_file
from snrlab.peers.settings import Interpretation, Settings
from snrlab.peers.settings_reader import read_source

PATHS = ("model.path", "model.vae", "data.folder", "data.regularisation", "data.masks", "data.dataset_config",
         "lora.start_from")  # fmt: skip


MISSING_PATH = "missing-file"  # code of the errors on paths that do not exist


@dataclass(frozen=True)
class Imported:
    """A run file from another trainer's settings.

    Attributes:
        interpretation: what the settings mean.
        written: the run file.
        missing: paths in it that do not exist, a sentence each.
    """

    interpretation: Interpretation
    written: Written
    missing: tuple[str, ...]


def import_source(
    source: Path,
    dataset: Path | None = None,
    *,
    as_is: bool = False,
    refuses: Callable[[Path], str] = lambda path: "",
) -> Imported:
    """Convert a source into a run file.

    Args:
        source: anything that can be explained, except a run of snrlab.
        dataset: path of kohya's dataset TOML; by default the one that the source names.
        as_is: use the trainer's own formulas instead of the right ones.
        refuses: says in sentences why a dataset TOML cannot be used unchanged; empty where it can.

    Raises:
        UserError: the source cannot be read, or is for something that is not trained here.
    """
    settings = read_source(source)
    if settings.trainer == "snrlab":
        raise UserError(
            f"{source.name} is {settings.kind}: there is nothing to carry over. Train it as it is.",
            code="nothing-to-do",
        )
    if dataset is not None and settings.trainer != "kohya":
        raise UserError(f"{source.name} is {settings.kind}, which has no dataset TOML.", code="wrong-file")
    interpretation = interpret(settings)
    folder = source.parent
    if settings.trainer == "kohya":
        conversion = _import_kohya(settings, interpretation, folder, dataset, as_is, refuses)
    else:
        conversion = from_onetrainer(interpretation, folder, as_is=as_is)
    written = write_run_file(conversion.lines, conversion.dropped, _header_lines(source, interpretation, as_is))
    return Imported(interpretation, written, _missing_paths(written.lines))


def _import_kohya(
    settings: Settings,
    interpretation: Interpretation,
    folder: Path,
    dataset: Path | None,
    as_is: bool,
    refuses: Callable[[Path], str],
) -> Conversion:
    dataset_option = readable("dataset_config", "str", settings.options.get("dataset_config"))
    path, dropped = dataset, []
    if path is None and dataset_option:
        dataset_option = str(dataset_option)
        path = next((file for file in (Path(dataset_option), folder / dataset_option) if file.is_file()), None)
        if path is None:
            reason = "there is no such file, so give it as the second argument"
            dropped.append(
                Dropped(f'dataset_config = "{dataset_option}"', reason, code="missing-file", names=("dataset_config",))
            )
    if path is None:
        conversion = from_kohya(interpretation, folder, as_is=as_is)
        conversion.dropped += dropped
        return conversion
    tables = read_json(path) if path.suffix.lower() == ".json" else read_toml(path)
    if not isinstance(tables.get("datasets"), list):
        raise UserError(f"{path.name} is no dataset TOML of kohya's: it has no [[datasets]].", code="wrong-file")
    reason = refuses(path) or _needs_training_file(settings.options, tables)
    as_it_is = None if reason else path
    conversion = from_kohya(interpretation, folder, tables, as_it_is, dataset_folder=path.parent, as_is=as_is)
    if reason:
        dataset_option = f'dataset_config = "{path.name}"'
        conversion.dropped.append(
            Dropped(
                dataset_option, f"its subsets became [[data.sets]]: {reason}", "harmless", names=("dataset_config",)
            )
        )
    return conversion


def _needs_training_file(options: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    """Sentence with the options that the dataset TOML takes from the training file; empty where there are none."""
    if len({*stated_batch_sizes(dataset)} - {None}) > 1:
        return "it gives several batch sizes."
    general = dataset.get("general", {})
    names = [name for name in IMAGE_OPTIONS if name != "resolution" and name in options and name not in general]
    names = [name for name in names if name in ONLY_STATED or not KOHYA_OPTIONS[name].is_default(options[name])]
    names += ["num_repeats"] if options.get("dataset_repeats", 1) != 1 and "num_repeats" not in general else []
    levels = [*dataset["datasets"], *(subset for group in dataset["datasets"] for subset in group.get("subsets", []))]
    needed = [name for name in names if not all(name in level for level in levels if "subsets" not in level)]
    needed = [name for name in needed if not all(name in level for level in levels if "subsets" in level)]
    needed = ["dataset_repeats" if name == "num_repeats" else name for name in needed]
    return f"the training file adds {', '.join(needed)} to it." if needed else ""


def _header_lines(source: Path, interpretation: Interpretation, as_is: bool) -> list[str]:
    formulas = (
        f"With the trainer's own formulas, those of {interpretation.version} (--as-is)."
        if as_is
        else "As it was meant: where the trainer's formula differs from the method that it names, the method's is used."
    )
    unrecorded = [
        f"{r.message[0].upper()}{r.message[1:]}" for r in interpretation.settings.findings if r.code == "not_recorded"
    ]
    return [
        f"From {source.name}, {interpretation.settings.kind}, by snrlab import.",
        formulas,
        "The comment behind a value says where it came from. What was left out is listed at the end.",
        *unrecorded,
    ]


def _missing_paths(lines: tuple[Line, ...]) -> tuple[str, ...]:
    """Paths of the run file that do not exist, a sentence each."""
    missing = []
    for line in lines:
        is_path = line.field in PATHS or (
            line.field.startswith("data.sets[") and line.field.endswith(("folder", "masks"))
        )
        value = str(line.value)
        if is_path and not line.origin and value in (IMAGES, MODEL):
            missing.append(f"{line.field}: the settings do not name it, so {value} is a placeholder")
        elif is_path and not Path(value).expanduser().exists():
            is_hub_name = (
                line.field == "model.path"
                and re.fullmatch(r"[\w-]+/[\w.-]+", value)
                and not value.endswith(WEIGHT_SUFFIXES)
            )
            hint = "; if it is a name on a hub, download the model first" if is_hub_name else ""
            missing.append(f"{line.field}: there is no {value}{hint}")
    return tuple(missing)
