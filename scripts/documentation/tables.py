"""Tables of words that a telephone shows as cards: each cell knows its column's heading (site.css does the rest)."""

from __future__ import annotations

import html
import re
from pathlib import Path

TABLE = re.compile(r"<table>(.*?)</table>", re.S)
HEADING = re.compile(r"<th\b[^>]*>(.*?)</th>", re.S)
ROW = re.compile(r"<tr>(.*?)</tr>", re.S)
CELL = re.compile(r"<td(?P<kept>[^>]*)>(?P<content>.*?)</td>", re.S)
LONG = 24  # characters: numbers and formulas are shorter, and are better read in columns


def carded(page: str) -> str:
    """The HTML page with its tables of words marked, and the heading of each of their cells in the cell.

    >>> carded("<table><tr><th>a</th></tr><tr><td>1</td></tr></table>")  # of numbers: as it is
    '<table><tr><th>a</th></tr><tr><td>1</td></tr></table>'
    """
    return TABLE.sub(_table, page)


def card_site(site: Path) -> None:
    """Every page of a built site."""
    for file in site.rglob("*.html"):
        page = file.read_text(encoding="utf-8")
        if "<table>" in page:
            file.write_text(carded(page), encoding="utf-8")


def _table(match: re.Match[str]) -> str:
    if not any(len(_words(cell["content"])) > LONG for cell in CELL.finditer(match[1])):
        return match[0]
    headings = [_words(heading) for heading in HEADING.findall(match[1])]
    return f"<table data-cards>{ROW.sub(lambda row: _row(row, headings), match[1])}</table>"


def _row(match: re.Match[str], headings: list[str]) -> str:
    left = iter(headings)

    def cell(cell_match: re.Match[str]) -> str:
        heading = html.escape(next(left, ""), quote=True)
        return f'<td{cell_match["kept"]} data-heading="{heading}">{cell_match["content"]}</td>'

    return f"<tr>{CELL.sub(cell, match[1])}</tr>"


def _words(content: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", content)).split())
