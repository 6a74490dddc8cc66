"""Lower limit for weights that vanish at the last timesteps, with a description of its effect."""

from __future__ import annotations

from dataclasses import replace

from snrlab.core.recipe import Recipe
from snrlab.peers.settings import RecipeChange

FLOOR = 0.01
LAST_FIFTH = 800
SEEN = 5e-5  # share of the weight that shows in two digits of a per cent


def with_floor(recipe: Recipe) -> tuple[Recipe, tuple[RecipeChange, ...]]:
    """Set `min_weight` where the last timestep has weight 0, and describe the change; other recipes stay as they are.

    The recipe stays as it is, too, where the density never draws the timesteps in question.

    >>> from snrlab.lab.recipe_text import parse_recipe
    >>> starved = parse_recipe("v_prediction zero_terminal_snr min_snr:gamma=5")[1]
    >>> print(with_floor(starved)[1][0].text)
    min_weight 0.01, since the right weight of the last step is 0 and sampling starts there: it raises 163 steps, which
    then have 0.58% of the weight; the last fifth, t >= 800, has 0.77% instead of 0.36%
    """
    before = recipe.tables()
    if not recipe.weighting or recipe.prediction_type == "epsilon" or before.weight[-1] != 0:
        return recipe, ()
    floored = replace(recipe, min_weight=FLOOR)
    after = floored.tables()
    raised = before.weight < FLOOR
    gained = float(after.weight_share()[raised].sum())
    if gained < SEEN:  # timesteps that the density never draws
        return recipe, ()
    last = [float(tables.weight_share()[LAST_FIFTH:].sum()) for tables in (before, after)]
    effect = (
        f"min_weight {FLOOR:g}, since the right weight of the last step is 0 and sampling starts there: it raises "
        f"{int(raised.sum())} steps, which then have {gained:.2%} of the weight; "
        f"the last fifth, t >= {LAST_FIFTH}, has {last[1]:.2%} instead of {last[0]:.2%}"
    )
    return floored, (RecipeChange("min_weight", effect, starts_with_name=True),)
