"""Options of another trainer being carried into fields of ours: what was taken, and what is left over."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snrlab.config.option_tables.kohya import Option, meant
from snrlab.config.run import RunConfig
from snrlab.config.run_file_text import Line, toml
from snrlab.core.errors import UserError
from snrlab.core.registries.parameters import parse_value
from snrlab.core.registries.registry import Choice

HIDDEN = "(not shown)"
_LONGEST = 120  # characters of a value in a comment
MOST = 4  # entries of a table in a comment


# why an option is left, for programs: code -> what it means
LEFT_CODES = {
    "no-counterpart": "nothing does the same on the other side",
    "invalid-value": "the field that has its meaning cannot have this value",
    "unknown-option": "the program has no option of this name",
    "misplaced-option": "the program does not read it at this place",
    "missing-file": "it names a file that is not there or cannot be read",
    "no-effect": "nothing is lost without it",
    "default": "the program does so by itself",
}
_CODE_OF_GRADE = {"lost": "no-counterpart", "idle": "no-effect", "default": "default"}


@dataclass(frozen=True)
class Dropped:
    """An option that has no place in the run file.

    Attributes:
        option: its name and value, as text.
        why: the reason, or what to do instead.
        grade: `lost` where the trainer would do something that is not done here, `idle` where nothing is lost,
            `default` where it is what the program does by itself.
        code: stable name of the reason, one of LEFT_CODES; by default what the grade says.
        names: of the options, where the source has them under these.
    """

    option: str
    why: str
    grade: str = "lost"
    code: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take the code from the grade where none is stated."""
        object.__setattr__(self, "code", self.code or _CODE_OF_GRADE[self.grade])
        if self.code not in LEFT_CODES:
            raise ValueError(f"code: {self.code!r} is none of {', '.join(LEFT_CODES)}")


class Conversion:
    """The options of a source, taken one by one."""

    def __init__(
        self,
        stated: Mapping[str, Any],
        known: Mapping[str, Option],
        program: str,
        *,
        beside: Mapping[str, Any] | None = None,
        secrets: tuple[str, ...] = (),
        elsewhere: tuple[str, ...] = (),
    ) -> None:
        """Begin.

        Args:
            stated: options of the program.
            beside: what the file says besides.
            known: the table of the program's options.
            program: its name, for comments.
            secrets: options whose value is never shown.
            elsewhere: parts of the table whose options the program does not read at this place.

        Raises:
            UserError: a value is of another kind than its option's.
        """
        every = {**(beside or {}), **stated}
        used = {name for name in every if name in known and known[name].rule not in ("idle", "none")}
        self.stated = {n: readable(n, known[n].type, v) if n in used else v for n, v in every.items()}
        self.program = program
        self.lines: list[Line] = []
        self.left: list[Dropped] = []
        self._known, self._secrets, self._elsewhere = known, secrets, elsewhere
        self._taken: set[str] = set()
        self._left: set[str] = set()
        self._unchanged: list[str] = []

    def has(self, name: str) -> bool:
        """Whether the source states the option with something."""
        return self.stated.get(name) not in (None, "", [], {})

    def value(self, name: str) -> Any:
        """Its value, the program's default where it is not stated."""
        return self.stated[name] if self.has(name) else self._known[name].value

    def put(self, field: str, value: Any, *names: str, why: str = "") -> None:
        """Set a field from options; what is not stated is written only where the program's default is not ours."""
        self._taken |= set(names)
        stated = [name for name in names if self.has(name)]
        stated = [name for name in stated if not self.default(name)] or stated
        if value is None:
            return
        if not why and same(value, our_default(field)) and all(self.default(name) for name in stated):
            self._unchanged += stated
            return
        said = ", ".join(self.shown(name) for name in stated)
        if names and not stated:
            said = f"{self.program}'s default of {names[0]}"
        self.lines.append(Line(field, value, why, said, tuple(stated)))

    def leave(self, name: str, why: str = "", *, grade: str = "lost", code: str = "") -> None:
        """Say of a stated option once that it is not carried, and why; by default the table's reason."""
        self._taken.add(name)
        if name in self._left:
            return
        self._left.add(name)
        if self.has(name) and self.default(name):
            self._unchanged.append(name)
        elif self.has(name):
            self.left.append(Dropped(self._short(name), why or self._known[name].here, grade, code, (name,)))

    def default(self, name: str) -> bool:
        """Whether a stated option has the program's default."""
        return name in self._known and self._known[name].is_default(self.stated[name])

    def take(self, *names: str) -> None:
        """Mark options as dealt with."""
        self._taken |= set(names)

    def shown(self, name: str) -> str:
        """`name = value`, as the source has it."""
        if name in self._secrets:
            return f"{name} = {HIDDEN}"
        text = shown(self.stated[name])
        return f"{name} = {text}"

    def _short(self, name: str) -> str:
        """The same without what is in a long table."""
        value = self.stated[name]
        return (
            f"{name} = {{ {len(value)} settings }}"
            if isinstance(value, dict) and len(value) > MOST
            else self.shown(name)
        )

    def leave_the_rest(self, ignored: str) -> None:
        """Everything that nobody took: with the table's reason, or as a name that the program does not know.

        Args:
            ignored: what the program does with a name that it does not know.
        """
        at_default = list(dict.fromkeys(self._unchanged))
        for name in (name for name in self.stated if name not in self._taken):
            option = self._known.get(name)
            if option is None:
                right = meant(name, [other for other, known in self._known.items() if known.part == "run"])
                hint = f" Did you mean {right}?" if right else ""
                why = f"{self.program} has no such option and {ignored}.{hint}"
                self.left.append(Dropped(self._short(name), why, code="unknown-option", names=(name,)))
            elif option.part in self._elsewhere:
                place = "in a dataset TOML" if option.part == "dataset" else "among network_args"
                why = f"{self.program} knows it {place} alone, and {ignored}"
                self.left.append(Dropped(self.shown(name), why, code="misplaced-option", names=(name,)))
            elif option.is_default(self.stated[name]):
                at_default.append(name)
            else:
                grade = "idle" if option.rule == "idle" else "lost"
                self.left.append(Dropped(self._short(name), option.here, grade, names=(name,)))
        if at_default:
            why = "as the program does by itself"
            self.left.append(Dropped(", ".join(at_default), why, "default", names=tuple(at_default)))


