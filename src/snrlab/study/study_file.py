"""The study file: a base run, arms that change it, training seeds, and what is to be answered, stated beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from snrlab.config.load import schema_error_text, validation_error_code
from snrlab.config.sections.section import Section
from snrlab.core.errors import UserError, unknown
from snrlab.files.text import read_toml
from snrlab.study.metrics import METRICS

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # of a run, too: cells are run folders
TWIN = "twin"  # the arm that repeats the baseline with other noise and another order of images
MOST_CONTRASTS = 3  # answers that one study may promise; with more, one is wrong too often
ArmName = Annotated[str, Field(pattern=NAME_PATTERN, max_length=60)]


class ContrastConfig(Section):
    """[[contrasts]]: a question that is stated before anything is trained, and answered with a verdict."""

    arm: str = Field(description="The arm that may be better.")
    against: str | None = Field(None, description="The arm it is compared with; by default the baseline.")
    metric: str = Field("held_out_loss", description="What is compared: " + ", ".join(METRICS) + ".")

    @model_validator(mode="after")
    def _check_metric(self) -> ContrastConfig:
        if self.metric not in METRICS:
            raise unknown("metric", self.metric, METRICS)
        return self


class StudyConfig(Section):
    """Validated content of a study file."""

    name: ArmName = Field("study", description="Name of the study.")
    base: str = Field(description="Run file that every cell starts from, relative to the study file.")
    baseline: str | None = Field(None, description="The arm that the others are compared with; by default the first.")
    seeds: int | list[int] = Field(
        6, description="Training seeds: how many, counted from 1, or a list. Six is the least that can show anything."
    )
    margin: float = Field(
        1.0, gt=0, le=100, description="Per cent; a difference that is surely smaller counts as equivalent."
    )
    arms: dict[ArmName, dict[str, Any] | str] = Field(
        description="By name: the fields that the arm sets, or a whole recipe on one line, such as 'debiased'."
    )
    contrasts: list[ContrastConfig] = Field(
        default_factory=list, description="The questions; by default the first arms after the baseline, at most three."
    )

    @model_validator(mode="after")
    def _check(self) -> StudyConfig:
        if len(self.arms) < 2:
            raise UserError("arms: at least two arms are needed, for there is nothing to compare.", code="out-of-range")
        if TWIN in self.arms:
            raise UserError(
                f"arms: '{TWIN}' is the name of the arm that every study adds; choose another.", code="stated-twice"
            )
        for field, arm in self._named_arms():
            if arm not in self.arms:
                raise unknown(field, arm, self.arms)
        if len(self.contrasts) > MOST_CONTRASTS:
            raise UserError(
                f"contrasts: {len(self.contrasts)} are stated, and at most {MOST_CONTRASTS} can be answered with a "
                "verdict. All other pairs are reported too, as exploratory.",
                code="out-of-range",
            )
        same = [c.arm for c in self.contrasts if c.arm == (c.against or self.baseline_arm)]
        if same:
            raise UserError(f"contrasts: '{same[0]}' is compared with itself.", code="nothing-to-do")
        if len(self.seed_list) < 2 or len(set(self.seed_list)) < len(self.seed_list):
            raise UserError(
                f"seeds is {self.seeds}: at least two different training seeds are needed, better ten. One seed "
                "cannot tell a recipe from luck.",
                code="out-of-range",
            )
        return self

    def _named_arms(self) -> list[tuple[str, str]]:
        named = [("baseline", self.baseline)] if self.baseline is not None else []
        for contrast in self.contrasts:
            named.append(("contrasts.arm", contrast.arm))
            if contrast.against is not None:
                named.append(("contrasts.against", contrast.against))
        return named

    @property
    def seed_list(self) -> list[int]:
        """The training seeds."""
        return list(range(1, self.seeds + 1)) if isinstance(self.seeds, int) else list(self.seeds)

    @property
    def baseline_arm(self) -> str:
        """The arm that the others are compared with."""
        return self.baseline or next(iter(self.arms))

    @property
    def primary(self) -> list[ContrastConfig]:
        """The questions that get a verdict, each with the arm it is compared with."""
        others = [arm for arm in self.arms if arm != self.baseline_arm]
        stated = self.contrasts or [ContrastConfig(arm=arm) for arm in others[:MOST_CONTRASTS]]
        return [c.model_copy(update={"against": c.against or self.baseline_arm}) for c in stated]


def read_study(path: Path) -> StudyConfig:
    """Read a study file.

    Raises:
        UserError: the file cannot be read, is not TOML, or is not a valid study; it names the field.
    """
    return parse_study(read_toml(path), source=path.name)


def parse_study(data: dict[str, Any], source: str = "study") -> StudyConfig:
    """Validate a study given as plain data (UserError)."""
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as invalid:
        lines = [_error_text(error) for error in invalid.errors()]
        raise UserError(f"{source}: " + "\n".join(lines), code=validation_error_code(invalid)) from None


def _error_text(error: Any) -> str:
    if error["type"] == "missing" and error["loc"] == ("base",):
        return 'base is missing: base = "run.toml", the run that every arm changes.'
    if error["type"] == "missing" and error["loc"] == ("arms",):
        return 'arms are missing. For example: [arms], and below it plain = {} and debiased = "debiased".'
    return schema_error_text(error, StudyConfig).removeprefix("run: ")
