"""Conversion of another trainer's options into fields of a run file, with a record of what was dropped and why."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from snrlab.config.option_tables.kohya import Option, closest_option
from snrlab.config.run import RunConfig
from snrlab.config.run_file_text import Line, format_toml
from snrlab.config.sections.recipe import RecipeConfig
from snrlab.core.errors import UserError
from snrlab.core.registries.parameters import parse_value
from snrlab.core.registries.registry import Choice

HIDDEN = "(not shown)"
_LONGEST = 120  # characters of a value in a comment
MOST = 4  # entries of a table in a comment


# codes of the reasons to drop an option, stable for programs: code -> meaning
DROP_CODES = {
    "no-counterpart": "nothing does the same on the other side",
    "invalid-value": "the field that has its meaning cannot have this value",
    "unknown-option": "the program has no option of this name",
    "misplaced-option": "the program does not read it at this place",
    "missing-file": "it names a file that is not there or cannot be read",
    "no-effect": "nothing is lost without it",
    "default": "the program does so by itself",
}
_CODE_OF_SEVERITY = {"lost": "no-counterpart", "harmless": "no-effect", "default": "default"}


@dataclass(frozen=True)
class Dropped:
    """An option that the conversion dropped.

    Attributes:
        option: name and value, as text.
        reason: why it was dropped, or what to do instead.
        severity: `lost` where the trainer would do something that snrlab does not do, `harmless` where dropping it
            changes nothing, `default` where it is what the program does by itself.
        code: stable name of the reason, one of DROP_CODES; by default the one that follows from the severity.
        names: names of the options, where the source has them.
    """

    option: str
    reason: str
    severity: str = "lost"
    code: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Derive the code from the severity where none is given."""
        object.__setattr__(self, "code", self.code or _CODE_OF_SEVERITY[self.severity])
        if self.code not in DROP_CODES:
            raise ValueError(f"code: {self.code!r} is none of {', '.join(DROP_CODES)}")


class Conversion:
    """The options of a source on their way into a run file.

    Every option is either used for a field (`set`, `mark_used`) or dropped with a reason (`drop`, `drop_unused`).

    Attributes:
        options: what the source states, by the program's names.
        program: name of the program.
        lines: fields of the run file so far.
        dropped: options that have no place in it.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        known: Mapping[str, Option],
        program: str,
        *,
        extras: Mapping[str, Any] | None = None,
        secrets: tuple[str, ...] = (),
        elsewhere: tuple[str, ...] = (),
    ) -> None:
        """Read the options.

        Args:
            options: options of the program that the source states.
            known: table of the options that the program has.
            program: name of the program, for comments.
            extras: other entries of the source's file, such as those of a GUI.
            secrets: options whose value is never shown.
            elsewhere: parts of the table whose options the program does not read at this place.

        Raises:
            UserError: a value has another type than its option.
        """
        all_options = {**(extras or {}), **options}
        translated = {name for name in all_options if name in known and known[name].rule not in ("idle", "none")}
        self.options = {n: readable(n, known[n].type, v) if n in translated else v for n, v in all_options.items()}
        self.program = program
        self.lines: list[Line] = []
        self.dropped: list[Dropped] = []
        self._known, self._secrets, self._elsewhere = known, secrets, elsewhere
        self._used: set[str] = set()
        self._dropped_names: set[str] = set()
        self._at_default: list[str] = []

    def has(self, name: str) -> bool:
        """Whether the source gives the option a value."""
        return self.options.get(name) not in (None, "", [], {})

    def value(self, name: str) -> Any:
        """Value of an option; the program's default where the source does not give it."""
        return self.options[name] if self.has(name) else self._known[name].value

    def set(self, field: str, value: Any, *names: str, reason: str = "") -> None:
        """Set a field from options; one that ends up at the default of both programs is not written.

        Args:
            field: field of the run file, as `section.field`.
            value: its value; None sets nothing.
            names: options that the value comes from.
            reason: comment above the field.
        """
        self._used |= set(names)
        given = [name for name in names if self.has(name)]
        given = [name for name in given if not self.is_at_default(name)] or given
        if value is None:
            return
        if not reason and same(value, our_default(field)) and all(self.is_at_default(name) for name in given):
            self._at_default += given
            return
        origin = ", ".join(self.format_option(name) for name in given)
        if names and not given:
            origin = f"{self.program}'s default of {names[0]}"
        self.lines.append(Line(field, value, reason, origin, tuple(given)))

    def drop(self, name: str, reason: str = "", *, severity: str = "lost", code: str = "") -> None:
        """Drop an option, once, with the reason; by default the reason in the table of options."""
        self._used.add(name)
        if name in self._dropped_names:
            return
        self._dropped_names.add(name)
        if self.has(name) and self.is_at_default(name):
            self._at_default.append(name)
        elif self.has(name):
            self.dropped.append(
                Dropped(self._format_briefly(name), reason or self._known[name].counterpart, severity, code, (name,))
            )

    def is_at_default(self, name: str) -> bool:
        """Whether an option that the source states has the program's default."""
        return name in self._known and self._known[name].is_default(self.options[name])

    def mark_used(self, *names: str) -> None:
        """Mark options as used, so that `drop_unused` passes over them."""
        self._used |= set(names)

    def format_option(self, name: str) -> str:
        """`name = value`, as the source states it; the value of a secret is hidden."""
        if name in self._secrets:
            return f"{name} = {HIDDEN}"
        text = shown(self.options[name])
        return f"{name} = {text}"

    def _format_briefly(self, name: str) -> str:
        """`name = value`, with the number of entries in place of a long table."""
        value = self.options[name]
        return (
            f"{name} = {{ {len(value)} settings }}"
            if isinstance(value, dict) and len(value) > MOST
            else self.format_option(name)
        )

    def drop_unused(self, ignored: str) -> None:
        """Drop every option that was not used, with the table's reason or as a name that the program does not know.

        Args:
            ignored: what the program does with a name that it does not know.
        """
        at_default = list(dict.fromkeys(self._at_default))
        for name in (name for name in self.options if name not in self._used):
            option = self._known.get(name)
            if option is None:
                suggestion = closest_option(
                    name, [other for other, known in self._known.items() if known.part == "run"]
                )
                hint = f" Did you mean {suggestion}?" if suggestion else ""
                reason = f"{self.program} has no such option and {ignored}.{hint}"
                self.dropped.append(Dropped(self._format_briefly(name), reason, code="unknown-option", names=(name,)))
            elif option.part in self._elsewhere:
                place = "in a dataset TOML" if option.part == "dataset" else "among network_args"
                reason = f"{self.program} knows it {place} alone, and {ignored}"
                self.dropped.append(Dropped(self.format_option(name), reason, code="misplaced-option", names=(name,)))
            elif option.is_default(self.options[name]):
                at_default.append(name)
            else:
                severity = "harmless" if option.rule == "idle" else "lost"
                self.dropped.append(Dropped(self._format_briefly(name), option.counterpart, severity, names=(name,)))
        if at_default:
            reason = "as the program does by itself"
            self.dropped.append(Dropped(", ".join(at_default), reason, "default", names=tuple(at_default)))


