"""Documents as lists of blocks, and their writers: terminal text, Markdown and HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from snrlab.core.findings.finding import Finding
from snrlab.lab.asset_files import read_asset
from snrlab.lab.statistics import Estimate


def columns(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines of text; every column is as wide as its widest cell.

    >>> print(columns([("", "a"), ("long", "b")]))
          a
    long  b
    """
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table)


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class BulletList:
    """A list of items."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class TableBlock:
    """A table; its first row is the heading."""

    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Code:
    """A command to type."""

    text: str


Block = Heading | BulletList | TableBlock | Code | Finding | str


def to_text(blocks: Iterable[Block]) -> str:
    """The blocks as terminal text, without the control characters that names and metadata in a file may hold."""
    parts = []
    for block in blocks:
        match block:
            case Heading(text):
                parts.append(f"\n{text}\n{'-' * len(text)}")
            case BulletList(items):
                parts += [f"  {item}" for item in items]
            case TableBlock(rows):
                parts.append(columns(rows))
            case Code(text):
                parts.append(f"  {text}")
            case _:
                parts.append(str(block))
    return printable("\n".join(parts))


def printable(text: str) -> str:
    r"""The text with a replacement mark for each control character, which could drive the terminal.

    >>> printable("a name\x1b[2J")
    'a name\ufffd[2J'
    """
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def to_markdown(title: str, blocks: Iterable[Block]) -> str:
    """The blocks as Markdown under a title."""
    parts = [f"# {title}", ""]
    for block in blocks:
        match block:
            case Heading(text):
                parts += [f"## {text}", ""]
            case BulletList(items):
                parts += [*(f"- {item}" for item in items), ""]
            case TableBlock(rows):
                head, *rest = rows
                lines = [head, ("---",) * len(head), *rest]
                parts += [*("| " + " | ".join(line) + " |" for line in lines), ""]
            case Code(text):
                parts += [f"    {text}", ""]
            case Finding():
                parts += [f"- **{block.grade}** {block.in_full}", ""]
            case _:
                parts += [str(block), ""]
    return "\n".join(parts)


def html_table(head: Sequence[str], rows: Iterable[Sequence[str | Estimate]]) -> str:
    """An HTML table that scrolls sideways on a narrow screen, by itself (class `sideways` in assets/report.css)."""

    def line(cells: Sequence[str | Estimate], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_cell(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="sideways"><table>{line(head, "th")}{body}</table></div>'


def _cell(content: str | Estimate) -> str:
    """Content of a cell: a text, or a value with its interval on a second line."""
    if isinstance(content, str):
        return html.escape(content)
    value, _, interval = str(content).partition(" ")
    return f"{value} <small>{interval}</small>"


def to_html(title: str, blocks: Iterable[Block], figure: str = "") -> str:
    """The blocks as one HTML file that opens offline; `figure` is SVG."""
    parts = []
    for block in blocks:
        match block:
            case Heading(text):
                parts.append(f"<h2>{html.escape(text)}</h2>")
            case BulletList(items):
                parts.append("<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>")
            case TableBlock(rows):
                head, *rest = rows
                parts.append(html_table(head, rest))
            case Code(text):
                parts.append(f"<pre>{html.escape(text)}</pre>")
            case Finding():
                message = f"<b>{block.grade}</b> {html.escape(block.message)} {html.escape(block.action)}"
                parts.append(f'<p class="{block.grade}">{message}</p>')
            case _:
                parts.append(f"<p>{html.escape(str(block))}</p>")
    name = html.escape(title)
    drawing = f"<figure>{figure}</figure>" if figure else ""
    style = read_asset("report.css")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name} - snrlab</title><style>{style}</style></head><body><h1>{name}</h1>{drawing}{"".join(parts)}</body></html>
"""
