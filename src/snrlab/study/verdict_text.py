"""The sentences of a verdict, written from its numbers."""

from __future__ import annotations

from snrlab.study.answer import Contrast, StudyAnswer
from snrlab.study.metrics import METRICS
from snrlab.study.paired import PairedResult

FEWEST_FOR_EXACT = 6  # pairs below which the sign-flip test cannot reach 0.05


def verdict_sentence(contrast: Contrast, answer: StudyAnswer) -> str:
    """The verdict on a primary contrast, with effect, interval, p and seeds; what to do where it is inconclusive."""
    result, label = contrast.result, METRICS[contrast.metric].label
    if result is None:
        return f"{contrast.arm} against {contrast.against}: no verdict yet, fewer than two seeds have finished."
    level = f"{100 * (1 - answer.alpha):.3g} % interval {result.low:+.2f} to {result.high:+.2f} %"
    questions = f" among {len(answer.primary)} questions" if len(answer.primary) > 1 else ""
    numbers = f"{result.effect:+.2f} % ({level}; p = {contrast.adjusted_p:.2g}{questions}; {result.pairs} seeds)"
    match contrast.word:
        case "better" | "worse":
            return f"{contrast.arm} is {contrast.word} than {contrast.against}: {label} {numbers}."
        case "equivalent":
            return (
                f"{contrast.arm} and {contrast.against} are equivalent within {answer.study.margin:g} %: {label} "
                f"{numbers}."
            )
    return (
        f"{contrast.arm} against {contrast.against} is inconclusive: {label} {numbers}. {_what_it_would_take(result)}"
    )


def caution_sentences(answer: StudyAnswer) -> list[str]:
    """What the reader has to know before believing a verdict."""
    sentences = []
    for metric in dict.fromkeys(contrast.metric for contrast in answer.primary):
        floor, known = answer.floor.get(metric), answer.known.get(metric)
        if floor is not None and floor.result is not None:
            size = (sum(effect**2 for effect in floor.effects) / len(floor.effects)) ** 0.5
            sentences.append(
                f"Other noise alone, with the same recipe, changes the {METRICS[metric].label} of one seed by about "
                f"{100 * size:.2f} %; on average over {floor.result.pairs} seeds by {floor.result.effect:+.2f} % "
                f"({floor.result.low:+.2f} to {floor.result.high:+.2f} %)."
            )
        if known is None or known.result is None:
            sentences.append(
                f"Whether the {METRICS[metric].label} can see a difference is not known: nothing was measured at half "
                "of the steps."
            )
        elif known.seen:
            sentences.append(
                f"The {METRICS[metric].label} passes its check: it sees that all steps are better than half of them "
                f"({known.result.effect:+.2f} %, {known.result.low:+.2f} to {known.result.high:+.2f} %)."
            )
        else:
            sentences.append(
                f"The {METRICS[metric].label} is blind here: it does not see that all steps are better than half of "
                f"them ({known.result.low:+.2f} to {known.result.high:+.2f} %). Its verdicts mean little."
            )
    fewest = min((c.result.pairs for c in answer.primary if c.result is not None), default=0)
    if 0 < fewest < FEWEST_FOR_EXACT:
        sentences.append(
            f"With {fewest} seeds the exact test cannot reach p = 0.05, whatever the recipes do; it takes "
            f"{FEWEST_FOR_EXACT}."
        )
    if answer.looks > 1:
        sentences.append(
            f"This is verdict number {answer.looks} on the same study, so the intervals are wider "
            f"({100 * (1 - answer.alpha):.3g} %)."
        )
    if answer.missing:
        cells = ", ".join(f"{arm} with seed {seed}" for arm, seed in answer.missing[:6])
        sentences.append(f"Without a result, and left out: {cells}{' and more' if len(answer.missing) > 6 else ''}.")
    return [*sentences, *answer.warnings]


def _what_it_would_take(result: PairedResult) -> str:
    seen = f"Effects from {abs(result.detectable):.2g} % on would have been seen"
    if result.seeds_needed is None:
        return f"{seen}; one as small as this would take more than a thousand seeds."
    if result.seeds_needed <= result.pairs:
        return f"{seen}."
    return f"{seen}; to see one as large as this, about {result.seeds_needed} seeds are needed."
