"""Progress: throughput of long work and seconds of short work as log lines, and the live line of a terminal."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

logger = logging.getLogger(__name__)
_LOG_INTERVAL = 10.0  # seconds between progress lines
_FRAME = 0.05  # seconds for which a live line is not drawn again


class Throughput:
    """Progress of a long piece of work: logs how many items are done, how many a second, and the seconds left."""

    def __init__(self, items: str, total: int, verb: str = "encoded") -> None:
        """Start the clock; `items` (a plural) and `verb` (past tense) name the work: "encoded 7 of 20 images"."""
        self._items, self._total, self._verb = items, total, verb
        self._done = 0
        self._started = self._last_line = time.monotonic()

    def update(self, count: int) -> None:
        """Count `count` more items as done, and log a line if the last one is 10 s old."""
        self._done += count
        now = time.monotonic()
        if now - self._last_line >= _LOG_INTERVAL and self._done < self._total:
            self._last_line = now
            left = math.ceil((self._total - self._done) * (now - self._started) / self._done)
            rate = self._done / (now - self._started)
            done = f"{self._verb} {self._done} of {self._total} {self._items}"
            logger.info(f"{done}, {format_rate(rate)} a second, {left} s left")

    def close(self) -> None:
        """Log the total and the rate, unless nothing was done."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        if self._done:
            rate = self._done / seconds
            items = self._items if self._done > 1 else self._items.removesuffix("s")
            logger.info(f"{self._verb} {self._done} {items} in {seconds:.1f} s, {format_rate(rate)} a second")


def format_rate(rate: float) -> str:
    """A rate with three significant digits, never in scientific notation.

    >>> format_rate(0.25449), format_rate(1283.4)
    ('0.254', '1283')
    """
    return f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}"


@contextmanager
def timed(logger: logging.Logger, action: str) -> Iterator[None]:
    """Log `action` and its seconds at level debug when the block ends; nothing if it raises."""
    started = time.monotonic()
    yield
    logger.debug(f"{action}: {time.monotonic() - started:.2f} s")


class LiveLine:
    """The last line of a terminal, drawn again and again; what is printed meanwhile goes above it.

    `current` is the line that is shown now: whoever prints uses its console, and `doing` tells it what is being done.
    """

    current: LiveLine | None = None

    def __init__(self, console: Console, render: Callable[[], RenderableType]) -> None:
        """Draw what `render` returns, which must fit into one line."""
        from rich.live import Live

        self.console = console
        self.activity = ""
        self._live = Live(console=console, get_renderable=render, redirect_stdout=sys.stdout.isatty())
        self._drawn = 0.0

    def start(self) -> None:
        """Show the line."""
        LiveLine.current = self
        self._live.start(refresh=True)

    def draw(self, *, at_once: bool = False) -> None:
        """Draw the line again, unless that was done a moment ago."""
        now = time.monotonic()
        if at_once or now - self._drawn >= _FRAME:
            self._drawn = now
            with suppress(OSError):  # the terminal has been closed
                self._live.refresh()

    def stop(self) -> None:
        """Leave the line as it is; what comes next begins below it."""
        LiveLine.current = None
        with suppress(OSError):
            self._live.stop()


@contextmanager
def doing(activity: str) -> Iterator[None]:
    """Context of work between steps, such as "validating", which a live line then names."""
    line = LiveLine.current
    if line is None:
        yield
        return
    before, line.activity = line.activity, activity
    line.draw(at_once=True)
    try:
        yield
    finally:
        line.activity = before


def print_wrapped(
    text: str, style: str = "", *, on_stdout: bool = False, highlighted: tuple[str, str] | None = None
) -> None:
    """Print a text on a terminal, wrapped between words; elsewhere as it is.

    Lines that begin with a blank are not wrapped: they are tables, or commands to copy. NO_COLOR turns styles off.

    Args:
        text: the text, of one or several lines.
        style: a style of rich, such as "yellow".
        on_stdout: print on stdout; by default on stderr, above a live line.
        highlighted: another style, and the words of the text that it is for.
    """
    stream: Any = sys.stdout if on_stdout else sys.stderr
    live = None if on_stdout else LiveLine.current
    if live is None and not stream.isatty():
        stream.write(f"{text}\n")
        stream.flush()
        return
    from rich.console import Console
    from rich.text import Text

    console = live.console if live is not None else Console(stderr=not on_stdout)
    printed = Text(wrapped(text, console.width), style)
    if highlighted is not None:
        printed.highlight_words([highlighted[1]], highlighted[0])
    console.print(printed, soft_wrap=True, highlight=False)


def wrapped(text: str, width: int) -> str:
    """The text with its lines wrapped between words; a word that is longer than a line, such as a path, stays whole.

    >>> print(wrapped("one two three", 9))
    one two
    three
    """
    lines = []
    for line in text.split("\n"):
        short_or_table = len(line) <= width or line.startswith(" ")
        lines += [line] if short_or_table else wrap(line, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)