def shown(value: Any) -> str:
    """A value in a comment: TOML, on one line, cut where it is long."""
    try:
        text = " ".join(toml(value).split())
    except (ValueError, TypeError):  # a JSON null, which TOML has no word for
        text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def readable(name: str, kind: str, value: Any) -> Any:
    """A value as its option's kind: a number that stands as text becomes one.

    >>> readable("network_dim", "int", "16"), readable("lr_warmup_steps", "int_or_float", "10%")
    (16, '10%')

    Raises:
        UserError: it is of another kind.
    """
    if value in (None, "", []):
        return value
    match kind:
        case "flag":
            wrong = not isinstance(value, bool) and "true or false"
        case "int" | "float" | "int_or_float":
            value = parse_value(value) if isinstance(value, str) else value
            share = kind == "int_or_float" and isinstance(value, str) and value.endswith("%")
            wrong = not (share or _is_number(value)) and "a number"
            if kind == "int" and not wrong and value == int(value):
                value = int(value)
        case "float list":
            items = value if isinstance(value, list) else [value]
            items = [parse_value(item) if isinstance(item, str) else item for item in items]
            wrong = not all(_is_number(item) for item in items) and "a number or several"
            value = items if isinstance(value, list) else items[0]
        case "str" | "choice":
            plain = name in ("resolution", "sample_prompts") or not isinstance(value, list | dict)
            wrong = not plain and "one text"
        case _:
            wrong = False
    if wrong:
        raise UserError(
            f"{name} is {shown(value)}; it must be {wrong}.",
            code="wrong-type" if kind in ("flag", "str", "choice") else "not-a-number",
        )
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def our_default(field: str) -> Any:
    """The default of `section.field`, or of one at the top, as TOML has it."""
    section, _, name = field.rpartition(".")
    schema: Any = RunConfig
    if section:
        schema = RunConfig.model_fields[section.partition(".")[0]].annotation
    found = schema.model_fields[name].get_default(call_default_factory=True)
    return {"name": found.name, **found.params} if isinstance(found, Choice) else found


def same(value: Any, default: Any) -> bool:
    """Whether a value says what the default says; of a strategy, what it does not state is its default.

    >>> same({"name": "min_snr"}, {"name": "min_snr", "gamma": 5.0}), same(1, True)
    (True, False)
    """
    if isinstance(value, dict) and isinstance(default, dict) and "name" in default:
        return all(default.get(key) == item for key, item in value.items())
    return bool(value == default and isinstance(value, bool) == isinstance(default, bool))
