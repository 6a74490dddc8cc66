"""The verdict on runs: from the structured comparison to the sentence that answers which was better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from snrlab.core.bands import BAND_WORDS
from snrlab.lab.run_comparison.differences import BandChange, PairComparison
from snrlab.lab.verdict.causes import enumerated

Kind = Literal["better", "neither", "opposite", "mixed", "not measured"]
LUCK = "One seed each: this cannot tell the recipe from luck."
ONLY_SEED = "These runs differ only in their seed, so every difference between them is luck."


@dataclass(frozen=True)
class RunVerdict:
    """The answer to which run was better.

    Attributes:
        kind: `better` if one arm is, `neither` if no difference is clear, `opposite` if two arms are each better at
            some noise levels, `mixed` where more than two arms have no common order, `not measured` if nothing
            compares.
        best: label of the better arm, or None.
        sentence: the answer in words.
        caution: why the answer may be luck; empty where several seeds were trained.
    """

    kind: Kind
    best: str | None
    sentence: str
    caution: str


def judge(pairs: Sequence[PairComparison], *, only_seed: bool = False) -> RunVerdict:
    """The verdict on every two arms of a comparison."""
    measured = [pair for pair in pairs if pair.obstacle is None]
    one_seed = any(pair.seeds == 1 for pair in measured)
    caution = ONLY_SEED if only_seed else LUCK if one_seed else ""
    kind, best = _kind_of(pairs, measured)
    is_one_answer = len(pairs) == 1 or not measured
    sentence = pair_sentence(pairs[0]) if is_one_answer else _sentence_on_several(pairs, kind, best)
    return RunVerdict(kind, best, sentence, caution)


def pair_sentence(pair: PairComparison) -> str:
    """The answer on two arms."""
    if pair.obstacle is not None:
        return f"Nothing measured says which is better. {pair.obstacle.message}"
    if pair.outcome == "opposite":
        lower, higher = (_bands(pair, reading) for reading in ("lower", "higher"))
        return (
            f"It depends on the noise level: {pair.second} has the lower held-out loss at {lower}, "
            f"{pair.first} at {higher}."
        )
    if pair.outcome == "neither":
        largest = max(max(abs(band.change.low), abs(band.change.high)) for band in pair.bands)
        return (
            f"There is no difference between {pair.first} and {pair.second} that {_evidence(pair)} could show; "
            f"one of up to {_percent(largest)} stays possible."
        )
    better, worse = (pair.first, pair.second) if pair.outcome == "first" else (pair.second, pair.first)
    clear = [band for band in pair.bands if band.reading == ("higher" if pair.outcome == "first" else "lower")]
    where = "every noise band" if len(clear) == len(pair.bands) else f"{len(clear)} of {len(pair.bands)} noise bands"
    no_worse = "" if len(clear) == len(pair.bands) else " and clearly higher in none"
    return f"{better} is better than {worse}: its held-out loss is {_range(pair, clear)} lower in {where}{no_worse}."


def _kind_of(pairs: Sequence[PairComparison], measured: Sequence[PairComparison]) -> tuple[Kind, str | None]:
    if not measured:
        return "not measured", None
    labels = dict.fromkeys(label for pair in pairs for label in (pair.first, pair.second))
    for label in labels:
        own = [pair for pair in pairs if label in (pair.first, pair.second)]
        if all(_winner(pair) == label for pair in own):
            return "better", label
    outcomes = {pair.outcome for pair in pairs}
    if outcomes == {"neither"}:
        return "neither", None
    return ("opposite" if outcomes == {"opposite"} else "mixed"), None


def _winner(pair: PairComparison) -> str | None:
    return pair.first if pair.outcome == "first" else pair.second if pair.outcome == "second" else None


def _sentence_on_several(pairs: Sequence[PairComparison], kind: Kind, best: str | None) -> str:
    """One answer on more than two arms; the tables have each pair."""
    if kind == "better":
        return f"{best} is the best: against each of the others its held-out loss is clearly lower, and higher nowhere."
    if kind == "neither":
        return f"There is no difference between any two of them that {_evidence(pairs[0])} could show."
    beaten = dict.fromkeys(pair.second if pair.outcome == "first" else pair.first for pair in pairs if _winner(pair))
    behind = f" {' and '.join(beaten)} {'is' if len(beaten) == 1 else 'are'} behind another." if beaten else ""
    return f"No run is better than all others.{behind} The tables below compare every two."


def _evidence(pair: PairComparison) -> str:
    return f"{pair.count} held-out images" if pair.method == "pairs of images" else f"{pair.seeds} seeds of each"


def _bands(pair: PairComparison, reading: str) -> str:
    return enumerated([BAND_WORDS[band.band] for band in pair.bands if band.reading == reading])


def _range(pair: PairComparison, clear: Sequence[BandChange]) -> str:
    """By how much the better arm's loss is lower than the worse one's, over the bands where that is clear."""
    parts = [-b.change.value if pair.outcome == "second" else 1 - 1 / (1 + b.change.value) for b in clear]
    low, high = _percent(min(parts)), _percent(max(parts))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def _percent(part: float) -> str:
    """A part in per cent, to two digits."""
    return f"{100 * part:.2g} %" if abs(part) < 0.995 else f"{100 * part:.0f} %"
