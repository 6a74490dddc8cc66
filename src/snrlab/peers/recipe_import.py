"""[recipe] of a run file from what a trainer's settings were understood to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snrlab.core.recipe import Recipe
from snrlab.core.registries.registry import Choice
from snrlab.peers.conversion import Conversion
from snrlab.peers.settings import Interpretation

FIELDS = ("prediction_type", "zero_terminal_snr", "weighting", "product_on", "max_weight", "min_weight", "density",
          "sampling", "perturbation", "noise")  # fmt: skip
PEER_WORDS = {
    "product_on": "The trainer multiplies weights on the network's own loss.",
    "sampling": "The trainer draws each timestep by itself.",
    "min_weight": "",
}


def recipe(
    transfer: Conversion, understood: Interpretation, names: Mapping[str, Sequence[str]], *, as_is: bool
) -> None:
    """Set the recipe's fields.

    Args:
        transfer: the options.
        names: by field, which of them it comes from.
        understood: both recipes.
        as_is: take the trainer's own formulas instead of the right ones.
    """
    chosen = understood.as_is if as_is else understood.as_meant
    remarks: dict[str, list[str]] = {}
    for change in () if as_is else understood.changes:
        remarks.setdefault(change.field, []).append(change.sentence)
    plain = Recipe()
    for field in FIELDS:
        value, own = getattr(chosen, field), names.get(field, ())
        why = " ".join(remarks.get(field, [])) or (PEER_WORDS.get(field, "") if as_is else "")
        stated = any(transfer.has(name) for name in own)
        if field == "prediction_type" and value == plain.prediction_type and not (as_is or stated):
            why = ""
        if value != getattr(plain, field) or (field in ("prediction_type", "zero_terminal_snr") and stated and value):
            transfer.set(f"recipe.{field}", plainly(value), *own, reason=why or _peer(value, as_is))
        elif remarks.get(field) and stated:
            transfer.set(f"recipe.{field}", plainly(value), *own, reason=why)
    for name in (name for group in names.values() for name in group):
        _idle(transfer, name)


def _idle(transfer: Conversion, name: str) -> None:
    """What the field came out without: an option that is off, or one that another takes the place of."""
    carried = {option for line in transfer.lines for option in line.options}
    if transfer.has(name) and name not in carried:
        if not transfer.is_at_default(name):
            transfer.drop(name, "it changes nothing beside the options that are carried", severity="harmless")
    elif transfer.has(name):
        transfer.mark_used(name)


def _peer(value: Any, as_is: bool) -> str:
    """Which program a weighting belongs to, where it is one of a program's own."""
    choices = value if isinstance(value, tuple) else ()
    peers = [(c.name, peer) for c in choices if (peer := c.entry.properties.peer)]
    said = dict.fromkeys(f"{name} is what {peer.program} computes." for name, peer in peers)
    return " ".join(said) if as_is else ""


def plainly(value: Any) -> Any:
    """A recipe's value as TOML has it, without parameters at their defaults.

    >>> from snrlab.core.weights.weighting import WEIGHTINGS
    >>> plainly((WEIGHTINGS.bind("min_snr", gamma=5.0), WEIGHTINGS.bind("debiased", max_snr=None)))
    [{'name': 'min_snr', 'gamma': 5.0}, {'name': 'debiased'}]
    """
    if isinstance(value, Choice):
        own = value.entry.parameters if value.name == "uniform" else {}
        stated = {key: item for key, item in value.values if item is not None}
        return {"name": value.name, **{k: v for k, v in stated.items() if k not in own or v != own[k].default}}
    if isinstance(value, tuple | list):
        return [plainly(item) for item in value]
    return value
