"""What every section of the run file has in common."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

OnResume = Literal["fixed", "free", "place", "batch"]
# what a started run does with another value, stated on a field as json_schema_extra; without a statement it is refused
FREE: dict[str, Any] = {"resume": "free"}  # it goes on with the new one
PLACE: dict[str, Any] = {"resume": "place"}  # where files are: it goes on where they are the same
BATCH_RULE: dict[str, Any] = {"resume": "batch"}  # it goes on where the global batch is the same


class Section(BaseModel):
    """A frozen table of the run file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


def on_resume(field: FieldInfo) -> OnResume:
    """What a started run does where a field has another value."""
    stated = field.json_schema_extra
    found = stated.get("resume", "fixed") if isinstance(stated, dict) else "fixed"
    return found  # type: ignore[return-value]  # one of the constants above
