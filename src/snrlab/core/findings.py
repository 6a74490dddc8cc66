"""Remarks on a recipe: what a user should know before training, with the numbers behind it.

An error refuses `table` and `train`; plots and explanations still show the recipe.
"""

from __future__ import annotations

import numpy as np

from snrlab.core.errors import UserError
from snrlab.core.finding import GRADES, Finding
from snrlab.core.finding_rules import RULES
from snrlab.core.recipe import Recipe, Tables

__all__ = ["Finding", "findings", "refuse_errors"]


def findings(recipe: Recipe, tables: Tables | None = None) -> list[Finding]:
    """All remarks on a recipe, errors first."""
    tables = recipe.tables() if tables is None else tables
    with np.errstate(all="ignore"):
        found = [finding for rule in RULES for finding in rule(recipe, tables)]
    return sorted(found, key=lambda f: GRADES.index(f.grade))


def refuse_errors(found: list[Finding]) -> None:
    """Raise UserError with the errors among the findings, if there are any."""
    errors = [f for f in found if f.grade == "error"]
    if errors:
        raise UserError("\n".join(f"{f.message} {f.action} [{f.code}]" for f in errors))