def shown(value: Any) -> str:
    """A value as text for a comment: TOML on one line, shortened where it is long."""
    try:
        text = " ".join(format_toml(value).split())
    except (ValueError, TypeError):  # a JSON null, which TOML has no word for
        text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def fields_left(section: RecipeConfig, carried: Collection[str], why: str) -> list[Dropped]:
    """Fields of [recipe] that are set and that a trainer has nothing like: all but those that are carried over."""
    left = []
    for name, field in RecipeConfig.model_fields.items():
        value = getattr(section, name)
        if name not in carried and value != field.get_default(call_default_factory=True):
            plain = section.model_dump(exclude_none=True)[name]
            left.append(Dropped(f"recipe.{name} = {value.spec if isinstance(value, Choice) else shown(plain)}", why))
    return left


def readable(name: str, kind: str, value: Any) -> Any:
    """A value in the type of its option: a number that is written as text becomes a number.

    >>> readable("network_dim", "int", "16"), readable("lr_warmup_steps", "int_or_float", "10%")
    (16, '10%')

    Raises:
        UserError: the value has another type.
    """
    if value in (None, "", []):
        return value
    match kind:
        case "flag":
            expected = not isinstance(value, bool) and "true or false"
        case "int" | "float" | "int_or_float":
            value = parse_value(value) if isinstance(value, str) else value
            is_percentage = kind == "int_or_float" and isinstance(value, str) and value.endswith("%")
            expected = not (is_percentage or _is_number(value)) and "a number"
            if kind == "int" and not expected and value == int(value):
                value = int(value)
        case "float list":
            items = value if isinstance(value, list) else [value]
            items = [parse_value(item) if isinstance(item, str) else item for item in items]
            expected = not all(_is_number(item) for item in items) and "a number or several"
            value = items if isinstance(value, list) else items[0]
        case "str" | "choice":
            plain = name in ("resolution", "sample_prompts") or not isinstance(value, list | dict)
            expected = not plain and "one text"
        case _:
            expected = False
    if expected:
        raise UserError(
            f"{name} is {shown(value)}; it must be {expected}.",
            code="wrong-type" if kind in ("flag", "str", "choice") else "not-a-number",
        )
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def our_default(field: str) -> Any:
    """Default of a field of the run file, as TOML writes it; the field is `section.field`, or a name at the top."""
    section, _, name = field.rpartition(".")
    schema: Any = RunConfig
    if section:
        schema = RunConfig.model_fields[section.partition(".")[0]].annotation
    default = schema.model_fields[name].get_default(call_default_factory=True)
    return {"name": default.name, **default.params} if isinstance(default, Choice) else default


def same(value: Any, default: Any) -> bool:
    """Whether a value equals the default; parameters that a strategy does not state are at their defaults.

    >>> same({"name": "min_snr"}, {"name": "min_snr", "gamma": 5.0}), same(1, True)
    (True, False)
    """
    if isinstance(value, dict) and isinstance(default, dict) and "name" in default:
        return all(default.get(key) == item for key, item in value.items())
    return bool(value == default and isinstance(value, bool) == isinstance(default, bool))
