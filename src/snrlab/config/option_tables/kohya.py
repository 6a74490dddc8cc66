"""Table of the options of kohya's sd-scripts and of the programs around it, `kohya.csv`.

Each row has the type and default of an option there, the field of the run file with the same meaning, an example of the
field's value, a note, and the rule by which the value is converted. Read in the program's sources at the commit that
`KOHYA_VERSION` names.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from snrlab.core.errors import alike
from snrlab.core.registries.parameters import parse_value

KOHYA_VERSION = "kohya sd-scripts 48d368f (February 2026)"
OptionTable = Literal["run", "network", "dataset", "gui"]
DatasetLevel = Literal["", "every", "dataset", "subset"]
MetadataPlace = Literal["", "run", "set", "both"]
SECRETS = ("wandb_api_key", "huggingface_token")  # their values are never shown
MIN_PREFIX = 4  # a longer prefix counts as a misspelling of the option that it begins
MIN_SIMILARITY = 0.75  # share of common letters; below it, hints would be about other options
_NUMBERS = ("int", "float", "int_or_float")


@dataclass(frozen=True)
class Option:
    """An option of another trainer.

    Attributes:
        part: where it is read: `run` (the program's own), `network` (in network_args), `dataset` (in a dataset TOML
            alone), `gui` (in the files of kohya_ss and LoRA_Easy alone).
        type: in words.
        default: as text; the program's own.
        field: of the run file, `section.name` or a name at the top; empty where none has its meaning.
        note: what there is to say of the field; without one, why there is none.
        rule: how its value is carried over; `idle` where nothing is lost without it, `none` where it is not supported.
        example: of the field's value, as TOML, where the field holds more than this option.
        dataset_toml: which levels of a dataset TOML may state it: `every` level, a `dataset` and [general], a `subset`
            alone, or none.
        metadata: where kohya writes it into a LoRA file: for the `run` (as ss_NAME), for each `set` of images, for
            `both`, or nowhere.
    """

    part: OptionTable
    name: str
    type: str
    default: str
    field: str
    note: str
    rule: str
    example: str = ""
    dataset_toml: DatasetLevel = ""
    metadata: MetadataPlace = ""

    @property
    def counterpart(self) -> str:
        """Text on the field of the run file with the same meaning, or why there is none."""
        field = f"{self.field} = {self.example}" if self.example else self.field
        return ", ".join(filter(None, (field, self.note)))

    @property
    def value(self) -> Any:
        """The default as a value; None if there is none."""
        match self.type:
            case "flag":
                return self.default == "true"
            case "int" | "float" | "int_or_float":
                return parse_value(self.default)
        return None if self.default in ("None", "") else self.default

    def is_default(self, value: Any) -> bool:
        """Whether a value is the program's default; None, an empty text and an empty list count as not set.

        >>> KOHYA_OPTIONS["noise_offset"].is_default(0), KOHYA_OPTIONS["network_alpha"].is_default("1")
        (True, True)
        """
        if value is None or value == "" or value == [] or value == {}:
            return True
        if value is False and self.type in ("str", "Path"):  # a field that is switched off
            return True
        if isinstance(value, str) and self.type in _NUMBERS:
            value = parse_value(value)
        if self.value is None and self.type in _NUMBERS:
            return not isinstance(value, bool) and value == 0
        return bool(value == self.value and isinstance(value, bool) == isinstance(self.value, bool))


def _load_options() -> dict[str, Option]:
    text = resources.files("snrlab.config.option_tables").joinpath("kohya.csv").read_text(encoding="utf-8")
    rows = (Option(**row) for row in csv.DictReader(text.splitlines()))  # type: ignore[arg-type]  # its columns are the fields
    return {option.name: option for option in rows}


KOHYA_OPTIONS: Mapping[str, Option] = _load_options()
RUN: Mapping[str, Option] = {name: option for name, option in KOHYA_OPTIONS.items() if option.part == "run"}
# what a dataset TOML states of images and captions, by the field of [data] that has its meaning
DATASET_TOML: Mapping[str, Option] = {
    option.field.removeprefix("data."): option
    for option in KOHYA_OPTIONS.values()
    if option.dataset_toml and option.field.startswith("data.")
}


def closest_option(name: str, names: Iterable[str]) -> str | None:
    """The option that a misspelt name is most like: one that it is a prefix of or has as a prefix, else the nearest.

    >>> closest_option("min_snr", RUN), closest_option("noise_ofset", RUN), closest_option("use_shell", RUN)
    ('min_snr_gamma', 'noise_offset', None)
    """
    options = list(names)
    longer = [option for option in options if len(name) > MIN_PREFIX and option.startswith(name)]
    if longer:
        return min(longer, key=len)
    if (short := name.replace("learning_rate", "lr")) in options and short != name:
        return short
    prefixes = [option for option in options if len(option) > MIN_PREFIX and name.startswith(option)]
    return max(prefixes, key=len) if prefixes else alike(name, options, MIN_SIMILARITY)


def rename_hint(option: str) -> str | None:
    """Hint on what to write instead of an option of kohya's; None if the name is not such an option.

    >>> rename_hint("max_train_steps")
    "that is kohya's name; here it is train.steps"
    >>> rename_hint("seed")
    'it belongs elsewhere: seed, at the top of the file'
    """
    if option not in KOHYA_OPTIONS or KOHYA_OPTIONS[option].part == "gui":
        return None
    known = KOHYA_OPTIONS[option]
    if known.field.rpartition(".")[2] == option:
        return f"it belongs elsewhere: {known.counterpart}"
    return f"that is kohya's name; {'here it is ' if known.field else ''}{known.counterpart}"
