"""Options of kohya's whose value goes into one field by a simple rule, and back out of it."""

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
    """A value's way into our field, and back; None is not stated.

    Attributes:
        into: kohya's value to (ours, a remark where the meaning changes on the way).
        back: ours to kohya's.
    """

    into: Callable[[Any], tuple[Any, str]]
    back: Callable[[Any], Any]


_PRECISIONS = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
CHUNKS = (75, 150, 225)


def _same(value: Any) -> tuple[Any, str]:
    return value, ""


def _some(value: Any) -> tuple[Any, str]:
    return (None if value in (0, "", None) and value is not False else value), ""


def _precision(value: Any) -> tuple[Any, str]:
    return _PRECISIONS.get(str(value or "no")), ""


def _chunks(value: Any) -> tuple[Any, str]:
    found = int(value or 75)
    return (found, "") if found in CHUNKS else (None, "")


def read_size(value: Any) -> tuple[Any, str]:
    """A resolution as text, a number, or a pair; sides become multiples of 8.

    >>> read_size("512,650")
    ([512, 648], 'Sides are multiples of 8 here.')
    >>> read_size("(1024, 1024)"), read_size(None)
    ((1024, ''), (None, ''))
    """
    found = [int(side) for side in re.findall(r"\d+", str(value))]
    if not found or value is None:
        return None, ""
    sides = [max(16, side // 8 * 8) for side in found[:2]]
    remark = "Sides are multiples of 8 here." if sides != found[:2] else ""
    return (sides[0] if len(set(sides)) == 1 else sides), remark


def write_size(value: Any) -> str:
    """A resolution as kohya writes it.

    >>> write_size(512), write_size([512, 768])
    ('512,512', '512,768')
    """
    width, height = (value, value) if isinstance(value, int) else value
    return f"{width},{height}"


def _name(value: Any) -> tuple[Any, str]:
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", str(value or "")).strip("-._")[:100]
    if not text:
        return None, ""
    return text, "" if text == value else "A run's name has letters, digits, dot, dash and underscore."


def _words(value: Any) -> tuple[Any, str]:
    words = [word.strip() for word in str(value or "").split(",")]
    return [word for word in words if word] or None, ""


def _step(value: Any) -> tuple[Any, str]:
    found = max(8, -(-int(value) // 8) * 8)
    return found, "" if found == value else "Sides of buckets are multiples of 8 here."


RULES: Mapping[str, ValueRule] = {
    "same": ValueRule(_same, lambda value: value),
    "some": ValueRule(_some, lambda value: value),
    "not": ValueRule(lambda value: (not value, ""), lambda value: not value),
    "precision": ValueRule(_precision, lambda value: value),
    "chunks": ValueRule(_chunks, lambda value: value if value != CHUNKS[0] else None),
    "step": ValueRule(_step, lambda value: value),
    "size": ValueRule(read_size, write_size),
    "name": ValueRule(_name, lambda value: value),
    "words": ValueRule(_words, ", ".join),
}
# the two options with the rule `precision` write fp32 in words of their own
FULL_PRECISION = {"mixed_precision": "no", "save_precision": "float"}


def typed(name: str, value: Any) -> Any:
    """A number as the table has it, so that 1 is 1.0 where it may be broken.

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


def carry(transfer: Conversion, name: str, field: str = "") -> None:
    """Put an option into its field by its rule; a value that the field cannot have is left, with the reason."""
    option = KOHYA_OPTIONS[name]
    rule = RULES[option.rule]
    value, remark = rule.into(typed(name, transfer.value(name)))
    if value is None and transfer.has(name) and not option.is_default(transfer.stated[name]):
        transfer.leave(name, f"{field or option.field} cannot be that", code="invalid-value")
        return
    transfer.put(field or option.field, value, name, why=remark)
