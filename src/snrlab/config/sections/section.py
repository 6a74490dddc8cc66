"""Base class of the sections of the run file, and the rules for changing a field on resume."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

OnResume = Literal["fixed", "free", "place", "batch"]
# json_schema_extra of a field: whether its value may change when a run is resumed; without one, it may not
FREE: dict[str, Any] = {"resume": "free"}  # any new value
PLACE: dict[str, Any] = {"resume": "place"}  # a path: another one if the files are the same
BATCH_RULE: dict[str, Any] = {"resume": "batch"}  # another one if the global batch stays the same


class Section(BaseModel):
    """Frozen section of the run file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


def on_resume(field: FieldInfo) -> OnResume:
    """Rule of a field for a changed value when a run is resumed."""
    extra = field.json_schema_extra
    rule = extra.get("resume", "fixed") if isinstance(extra, dict) else "fixed"
    return rule  # type: ignore[return-value]  # one of the constants above
