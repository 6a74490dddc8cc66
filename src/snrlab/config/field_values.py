"""Fields of a configuration with their values: one list, and one text of a value, for every place that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from snrlab.config.sections.strategy import as_table
from snrlab.core.registries.registry import Choice


@dataclass(frozen=True)
class FieldValue:
    """A field that is no section.

    Attributes:
        field: its full name, such as `train.steps`.
        value: as the configuration holds it.
        info: how it is declared.
    """

    field: str
    value: Any
    info: FieldInfo

    @property
    def default(self) -> Any:
        """Its default; None for a field that has to be given."""
        return None if self.info.is_required() else self.info.get_default(call_default_factory=True)


def field_values(section: BaseModel, prefix: str = "") -> Iterator[FieldValue]:
    """The fields of a configuration and of the sections in it, in their order."""
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from field_values(value, f"{prefix}{name}.")
        else:
            yield FieldValue(f"{prefix}{name}", value, info)


def json_value(value: Any) -> Any:
    """A value in the types that JSON has; a strategy is its table."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    return json_value(as_table(value)) if isinstance(value, Choice) else value


def differ(one: Any, other: Any) -> bool:
    """Whether two values of a field would be written differently into a run file."""
    return bool(json_value(one) != json_value(other))


def value_text(value: Any, longest: int | None = None) -> str:
    """A value as people read it, at most so many characters; a strategy is what the command line takes for it.

    >>> value_text(None), value_text(""), value_text([]), value_text(1e-4), value_text(True), value_text(["a", "b"])
    ('-', '""', 'none', '0.0001', 'true', 'a; b')
    """
    text = _text(value)
    return text if longest is None or len(text) <= longest else f"{text[: longest - 3]}..."


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case Choice():
            return value.spec
        case str():
            return value or '""'
        case float():
            short = f"{value:g}"
            return short if float(short) == value else repr(value)
        case list() | tuple() if not value:
            return "none"
        case list() | tuple():
            return (" " if all(isinstance(item, Choice) for item in value) else "; ").join(map(_text, value))
        case BaseModel():
            return json.dumps(value.model_dump(mode="json", exclude_unset=True), ensure_ascii=False)
    return json.dumps(json_value(value), ensure_ascii=False)
