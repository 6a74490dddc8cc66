"""What a run achieved, in sentences: what got better, and what it cost, computed from the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from snrlab.core.bands import BAND_WORDS, BANDS
from snrlab.lab.figures.run_figures import change_since_base
from snrlab.lab.statistics import Estimate
from snrlab.lab.verdict.causes import enumerated
from snrlab.runs.logs import ValidationLine

Direction = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class MeasureWords:
    """How a measure of pictures is read.

    Attributes:
        higher_is_better: which way is better.
        sentence: what the measure says; `{}` is its value.
        percent: whether the value is a share of pictures.
        explanation: what it means, for people who see its name for the first time.
    """

    higher_is_better: bool
    sentence: str
    percent: bool
    explanation: str


# measures of evaluation.json by name; one that is missing here is shown as a number, without a direction
MEASURE_WORDS = {
    "style": MeasureWords(
        True,
        "{} of the pictures have the style that was trained",
        percent=True,
        explanation="share of pictures in which the style is recognised",
    ),
    "caption match": MeasureWords(
        True,
        "{} of the pictures can be recognised as what the prompt asks for",
        percent=True,
        explanation="share of pictures that are recognised as their prompt among 100 possible ones",
    ),
    "identity": MeasureWords(
        True,
        "{} of the pictures show the trained character",
        percent=True,
        explanation="share of pictures in which the trained character is recognised",
    ),
    "paired distance": MeasureWords(
        False,
        "the distance to the true pictures is {}",
        percent=False,
        explanation="how far a picture is from the true picture of its prompt; 0 is identical",
    ),
    "content distance": MeasureWords(
        False,
        "the distance of the content to that of the true pictures is {}",
        percent=False,
        explanation="the same for the content alone, whatever the style",
    ),
    "KID": MeasureWords(
        False,
        "KID is {}",
        percent=False,
        explanation="how far the pictures as a whole are from the true ones; 0 is identical",
    ),
}
_IN_SENTENCES = ("style", "identity", "caption match")  # the others repeat them for people who know statistics


def direction(change: Estimate, *, higher_is_better: bool) -> Direction:
    """Whether a change is for better or worse; unclear where its interval includes 0.

    >>> direction(Estimate(-0.5, -0.6, -0.4), higher_is_better=True)
    'worse'
    """
    if change.low <= 0 <= change.high:
        return "unclear"
    return "better" if (change.value > 0) == higher_is_better else "worse"


def direction_mark(change: Estimate, *, higher_is_better: bool) -> str:
    """The direction of a change as an arrow and a word."""
    judged = direction(change, higher_is_better=higher_is_better)
    if judged == "unclear":
        return "= unclear"
    return f"{'▲' if change.value > 0 else '▼'} {judged}"


def main_row(evaluation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row of an evaluation that its sentence is about: of what was trained, as it is used at strength 1.

    None where nothing is compared with the model before training.
    """
    compared = [row for row in evaluation["rows"][1:] if row.get("change")]
    at_one = [row for row in compared if row.get("strength") in (None, 1.0)]
    return (at_one or compared or [None])[-1]


def result_sentences(
    validation: Sequence[ValidationLine], evaluation: Mapping[str, Any] | None, *, lora: bool
) -> list[str]:
    """What got better and what it cost, in sentences; empty where nothing was measured.

    Args:
        validation: lines of validation.jsonl.
        evaluation: content of evaluation.json, or None.
        lora: whether a LoRA was trained, and not all weights.
    """
    return [*(_on_pictures(evaluation, lora=lora) if evaluation else []), *_on_validation(validation)]


def _on_pictures(evaluation: Mapping[str, Any], *, lora: bool) -> list[str]:
    row, base = main_row(evaluation), evaluation["rows"][0]
    if row is None:
        return []
    clauses: dict[Direction, list[str]] = {"better": [], "worse": [], "unclear": []}
    for name in _IN_SENTENCES:
        if name in row["change"]:
            words, change = MEASURE_WORDS[name], Estimate(**row["change"][name])
            now, before = (_value(Estimate(**r["measures"][name]), words) for r in (row, base))
            clause = f"{words.sentence.format(now)}, against {before} before training"
            clauses[direction(change, higher_is_better=words.higher_is_better)].append(clause)
    strength = row.get("strength")
    of_strength = f" at strength {strength:g}" if strength not in (None, 1.0) else ""
    subject = f"With {'the LoRA' if lora else 'the trained model'}{of_strength}"
    sentences = []
    if clauses["better"]:
        sentences.append(f"{subject}, {enumerated(clauses['better'])}.")
    if clauses["worse"]:
        start = "This has a price" if sentences else f"{subject}, the pictures got worse"
        sentences.append(f"{start}: {enumerated(clauses['worse'])}.")
    if clauses["unclear"] and sentences:
        sentences.append(f"More pictures would be needed to tell this from chance: {enumerated(clauses['unclear'])}.")
    elif clauses["unclear"]:
        sentences.append(f"{subject}, no change of the pictures is larger than chance.")
    return sentences


def _value(estimate: Estimate, words: MeasureWords) -> str:
    return f"{100 * estimate.value:.0f} %" if words.percent else f"{estimate.value:.3g}"


def _on_validation(lines: Sequence[ValidationLine]) -> list[str]:
    """Change of the error on images outside the training set, by noise level."""
    if len(lines) < 2:
        return []
    first, last = lines[0], lines[-1]
    clauses: dict[Direction, list[str]] = {"better": [], "worse": [], "unclear": []}
    for band in (band for band in BANDS if band in last["errors"]):
        change = change_since_base(last, first, band)
        base = first["bands"][band]["value"]
        judged = direction(change, higher_is_better=False)
        size = "" if judged == "unclear" else f"{_by_percent(change, base)} at "
        clauses[judged].append(f"{size}{BAND_WORDS[band]}")
    count, steps = len(first["images"]), last["step"]
    images = f"{count} images that were not trained on"
    sentences = []
    if clauses["better"]:
        sentences.append(f"After {steps} steps the error on {images} is lower: by {enumerated(clauses['better'])}.")
    if clauses["worse"]:
        start = "It is higher" if sentences else f"After {steps} steps the error on {images} is higher"
        sentences.append(f"{start}: by {enumerated(clauses['worse'])}.")
    if clauses["unclear"]:
        start = (
            "No change is larger than chance"
            if sentences
            else (f"After {steps} steps the error on {images} has not changed by more than chance")
        )
        sentences.append(f"{start} at {enumerated(clauses['unclear'])}.")
    return sentences


def _by_percent(change: Estimate, base: float) -> str:
    """The size of a change that has a direction, in per cent of the base, with its interval."""
    low, high = sorted(abs(100 * bound / base) for bound in (change.low, change.high))
    return f"{abs(100 * change.value / base):.2g} % ({low:.2g} to {high:.2g})"
