"""The report of a study: as blocks for the terminal and for Markdown, as one HTML file, and as JSON for programs."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from snrlab.files.writing import write_atomically
from snrlab.lab.asset_files import read_asset
from snrlab.lab.blocks import Block, BulletList, Code, Heading, Lead, TableBlock, html_blocks, to_markdown
from snrlab.study.answer import Contrast, StudyAnswer
from snrlab.study.forest_plot import forest_plot
from snrlab.study.metrics import METRICS
from snrlab.study.paired import PairedResult
from snrlab.study.study_file import TWIN
from snrlab.study.study_folder import StudyFolder
from snrlab.study.verdict_text import caution_sentences, verdict_sentence

_HOW = (
    "Each training seed is one pair: both arms start from the same weights and see the same pictures, captions, noise "
    "and random numbers. The interval is Student's over these pairs. Only the questions that were stated beforehand "
    "get a verdict; Holm's method divides the error probability among them. In the figures their dots are filled, and "
    "the grey band is what other noise alone can do: the twin's interval, to both sides."
)


def write_reports(folder: StudyFolder, answer: StudyAnswer) -> None:
    """Write report.html, report.md and report.json."""
    write_atomically(folder.report, render_study_report(answer).encode())
    write_atomically(folder.markdown_report, to_markdown(answer.study.name, study_blocks(answer)).encode())
    write_atomically(folder.json_report, (json.dumps(answer_as_data(answer), indent=1) + "\n").encode())


def study_blocks(answer: StudyAnswer) -> Iterator[Block]:
    """The report as blocks, without figures."""
    yield from study_verdict_blocks(answer)
    for metric in _metrics(answer):
        yield Heading(_title(metric))
        yield effects_table(answer, metric)
    yield Heading("How to read this")
    yield _HOW
    yield from _repeat_blocks(answer)


def study_verdict_blocks(answer: StudyAnswer) -> Iterator[Block]:
    """The verdicts, and what makes them uncertain."""
    for contrast in answer.primary:
        yield Lead(verdict_sentence(contrast, answer))
    sentences = caution_sentences(answer)
    if sentences:
        yield BulletList(tuple(sentences))


def effects_table(answer: StudyAnswer, metric: str) -> TableBlock:
    """Every contrast in one metric, and the twin as the reference."""
    head = ("arm", "against", "change", "interval", "p", "p, sign flips", "better next time", "verdict")
    contrasts = [c for c in (*answer.primary, *answer.exploratory) if c.metric == metric]
    floor = answer.floor.get(metric)
    rows = [_row(contrast, contrast.word or "exploratory") for contrast in contrasts]
    twin = [_row(floor, "only other noise")] if floor is not None else []
    return TableBlock((head, *rows, *twin), grey_rows=len(twin))


def render_study_report(answer: StudyAnswer) -> str:
    """The report as one HTML file that opens offline."""
    title = html.escape(answer.study.name)
    parts = html_blocks(study_verdict_blocks(answer))
    for metric in _metrics(answer):
        contrasts = [c for c in (*answer.primary, *answer.exploratory) if c.metric == metric]
        against_baseline = [c for c in contrasts if c.against == answer.study.baseline_arm]
        parts += html_blocks([Heading(_title(metric))])
        parts.append(f"<figure>{forest_plot(against_baseline, answer.floor.get(metric))}</figure>")
        parts += html_blocks([effects_table(answer, metric)])
    parts += html_blocks([Heading("How to read this"), _HOW, *_repeat_blocks(answer)])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} - snrlab</title><style>{read_asset("report.css")}</style></head><body><h1>{title}</h1>
{"".join(parts)}
</body></html>
"""


def answer_as_data(answer: StudyAnswer) -> dict[str, Any]:
    """The answer as plain data."""
    return {
        "name": answer.study.name,
        "baseline": answer.study.baseline_arm,
        "seeds": answer.study.seed_list,
        "looks": answer.looks,
        "alpha": answer.alpha,
        "margin_percent": answer.study.margin,
        "sentences": [verdict_sentence(contrast, answer) for contrast in answer.primary],
        "primary": [asdict(contrast) for contrast in answer.primary],
        "exploratory": [asdict(contrast) for contrast in answer.exploratory],
        "floor": {metric: asdict(contrast) for metric, contrast in answer.floor.items()},
        "sees_known_difference": {metric: known.seen for metric, known in answer.known.items()},
        "warnings": list(answer.warnings),
        "missing": [list(cell) for cell in answer.missing],
    }


def _metrics(answer: StudyAnswer) -> list[str]:
    return list(answer.floor) or list(dict.fromkeys(contrast.metric for contrast in answer.primary))


def _title(metric: str) -> str:
    label = METRICS[metric].label
    return label[0].upper() + label[1:]


def _row(contrast: Contrast, word: str) -> tuple[str, ...]:
    result = contrast.result
    if result is None:
        return (contrast.arm, contrast.against, "-", "-", "-", "-", "-", "too few seeds")
    p = contrast.adjusted_p if contrast.adjusted_p is not None else result.p
    return (
        contrast.arm,
        contrast.against,
        f"{result.effect:+.2f} %",
        _interval_text(result),
        f"{p:.2g}",
        f"{result.p_sign_flip:.2g}",
        f"{100 * result.better_next:.0f} %",
        word,
    )


def _interval_text(result: PairedResult) -> str:
    return f"{result.low:+.2f} to {result.high:+.2f} %"


def _repeat_blocks(answer: StudyAnswer) -> Iterator[Block]:
    yield Heading("To repeat it")
    yield Code("snrlab study study.toml")
    seeds = ", ".join(map(str, answer.study.seed_list))
    arms = ", ".join([*answer.study.arms, TWIN])
    yield f"Cells: the arms {arms}, each with the seeds {seeds}."
