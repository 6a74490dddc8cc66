"""Rules that convert the value of one kohya option into the value of one field, and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.core.errors import UserError
from snrlab.peers.conversion import Conversion, shown


@dataclass(frozen=True)
class ValueRule:
    """Conversion of a value between kohya's option and our field; None stands for a value that is not stated.

    Attributes:
        from_kohya: converts kohya's value to (our value, a note where its meaning changes).
        to_kohya: converts our value to kohya's.
    """

    from_kohya: Callable[[Any], tuple[Any, str]]
    to_kohya: Callable[[Any], Any]


_PRECISIONS = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
CHUNKS = (75, 150, 225)


def _unchanged(value: Any) -> tuple[Any, str]:
    return value, ""


def _none_if_empty(value: Any) -> tuple[Any, str]:
    return (None if value in (0, "", None) and value is not False else value), ""


def _read_precision(value: Any) -> tuple[Any, str]:
    return _PRECISIONS.get(str(value or "no")), ""


def _read_token_length(value: Any) -> tuple[Any, str]:
    length = int(value or 75)
    return (length, "") if length in CHUNKS else (None, "")


def read_size(value: Any) -> tuple[Any, str]:
    """Parse a resolution from text, a number or a pair; sides are rounded down to multiples of 8.

    >>> read_size("512,650")
    ([512, 648], 'Sides are multiples of 8 here.')
    >>> read_size("(1024, 1024)"), read_size(None)
    ((1024, ''), (None, ''))
    """
    numbers = [int(side) for side in re.findall(r"\d+", str(value))]
    if not numbers or value is None:
        return None, ""
    sides = [max(16, side // 8 * 8) for side in numbers[:2]]
    note = "Sides are multiples of 8 here." if sides != numbers[:2] else ""
    return (sides[0] if len(set(sides)) == 1 else sides), note


def write_size(value: Any) -> str:
    """Format a resolution as kohya does.

    >>> write_size(512), write_size([512, 768])
    ('512,512', '512,768')
    """
    width, height = (value, value) if isinstance(value, int) else value
    return f"{width},{height}"


def _read_run_name(value: Any) -> tuple[Any, str]:
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", str(value or "")).strip("-._")[:100]
    if not text:
        return None, ""
    return text, "" if text == value else "A run's name has letters, digits, dot, dash and underscore."


def _read_list(value: Any) -> tuple[Any, str]:
    words = [word.strip() for word in str(value or "").split(",")]
    return [word for word in words if word] or None, ""


def _read_bucket_step(value: Any) -> tuple[Any, str]:
    rounded = max(8, -(-int(value) // 8) * 8)
    return rounded, "" if rounded == value else "Sides of buckets are multiples of 8 here."


RULES: Mapping[str, ValueRule] = {
    "same": ValueRule(_unchanged, lambda value: value),
    "some": ValueRule(_none_if_empty, lambda value: value),
    "not": ValueRule(lambda value: (not value, ""), lambda value: not value),
    "precision": ValueRule(_read_precision, lambda value: value),
    "chunks": ValueRule(_read_token_length, lambda value: value if value != CHUNKS[0] else None),
    "step": ValueRule(_read_bucket_step, lambda value: value),
    "size": ValueRule(read_size, write_size),
    "name": ValueRule(_read_run_name, lambda value: value),
    "words": ValueRule(_read_list, ", ".join),
}
# the two options with the rule `precision` write fp32 in words of their own
FULL_PRECISION = {"mixed_precision": "no", "save_precision": "float"}


def typed(name: str, value: Any) -> Any:
    """A value in the type of its option, so that 1 becomes 1.0 where fractions are allowed.

    Raises:
        UserError: a flag or a number is something else.
    """
    kind = KOHYA_OPTIONS[name].type
    if kind == "flag" and not isinstance(value, bool):
        raise UserError(f"{name} is {shown(value)}; it must be true or false.", code="wrong-type")
    if kind in ("int", "float") and value is not None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{name} is {shown(value)}; it must be a number.", code="not-a-number")
        if kind == "int" and value == int(value):
            return int(value)
        return float(value)
    return str(value) if kind == "str" and isinstance(value, int | float) and not isinstance(value, bool) else value


def carry(conversion: Conversion, name: str, field: str = "") -> None:
    """Import an option into its field by its rule; a value that the field cannot hold is dropped with the reason."""
    option = KOHYA_OPTIONS[name]
    rule = RULES[option.rule]
    value, note = rule.from_kohya(typed(name, conversion.value(name)))
    if value is None and conversion.has(name) and not option.is_default(conversion.options[name]):
        conversion.drop(name, f"{field or option.field} cannot be that", code="invalid-value")
        return
    conversion.set(field or option.field, value, name, reason=note)
