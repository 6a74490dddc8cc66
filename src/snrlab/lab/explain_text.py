"""An explanation for people: one structure, written as terminal text, Markdown or HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

from snrlab.core.finding import Finding
from snrlab.lab.explain import Effort, Explanation
from snrlab.lab.profile import SHARES
from snrlab.lab.recipe_text import write_recipe
from snrlab.lab.sources.asked import Understood
from snrlab.lab.tables import describe
from snrlab.lab.text import columns

SHOWN = 40  # characters of a value
NAMES = {"weight": "of weight", "loss": "of loss", "gradient": "of gradient energy"}
FIFTHS = ("t 0-199", "200-399", "400-599", "600-799", "800-999")


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Lines:
    """Items of a list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table, its first row the heading."""

    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Code:
    """What can be typed."""

    text: str


Block = Heading | Lines | Grid | Code | Finding | str


def blocks(explained: Explanation) -> Iterator[Block]:
    """The explanation in its order: asked, computed, effort, remarks, meant."""
    understood, asked = explained.understood, explained.asked
    yield f"{asked.source} is {asked.kind}."
    yield Heading("What was asked")
    others = len(asked.options) - len(asked.matter)
    rest = (f"and {others} that do not touch the recipe",) if others else ()
    yield Lines((*(_option(name, asked.options[name]) for name in asked.matter), *rest) or ("nothing",))
    if understood.does:
        yield Heading(f"What {understood.version} computes")
        yield Lines(understood.does)
    else:
        yield Heading("The recipe")
        yield describe(understood.as_is) + "."
    yield Heading("Where the effort goes")
    yield from _effort(explained.as_is, explained.profile)
    for start, effort in explained.later:
        yield f"From step {start}:"
        yield from _effort(effort, None)
    yield Heading("What to know")
    yield from explained.found
    if not explained.found:
        yield "Nothing stands out."
    if understood.changes:
        yield Heading("What was probably meant")
        yield Lines(understood.changes)
        yield from _effort(explained.as_meant, None)
    yield from _code(understood)


def _option(name: str, value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{name} = {text if len(text) <= SHOWN else text[: SHOWN - 3] + '...'}"


def _effort(effort: Effort | None, profile: str | None) -> Iterator[Block]:
    if effort is None:
        yield "It has no finite weights, so there are no shares to show."
        return
    head = ("share", *FIFTHS, *effort.bands["weight"])
    rows = []
    for kind in SHARES:
        values = (*effort.fifths[kind], *effort.bands[kind].values())
        rows.append((NAMES[kind], *(f"{100 * value:.1f} %" for value in values)))
    yield Grid((head, *rows))
    floor = f", loss floor of the perturbation {effort.floor:.4g}" if effort.floor else ""
    untrained = f", never trained: {effort.untrained}" if effort.untrained else ""
    counts = f"Mean weight {effort.mean_weight:.3g}, effective sample size {effort.effective_sample_size:.0%}"
    yield f"{counts}{floor}{untrained}."
    if profile is not None:
        yield f"Loss and gradient shares are from the profile of {profile}; another model has another one."


def _code(understood: Understood) -> Iterator[Block]:
    yield Heading("See it")
    meant = f' "as meant = {write_recipe(understood.as_meant)}"' if understood.changes else ""
    yield Code(f'snrlab plot "as it is = {write_recipe(understood.as_is)}"{meant} -o recipe.html')


def to_text(explained: Explanation) -> str:
    """For a terminal."""
    parts = []
    for block in blocks(explained):
        match block:
            case Heading(text):
                parts.append(f"\n{text}\n{'-' * len(text)}")
            case Lines(items):
                parts += [f"  {item}" for item in items]
            case Grid(rows):
                parts.append(columns(rows))
            case Code(text):
                parts.append(f"  {text}")
            case _:
                parts.append(str(block))
    return "\n".join(parts)


def to_markdown(explained: Explanation) -> str:
    """Markdown."""
    parts = [f"# {explained.asked.source}", ""]
    for block in blocks(explained):
        match block:
            case Heading(text):
                parts += [f"## {text}", ""]
            case Lines(items):
                parts += [*(f"- {item}" for item in items), ""]
            case Grid(rows):
                head, *rest = rows
                lines = [head, ("---",) * len(head), *rest]
                parts += [*("| " + " | ".join(line) + " |" for line in lines), ""]
            case Code(text):
                parts += [f"    {text}", ""]
            case Finding():
                parts += [f"- **{block.grade}** {block.message} {block.action}".rstrip(), ""]
            case _:
                parts += [str(block), ""]
    return "\n".join(parts)


def to_html(explained: Explanation, css: str, picture: str = "") -> str:
    """One HTML file that opens offline; `picture` is SVG."""
    parts = []
    for block in blocks(explained):
        match block:
            case Heading(text):
                parts.append(f"<h2>{html.escape(text)}</h2>")
            case Lines(items):
                parts.append("<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>")
            case Grid(rows):
                cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
                parts.append("<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>")
            case Code(text):
                parts.append(f"<pre>{html.escape(text)}</pre>")
            case Finding():
                message = f"<b>{block.grade}</b> {html.escape(block.message)} {html.escape(block.action)}"
                parts.append(f'<p class="{block.grade}">{message}</p>')
            case _:
                parts.append(f"<p>{html.escape(str(block))}</p>")
    name = html.escape(explained.asked.source)
    figure = f"<figure>{picture}</figure>" if picture else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name} - snrlab</title><style>{css}</style></head><body><h1>{name}</h1>{figure}{"".join(parts)}</body></html>
"""
