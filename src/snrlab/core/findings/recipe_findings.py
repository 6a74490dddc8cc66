"""Remarks on a recipe: what a user should know before training, with the numbers behind it.

An error refuses `table` and `train`; plots and explanations still show the recipe.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snrlab.core.errors import UserError
from snrlab.core.findings.finding import GRADES, Finding
from snrlab.core.findings.finding_rules import RULES
from snrlab.core.recipe import Recipe, Tables

__all__ = ["Finding", "findings", "refuse_errors"]


def findings(recipe: Recipe, tables: Tables | None = None) -> list[Finding]:
    """All remarks on a recipe, errors first; on a later stage those that no earlier one has in the same words."""
    tables = recipe.tables() if tables is None else tables
    found = _of_stage(recipe, tables)
    said = {f.message for f in found}
    for start, stage in recipe.by_stage()[1:]:
        new = [f for f in _of_stage(stage, stage.tables()) if f.message not in said]
        said |= {f.message for f in new}
        found += [replace(f, message=f"from step {start}: {f.message}") for f in new]
    return sorted(found, key=lambda f: GRADES.index(f.grade))


def _of_stage(recipe: Recipe, tables: Tables) -> list[Finding]:
    with np.errstate(all="ignore"):
        return [finding for rule in RULES for finding in rule(recipe, tables)]


def refuse_errors(found: list[Finding]) -> None:
    """Raise UserError with the errors among the findings, if there are any."""
    errors = [f for f in found if f.grade == "error"]
    if errors:
        raise UserError("\n".join(f"{f.in_full} [{f.code}]" for f in errors), code="invalid-recipe")
