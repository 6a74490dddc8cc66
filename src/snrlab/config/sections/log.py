"""[log]: experiment trackers that a run reports to, besides the logs in its run folder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from snrlab.config.sections.section import FREE, Section
from snrlab.core.errors import UserError

Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class LogConfig(Section):
    """[log]: experiment trackers; each needs its extra, such as `tensorboard`."""

    trackers: list[Tracker] = Field(
        default_factory=list,
        description="Trackers that get losses by SNR band, rates, validation and pictures.",
        json_schema_extra=FREE,
    )
    every: int = Field(
        1,
        ge=1,
        description="Steps between points in the trackers; each is the mean since the last.",
        json_schema_extra=FREE,
    )
    project: str = Field(
        "snrlab",
        min_length=1,
        description="Project or experiment that the trackers file the run in.",
        json_schema_extra=FREE,
    )

    @model_validator(mode="after")
    def _check_trackers(self) -> LogConfig:
        for name in ("every", "project"):  # by value: a resolved run states every field
            if not self.trackers and getattr(self, name) != type(self).model_fields[name].default:
                raise UserError(
                    f"{name} is set but trackers is empty: there is nothing that it is for.",
                    code="unused-option",
                    field=name,
                )
        if len(set(self.trackers)) < len(self.trackers):
            raise UserError("a tracker is named twice.", code="stated-twice", field="trackers")
        return self
