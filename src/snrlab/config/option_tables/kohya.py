"""Options of kohya's sd-scripts and of the programs around it: the one table of them, `kohya.csv`.

Each row has the option's type and default there, the field of the run file that has its meaning here, an example of the
field's value, a note, and the rule by which its value is carried over. Read in the program's sources at the commit that
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
SECRETS = ("wandb_api_key", "huggingface_token")  # never shown
SHORTEST = 4  # letters of a beginning that says which option is meant
LIKE = 0.75  # of the letters of a misspelt name; below it, hints are about something else
_NUMBERS = ("int", "float", "int_or_float")


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        part: where it stands: `run` (the program's own), `network` (in network_args), `dataset` (in a dataset TOML
            alone), `gui` (in the files of kohya_ss and LoRA_Easy alone).
        type: in words.
        default: as text; the program's own.
        field: of the run file, `section.name` or a name at the top; empty where none has its meaning.
        note: what there is to say of the field; without one, why there is none.
        rule: how its value is carried over; `idle` where nothing is lost without it, `none` where it is not supported.
        example: of the field's value, as TOML, where the field holds more than this option.
    """

    part: OptionTable
    name: str
    type: str
    default: str
    field: str
    note: str
    rule: str
    example: str = ""

    @property
    def here(self) -> str:
        """Where its meaning is here, or why it is nowhere, in words."""
        place = f"{self.field} = {self.example}" if self.example else self.field
        return ", ".join(filter(None, (place, self.note)))

    @property
    def value(self) -> Any:
        """The default as a value, None where there is none."""
        match self.type:
            case "flag":
                return self.default == "true"
            case "int" | "float" | "int_or_float":
                return parse_value(self.default)
        return None if self.default in ("None", "") else self.default

    def is_default(self, value: Any) -> bool:
        """Whether a value is what the program does anyway; none, empty text and an empty list mean not stated.

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


def _load() -> dict[str, Option]:
    text = resources.files("snrlab.config.option_tables").joinpath("kohya.csv").read_text(encoding="utf-8")
    rows = (Option(**row) for row in csv.DictReader(text.splitlines()))  # type: ignore[arg-type]  # its columns are the fields
    return {option.name: option for option in rows}


KOHYA_OPTIONS: Mapping[str, Option] = _load()
RUN: Mapping[str, Option] = {name: option for name, option in KOHYA_OPTIONS.items() if option.part == "run"}


def meant(name: str, names: Iterable[str]) -> str | None:
    """The option that a misspelt name is most like: one that it is the beginning of or begins with, else the nearest.

    >>> meant("min_snr", RUN), meant("noise_ofset", RUN), meant("use_shell", RUN)
    ('min_snr_gamma', 'noise_offset', None)
    """
    every = list(names)
    longer = [option for option in every if len(name) > SHORTEST and option.startswith(name)]
    if longer:
        return min(longer, key=len)
    if (short := name.replace("learning_rate", "lr")) in every and short != name:
        return short
    inside = [option for option in every if len(option) > SHORTEST and name.startswith(option)]
    return max(inside, key=len) if inside else alike(name, every, LIKE)


def hint(option: str) -> str | None:
    """What to write instead of an option of kohya's; None where it is none of the known ones.

    >>> hint("max_train_steps")
    "that is kohya's name; here it is train.steps"
    >>> hint("seed")
    'it belongs elsewhere: seed, at the top of the file'
    """
    if option not in KOHYA_OPTIONS or KOHYA_OPTIONS[option].part == "gui":
        return None
    known = KOHYA_OPTIONS[option]
    if known.field.rpartition(".")[2] == option:
        return f"it belongs elsewhere: {known.here}"
    return f"that is kohya's name; {'here it is ' if known.field else ''}{known.here}"
