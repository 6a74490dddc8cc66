"""Documents as lists of blocks, and their writers: terminal text, Markdown and HTML."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
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
class NumberedList:
    """A list of things to do, in order."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Lead:
    """What is read first, and may be all that is read."""

    text: str


@dataclass(frozen=True)
class TableBlock:
    """A table; its first row is the heading. The last `grey` columns and `grey_rows` rows are the reference."""

    rows: tuple[tuple[str, ...], ...]
    grey: int = 0
    grey_rows: int = 0


@dataclass(frozen=True)
class Code:
    """A command to type."""

    text: str


Block = Heading | BulletList | NumberedList | Lead | TableBlock | Code | Finding | str
Paint = Callable[[str, str], str]  # (role, text) -> text with the colours of a terminal


def to_text(blocks: Iterable[Block], *, width: int | None = None, paint: Paint = lambda role, text: text) -> str:
    """The blocks as terminal text, without the control characters that names and metadata in a file may hold.

    Args:
        blocks: the document.
        width: characters of a line, between whose words longer ones are broken; None breaks nothing.
        paint: colours a text by its role: `lead`, `heading`, `grey`, or the grade of a finding.
    """
    return "\n".join(part for block in blocks for part in _text_parts(block, width, paint))


def _text_parts(block: Block, width: int | None, paint: Paint) -> Iterator[str]:
    match block:
        case Heading(text):
            yield paint("heading", printable(f"\n{text}\n{'-' * len(text)}"))
        case Lead(text):
            yield paint("lead", _broken(text, width))
        case BulletList(items):
            yield from (_broken(item, width, "  ") for item in items)
        case NumberedList(items):
            yield from (_broken(item, width, f"  {number}. ") for number, item in enumerate(items, 1))
        case TableBlock():
            yield from _table_lines(block, paint)
        case Code(text):
            yield printable(f"  {text}")
        case Finding():
            mark = f"{block.grade}: "
            line = _broken(f"{block.in_full} [{block.code}]", width, mark)
            yield paint(block.grade, mark) + line[len(mark) :]
        case _:
            yield _broken(str(block), width)


def _broken(text: str, width: int | None, start: str = "") -> str:
    """The text broken between words, later lines below the first one's text."""
    text = printable(text)
    if width is None:
        return start + text
    return textwrap.fill(
        text, width, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _table_lines(table: TableBlock, paint: Paint) -> Iterator[str]:
    """The lines of a table, its reference in grey."""
    rows = table.rows
    kept = [row[: len(row) - table.grey] for row in rows]
    ends = [max(map(len, columns(kept).split("\n")))] * len(rows) if table.grey else [len(columns(rows))] * len(rows)
    ends[len(rows) - table.grey_rows :] = [0] * table.grey_rows
    for line, end in zip(columns(rows).split("\n"), ends, strict=True):
        text = printable(line)
        yield text if end >= len(text) else text[:end] + paint("grey", text[end:])


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
            case Lead(text):
                parts += [f"**{text}**", ""]
            case BulletList(items):
                parts += [*(f"- {item}" for item in items), ""]
            case NumberedList(items):
                parts += [*(f"{number}. {item}" for number, item in enumerate(items, 1)), ""]
            case TableBlock((head, *rest)):
                lines = [head, ("---",) * len(head), *rest]
                parts += [*("| " + " | ".join(line) + " |" for line in lines), ""]
            case Code(text):
                parts += [f"    {text}", ""]
            case Finding():
                parts += [f"- **{block.grade}** {block.in_full}", ""]
            case _:
                parts += [str(block), ""]
    return "\n".join(parts)


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[str | Estimate]], *, grey: int = 0, grey_rows: int = 0
) -> str:
    """An HTML table that scrolls sideways on a narrow screen, by itself (class `sideways` in assets/report.css).

    Args:
        head: cells of the heading.
        rows: cells of the other rows.
        grey: how many of the last columns are the reference.
        grey_rows: how many of the last rows are.
    """

    def line(cells: Sequence[str | Estimate], tag: str, grey: int = grey) -> str:
        marks = [""] * (len(cells) - grey) + [' class="reference"'] * grey
        return "<tr>" + "".join(f"<{tag}{m}>{_cell(c)}</{tag}>" for c, m in zip(cells, marks, strict=True)) + "</tr>"

    listed = list(rows)
    first_grey = len(listed) - grey_rows
    body = "".join(line(row, "td", grey if i < first_grey else len(row)) for i, row in enumerate(listed))
    return f'<div class="sideways"><table>{line(head, "th")}{body}</table></div>'


def _cell(content: str | Estimate) -> str:
    """Content of a cell: a text, or a value with its interval on a second line."""
    if isinstance(content, str):
        return html.escape(content)
    value, _, interval = str(content).partition(" ")
    return f"{value} <small>{interval}</small>"


def html_blocks(blocks: Iterable[Block]) -> list[str]:
    """Each block as HTML, for the styles of assets/report.css."""
    return [_html_block(block) for block in blocks]


def _html_block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Lead(text):
            return f'<p class="lead">{html.escape(text)}</p>'
        case BulletList(items):
            return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
        case NumberedList(items):
            return "<ol>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ol>"
        case TableBlock((head, *rest), grey, grey_rows):
            return html_table(head, rest, grey=grey, grey_rows=grey_rows)
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Finding():
            message = f"<b>{block.grade}</b> {html.escape(block.message)} {html.escape(block.action)}"
            return f'<p class="{block.grade}">{message}</p>'
    return f"<p>{html.escape(str(block))}</p>"


def to_html(title: str, blocks: Iterable[Block], figure: str = "") -> str:
    """The blocks as one HTML file that opens offline; `figure` is SVG, and stands below what is read first."""
    listed = list(blocks)
    parts = html_blocks(listed)
    if figure:
        after_lead = next((i + 1 for i, block in enumerate(listed) if isinstance(block, Lead)), 0)
        parts.insert(after_lead, f"<figure>{figure}</figure>")
    name = html.escape(title)
    style = read_asset("report.css")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name} - snrlab</title><style>{style}</style></head><body><h1>{name}</h1>{"".join(parts)}</body></html>
"""
