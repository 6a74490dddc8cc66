"""A comparison of runs as one HTML file that opens offline: verdict, pictures with a slider, losses, settings."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from snrlab.lab.asset_files import read_asset
from snrlab.lab.blocks import Block, html_blocks, html_table
from snrlab.lab.run_comparison.differences import BandChange, PairComparison
from snrlab.lab.run_comparison.picture_table import PictureRow, PictureTable, PictureView
from snrlab.lab.run_comparison.run_comparison import RunComparison
from snrlab.lab.run_comparison.run_text import (
    HOW_INTERVALS,
    answer_blocks,
    loss_head,
    loss_row,
    pair_introduction,
    runs_title,
    setting_blocks,
)

_SMALL = 160  # pixels of a PNG's width up to which it is enlarged pixel by pixel


def render_runs(comparison: RunComparison, pictures: PictureTable | None, recipes: Iterable[Block] = ()) -> str:
    """The comparison as an HTML page.

    Args:
        comparison: the runs.
        pictures: what they draw; None leaves the section out.
        recipes: the comparison of their recipes, put last.
    """
    title = html.escape(runs_title(comparison))
    verdict, *others = answer_blocks(comparison)
    sections = [
        f'<p class="verdict">{html.escape(str(verdict))}</p>',
        _blocks(others),
        _picture_section(pictures) if pictures is not None else "",
        _loss_section(comparison),
        _blocks(setting_blocks(comparison)),
        _blocks(recipes),
    ]
    style = read_asset("report.css") + read_asset("run_page.css")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} - snrlab</title><style>{style}</style></head><body><h1>{title}</h1>
{"".join(sections)}
<script>{read_asset("run_page.js")}</script></body></html>
"""


def _blocks(blocks: Iterable[Block]) -> str:
    return "".join(html_blocks(blocks)).replace("</pre><pre>", "\n")  # commands that follow each other in one box


def _picture_section(table: PictureTable) -> str:
    """The pictures; without scripts those of the last view show."""
    shown = len(table.views) - 1
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    labels = "".join(f"<option>{html.escape(str(view))}</option>" for view in table.views)
    slider = (
        f'<p class="slider"><label for="view">Show</label> <input id="view" type="range" min="0" max="{shown}" '
        f'value="{shown}" aria-describedby="view-name"> <output id="view-name" for="view">'
        f'{html.escape(str(table.views[shown]))}</output></p><datalist id="view-names">{labels}</datalist>'
        if shown > 0
        else ""
    )
    head = "".join(f"<th>{html.escape(prompt)}</th>" for prompt in table.prompts)
    rows = "".join(_picture_row(row, table.views, shown, len(table.prompts)) for row in table.rows)
    return (
        f'<section id="pictures"><h2>Pictures</h2>{notes}{slider}<div class="sideways"><table class="pictures">'
        f"<thead><tr>{head}</tr></thead>{rows}</table></div></section>"
    )


def _picture_row(row: PictureRow, views: Sequence[PictureView], shown: int, columns: int) -> str:
    label = f'<tr class="label"><th colspan="{columns}"><span>{html.escape(row.label)}</span></th></tr>'
    if row.missing:
        return f'<tbody>{label}<tr><td colspan="{columns}"><span>{html.escape(row.missing)}</span></td></tr></tbody>'
    cells = []
    for column in range(columns):
        if None in row.views:
            cells.append(f"<td>{_image(row.views[None][column], row.label)}</td>")
            continue
        images = "".join(
            f'<div data-view="{place}"{"" if place == shown else " hidden"}>'
            + (_image(row.views[view][column], f"{row.label}, {view}") if view in row.views else "not saved")
            + "</div>"
            for place, view in enumerate(views)
        )
        cells.append(f"<td>{images}</td>")
    return f"<tbody>{label}<tr>{''.join(cells)}</tr></tbody>"


def _image(data: bytes, alt: str) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "webp"
    small = ' class="small"' if kind == "png" and int.from_bytes(data[16:20]) <= _SMALL else ""
    return f'<img{small} alt="{html.escape(alt)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def _loss_section(comparison: RunComparison) -> str:
    parts = ["<h2>Held-out loss by noise level</h2>"]
    for compared in comparison.pairs:
        parts.append(f"<p>{html.escape(pair_introduction(compared, several=len(comparison.pairs) > 1))}</p>")
        if compared.bands:
            parts += [_interval_figure(compared), html_table(loss_head(compared), map(loss_row, compared.bands))]
    if any(compared.bands for compared in comparison.pairs):
        parts.append(f"<p>{html.escape(HOW_INTERVALS)}</p>")
    return "".join(parts)


def _interval_figure(compared: PairComparison) -> str:
    """The change in each band as a dot with its interval, left of the middle where the second arm's loss is lower."""
    widest = max(max(abs(band.change.low), abs(band.change.high)) for band in compared.bands) or 1.0
    rows = "".join(
        f'<div class="interval"><span>{html.escape(band.band)}</span>{_interval_bar(band, widest)}</div>'
        for band in compared.bands
    )
    first, second = html.escape(compared.first), html.escape(compared.second)
    return (
        f'<div class="intervals"><div class="interval ends"><span></span><span>&larr; {second} lower</span>'
        f"<span>{first} lower &rarr;</span></div>{rows}"
        f'<div class="interval ends"><span></span><span>{-100 * widest:.2g} %</span><span>{100 * widest:+.2g} %</span>'
        "</div></div>"
    )


def _interval_bar(band: BandChange, widest: float) -> str:
    change = band.change
    low, value, high = (f"{50 + 48 * part / widest:.2f}%" for part in (change.low, change.value, change.high))
    kind = "clear" if band.reading in ("lower", "higher") else "open"
    label = html.escape(" ".join(loss_row(band)[1:4]))
    return (
        f'<svg class="{kind}" height="18" width="100%" role="img" aria-label="{label}">'
        '<line class="zero" x1="50%" x2="50%" y1="0" y2="18"/>'
        f'<line class="range" x1="{low}" x2="{high}" y1="9" y2="9"/>'
        f'<circle cx="{value}" cy="9" r="5"/></svg>'
    )
