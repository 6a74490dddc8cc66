"""Line charts as plain SVG: quick enough to draw while a run trains, coloured by the page in light and in dark."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 600, 300  # units of the drawing; the style sheet scales it to the page
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 44
MOST_MARKED = 25  # points; a longer line is drawn without a mark at each
_DODGE = 5  # units between the marks of two lines at one position, so that equal values stay apart
_MARKS = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "M-4-4h8v8h-8z", "M0-5L5 4H-5z", "M0-5.5L5.5 0L0 5.5L-5.5 0z")


@dataclass(frozen=True)
class ChartLine:
    """One line of a chart.

    Attributes:
        name: what the key calls it.
        index: place of its colour, dashes and mark among those of the style sheet.
        x, y: its points, in order.
        low, high: the interval of each point; empty for none.
    """

    name: str
    index: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def line_chart(lines: Sequence[ChartLine], *, x_label: str, y_label: str, log: bool = False) -> str:
    """The lines over one pair of axes, with a key below them, as HTML.

    Few points are drawn as marks with their intervals, and two are not joined: a line through them would look like a
    trend. Lines with equal values stay apart by their dashes and marks.

    Args:
        lines: at least one line with at least one point.
        x_label: what the horizontal axis measures.
        y_label: what the vertical axis measures.
        log: draw the values, which must be positive, on a logarithmic axis.
    """
    axes = _Axes.around(lines, log=log)
    parts = [axes.grid(x_label, y_label)]
    for place, line in enumerate(lines):
        parts.append(_drawn_line(line, axes, _DODGE * (place - (len(lines) - 1) / 2)))
    key = "".join(f"<li>{_key_mark(line)}{html.escape(line.name)}</li>" for line in lines)
    label = html.escape(f"{y_label} over {x_label}", quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f'<ul class="key">{key}</ul>'
    )


@dataclass(frozen=True)
class _Axes:
    """Ranges of both axes, and where a value is drawn."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool

    @classmethod
    def around(cls, lines: Sequence[ChartLine], *, log: bool) -> _Axes:
        """Axes that hold every point and interval; linear ones also hold 0."""
        xs = [value for line in lines for value in line.x]
        ys = [value for line in lines for part in (line.y, line.low, line.high) for value in part]
        if log:
            low, high = math.log10(min(ys)), math.log10(max(ys))
            margin = max(0.05 * (high - low), 0.02)
        else:
            low, high = min(0.0, *ys), max(0.0, *ys)
            margin = 0.05 * (high - low) or 1.0
        return cls((min(0.0, *xs), max(1.0, *xs)), (low - margin, high + margin), log)

    def right(self, value: float) -> float:
        """Horizontal position of a value."""
        low, high = self.x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def down(self, value: float) -> float:
        """Vertical position of a value."""
        low, high = self.y
        at = math.log10(value) if self.log else value
        return _HEIGHT - _BOTTOM - (at - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def grid(self, x_label: str, y_label: str) -> str:
        """Grid lines with their numbers, and what the axes measure."""
        parts = []
        for value in _log_ticks(*self.y) if self.log else _ticks(*self.y):
            at, kind = self.down(value), "zero" if value == 0 and not self.log else "grid"
            parts.append(f'<path class="{kind}" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value in _ticks(*self.x, most=6):
            if value == int(value):
                at = self.right(value)
                parts.append(f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle">{value:g}</text>')
        middle = (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(
            f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}'
            f'</text><text transform="translate(14 {middle})rotate(-90)" text-anchor="middle">{html.escape(y_label)}'
            "</text>"
        )
        return "".join(parts)


def _drawn_line(line: ChartLine, axes: _Axes, dodge: float) -> str:
    """A line with the band of its interval, or its marks with the bars of theirs where the points are few."""
    few = len(line.x) <= MOST_MARKED
    shift = dodge if few else 0.0
    points = [(axes.right(x) + shift, axes.down(y)) for x, y in zip(line.x, line.y, strict=True)]
    parts = []
    if line.low and few:
        bars = (
            f"M{x:.1f} {axes.down(low):.1f}V{axes.down(high):.1f}"
            for (x, _), low, high in zip(points, line.low, line.high, strict=True)
            if low < high
        )
        parts.append(f'<path class="bar" d="{"".join(bars)}"/>')
    elif line.low:
        edge = [(axes.right(x), axes.down(y)) for x, y in zip(line.x, line.high, strict=True)]
        back = [(axes.right(x), axes.down(y)) for x, y in zip(line.x, line.low, strict=True)]
        parts.append(f'<path class="band" d="{_path([*edge, *reversed(back)])}Z"/>')
    if len(points) > 2:
        parts.append(f'<path class="line" d="{_path(points)}"/>')
    if few:
        parts += [f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{_mark(line)}"/>' for x, y in points]
    return f'<g class="s{line.index}">{"".join(parts)}</g>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _mark(line: ChartLine) -> str:
    return _MARKS[line.index % len(_MARKS)]


def _key_mark(line: ChartLine) -> str:
    """The line's entry in the key: a piece of it, with its mark where it has some."""
    mark = f'<path class="mark" transform="translate(15 7)" d="{_mark(line)}"/>' if len(line.x) <= MOST_MARKED else ""
    piece = '<path class="line" d="M0 7H30"/>' if len(line.x) > 2 else ""
    return (
        f'<svg class="sample" viewBox="0 0 30 14" aria-hidden="true"><g class="s{line.index}">{piece}{mark}</g></svg>'
    )


def _ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within a range, at most about so many.

    >>> _ticks(-3.0, 11.0)
    [0.0, 5.0, 10.0]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(i * step, 12) + 0.0 for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Numbers 1, 2 and 5 times powers of ten within a range of exponents, or finer ones where that leaves few.

    >>> _log_ticks(-2.0, 0.0)
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    """
    for factors in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        values = [float(f"{factor * 10.0**power:.3g}") for power in powers for factor in factors]
        inside = [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]
        if len(inside) >= 3:
            return inside
    return [float(f"{value:.3g}") for value in (10.0**low, 10.0 ** ((low + high) / 2), 10.0**high)]
