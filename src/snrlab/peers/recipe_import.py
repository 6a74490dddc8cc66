"""[recipe] of a run file from the recipe that another trainer's settings mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snrlab.config.sections.recipe import RecipeConfig
from snrlab.core.recipe import Recipe
from snrlab.core.registries.registry import Choice
from snrlab.peers.conversion import Conversion
from snrlab.peers.settings import Interpretation

# no trainer's settings have stages, and the schedule is the model's; the prediction type is written first
FIELDS = sorted((n for n in RecipeConfig.model_fields if n not in ("schedule", "stages")), key="prediction_type".__ne__)
PEER_WORDS = {
    "product_on": "The trainer multiplies weights on the network's own loss.",
    "sampling": "The trainer draws each timestep by itself.",
    "min_weight": "",
}


def recipe(
    conversion: Conversion, understood: Interpretation, names: Mapping[str, Sequence[str]], *, as_is: bool
) -> None:
    """Set the fields of [recipe].

    Args:
        conversion: the trainer's options.
        understood: the recipes that the trainer computes and that its user meant.
        names: the options that each field comes from.
        as_is: take the trainer's own formulas instead of the right ones.
    """
    chosen = understood.as_is if as_is else understood.as_meant
    reasons: dict[str, list[str]] = {}
    for change in () if as_is else understood.changes:
        reasons.setdefault(change.field, []).append(change.sentence)
    if len(chosen.weighting) > 1:
        peers = [_peer_reason(chosen.weighting)] if as_is else []
        reasons["weighting"] = [*reasons.get("weighting", []), *peers, *_multiplied(understood)]
    plain = Recipe()
    for field in FIELDS:
        value, options = getattr(chosen, field), names.get(field, ())
        why = " ".join(reasons.get(field, [])) or (PEER_WORDS.get(field, "") if as_is else "")
        stated = any(conversion.has(name) for name in options)
        if field == "prediction_type" and value == plain.prediction_type and not (as_is or stated):
            why = ""
        if value != getattr(plain, field) or (field in ("prediction_type", "zero_terminal_snr") and stated and value):
            conversion.set(
                f"recipe.{field}", plainly(value), *options, reason=why or (_peer_reason(value) if as_is else "")
            )
        elif reasons.get(field) and stated:
            conversion.set(f"recipe.{field}", plainly(value), *options, reason=why)
    for name in (name for group in names.values() for name in group):
        _leave_ineffective(conversion, name)


def _multiplied(understood: Interpretation) -> Iterator[str]:
    """Comment on weightings that multiply though only one is likely meant."""
    for finding in understood.findings:
        if finding.code == "weights_multiply":
            advice = "Keep one of them: delete the other from this list."
            yield f"Check this line: {finding.message} {advice} [{finding.code}]"


def _leave_ineffective(conversion: Conversion, name: str) -> None:
    """Leave an option that no field came from: it is off, or another takes its place."""
    carried = {option for line in conversion.lines for option in line.options}
    if conversion.has(name) and name not in carried:
        if not conversion.is_at_default(name):
            conversion.drop(name, "it changes nothing beside the options that are carried", severity="harmless")
    elif conversion.has(name):
        conversion.mark_used(name)


def _peer_reason(value: Any) -> str:
    """The programs that weightings of programs' own belong to, as a sentence for each."""
    choices = value if isinstance(value, tuple) else ()
    peers = [(c.name, peer) for c in choices if (peer := c.entry.properties.peer)]
    return " ".join(dict.fromkeys(f"{name} is what {peer.program} computes." for name, peer in peers))


def plainly(value: Any) -> Any:
    """A recipe's value as TOML has it, without parameters at their defaults.

    >>> from snrlab.core.weights.weighting import WEIGHTINGS
    >>> plainly((WEIGHTINGS.bind("min_snr", gamma=5.0), WEIGHTINGS.bind("debiased", max_snr=None)))
    [{'name': 'min_snr', 'gamma': 5.0}, {'name': 'debiased'}]
    """
    if isinstance(value, Choice):
        shortened = value.entry.parameters if value.name == "uniform" else {}
        stated = {key: item for key, item in value.values if item is not None}
        changed = {k: v for k, v in stated.items() if k not in shortened or v != shortened[k].default}
        return {"name": value.name, **changed}
    if isinstance(value, tuple | list):
        return [plainly(item) for item in value]
    return value
