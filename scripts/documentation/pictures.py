"""Pictures of the pages: files in docs/images/guide, light and dark, drawn from the directive beside each.

A page holds a comment with the picture's name and a command of `snrlab plot` without `-o`, or `drawing NAME`. After it
come the picture, which `build_docs.py --write` puts there, and the caption in italics:

    <!-- plot: min-snr
    snrlab plot "Plain = plain" "Min-SNR-5 = min_snr" --show weight
    -->
    <picture>...</picture>

    *Min-SNR-5 turns the clean steps down.*

A picture file carries its command and a sample of the numbers that it shows. A build compares these, not pixels, so
another font or another version of matplotlib makes nothing stale.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import io
import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from documentation import drawings, terminal
from documentation.problems import Problems
from snrlab.core.errors import UserError
from snrlab.lab.figures.panels import DEFAULT, PANELS
from snrlab.lab.figures.plots import draw_figure
from snrlab.lab.figures.theme import MODES, THEMES, Mode
from snrlab.lab.recipe_text import parse_recipe

BLOCK = re.compile(
    r"^<!-- (?P<kind>plot|terminal): (?P<name>[a-z0-9-]+)\n(?P<command>.*?)\n-->\n"
    r"(?P<shown><picture>[^\n]*</picture>\n)?\n\*(?P<caption>[^*]+)\*$",
    re.S | re.M,
)
FOLDER = Path("docs") / "images" / "guide"
SHOWN_WIDTH = 620  # pixels on the page; the file has twice as many
COLORS = 128
NOTE = "snrlab"  # key of the PNG's text that holds command and numbers
SAMPLED = 9  # numbers that are kept of each curve
_OPTIONS = argparse.ArgumentParser(exit_on_error=False)
_OPTIONS.add_argument("recipes", nargs="+")
_OPTIONS.add_argument("--show", default=",".join(DEFAULT))
_OPTIONS.add_argument("--log", action="store_true")
_OPTIONS.add_argument("--ceiling", type=float)


def check(text: str, page: Path, root: Path, problems: Problems) -> None:
    """Note the pictures of a page that are missing, or that show something else than their directive says.

    Args:
        text: Markdown.
        page: its path relative to `root`.
        root: the checkout.
        problems: takes what is wrong.
    """
    for match in BLOCK.finditer(text):
        place = f"{page}:{text.count(chr(10), 0, match.start()) + 1}"
        try:
            fault = _fault(match, page, root)
        except (UserError, ValueError, KeyError, argparse.ArgumentError) as reason:
            fault = f"{match['command']}: {reason}"
        if fault:
            problems.add(place, f"{fault} (build_docs.py --write draws it)")


def write(text: str, page: Path, root: Path, problems: Problems) -> str:
    """The page with its picture elements; the files of the pictures that are stale are drawn."""

    def redrawn(match: re.Match[str]) -> str:
        if _fault(match, page, root):
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
            for mode in MODES:
                (root / _file(match, mode)).write_bytes(_content(match, mode))
        head, caption = f"<!-- {match['kind']}: {match['name']}\n{match['command']}\n-->\n", match["caption"]
        return f"{head}{_element(match, page)}\n\n*{caption}*"

    try:
        return BLOCK.sub(redrawn, text)
    except (UserError, ValueError, KeyError, argparse.ArgumentError) as reason:
        problems.add(f"{page}", f"{reason}")
        return text


def names(text: str) -> Iterator[str]:
    """The files that a page shows, by name."""
    for match in BLOCK.finditer(text):
        yield from (_file(match, mode).name for mode in MODES)


def put_in(text: str, depth: int) -> str:
    """The page as the site takes it: figures that follow the site's own switch between light and dark."""

    def figure(match: re.Match[str]) -> str:
        places = {mode: f"{'../' * depth}images/guide/{_file(match, mode).name}" for mode in MODES}
        return figure_html(places, _alt(match), " ".join(match["caption"].split()), match["command"])

    return BLOCK.sub(figure, text)


def figure_html(places: dict[Mode, str], alt: str, caption: str = "", command: str = "") -> str:
    """HTML of a figure in two modes.

    Args:
        places: address of the picture in each mode.
        alt: what it shows, for those who do not see it.
        caption: Markdown.
        command: how to make it.
    """
    images = "".join(
        f'<a class="only-{mode}" href="{where}"><img src="{where}" alt="{html.escape(alt, quote=True)}"'
        ' loading="lazy"></a>'
        for mode, where in places.items()
    )
    made = f"\n<code>{html.escape(command)}</code>\n" if command.startswith("snrlab plot") else ""
    words = f'<figcaption markdown="span">{caption}</figcaption>' if caption or made else ""
    made = f'<details class="made"><summary>how to draw it</summary>{made}</details>' if made else ""
    return f'<figure class="plot" markdown="1">\n<div>{images}</div>\n{words}\n{made}\n</figure>\n'


def svg_figure(light: str, alt: str, caption: str, assets: Path, depth: int) -> str:
    """HTML of a figure that only the site has; the dark one is the light one in other colours.

    Args:
        light: SVG in the light theme.
        alt: what it shows, for those who do not see it.
        caption: Markdown.
        assets: folder of the site's files.
        depth: how many folders deep the page lies.
    """
    name = hashlib.sha256(light.encode()).hexdigest()[:16]
    (assets / "pictures").mkdir(parents=True, exist_ok=True)
    contents: dict[Mode, str] = {"light": light, "dark": in_the_dark(light)}
    for mode, content in contents.items():
        (assets / "pictures" / f"{name}-{mode}.svg").write_text(content, encoding="utf-8")
    places = {mode: f"{'../' * depth}assets/pictures/{name}-{mode}.svg" for mode in MODES}
    return figure_html(places, alt, caption)


def in_the_dark(svg: str) -> str:
    """An SVG of the light theme in the colours of the dark one."""
    light, dark = ([t.paper, t.ink, t.soft, *t.lines] for t in (THEMES["light"], THEMES["dark"]))
    pairs = {a.lower(): b.lower() for a, b in zip(light, dark, strict=True)}
    return re.sub("|".join(pairs), lambda m: pairs[m[0].lower()], svg, flags=re.I)


def _fault(match: re.Match[str], page: Path, root: Path) -> str:
    """What is wrong with a picture; nothing where it is as its directive says."""
    name = match["name"]
    if (match["shown"] or "").strip() != _element(match, page):
        return f"{name} is not shown as its directive says"
    wanted = _note(match)
    for mode in MODES:
        file = root / _file(match, mode)
        if not file.is_file():
            return f"{file.name} is not there"
        kept = terminal.note(file) if match["kind"] == "terminal" else Image.open(file).info.get(NOTE, "")
        if not same(json.loads(kept or "null"), wanted):
            return f"{file.name} is stale"
    return ""


def same(one: Any, other: Any) -> bool:
    """Whether two notes agree, numbers to three digits.

    >>> same(["a", [1.0]], ["a", [1.0004]]), same([1.0], [1.01])
    (True, False)
    """
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-6)
    return bool(one == other)


def _note(match: re.Match[str]) -> list[Any]:
    if match["kind"] == "terminal":
        return terminal.contents(match["command"])
    return [match["command"], list(_numbers(_figure(match["command"], "light")))]


def _content(match: re.Match[str], mode: Mode) -> bytes:
    if match["kind"] == "terminal":
        return terminal.picture(match["command"], mode)
    figure, data = _figure(match["command"], mode), io.BytesIO()
    with mpl.rc_context(THEMES[mode].rc()):
        figure.savefig(data, format="png", dpi=2 * SHOWN_WIDTH / figure.get_figwidth())
    image = Image.open(data).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    note, content = PngInfo(), io.BytesIO()
    note.add_text(NOTE, json.dumps(_note(match)))
    image.save(content, "png", optimize=True, pnginfo=note)
    return content.getvalue()


def _file(match: re.Match[str], mode: Mode) -> Path:
    return FOLDER / f"{match['name']}-{mode}.{'svg' if match['kind'] == 'terminal' else 'png'}"


def _element(match: re.Match[str], page: Path) -> str:
    """The picture as a page of the repository shows it, for readers in the light and in the dark."""
    up = "../" * (len(page.parts) - 1)
    light, dark = (f"{up}{_file(match, mode).as_posix()}" for mode in MODES)
    alt = html.escape(_alt(match), quote=True)
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{alt}" width="{SHOWN_WIDTH}"></picture>'
    )


def _alt(match: re.Match[str]) -> str:
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)|[$`]", r"\1", " ".join(match["caption"].split()))
    return words.partition(". ")[0].rstrip(".") + "."


def _figure(command: str, mode: Mode) -> Figure:
    name, *words = shlex.split(" ".join(command.replace("\\\n", " ").split("\n")))
    if name == "drawing":
        return drawings.DRAWINGS[words[0]](*words[1:], mode=mode)
    if words[:1] != ["plot"]:
        raise ValueError("a plot directive holds `snrlab plot` or `drawing`")
    options = _OPTIONS.parse_args(words[1:])
    recipes = {label: recipe.tables() for label, recipe in map(parse_recipe, options.recipes)}
    panels = options.show.split(",")
    if unknown := set(panels) - set(PANELS):
        raise ValueError(f"there is no panel {', '.join(unknown)}")
    return draw_figure(
        recipes, panels, mode=mode, log_weight=options.log, ceiling=options.ceiling, width=drawings.WIDTH
    )


def _numbers(figure: Figure) -> Iterator[float]:
    """A sample of what a figure shows: heights of curves and bars, the mean of each image."""
    every = [a for axes in figure.axes for a in (axes, *axes.child_axes)]
    for axes in every:
        heights = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
        heights.append(np.array([bar.get_height() for bar in axes.patches if hasattr(bar, "get_height")], dtype=float))
        for y in (h for h in heights if len(h)):
            for value in y[np.linspace(0, len(y) - 1, min(SAMPLED, len(y))).astype(int)]:
                yield float(f"{value:.5g}") if math.isfinite(value) else -1.0
        for image in axes.images:
            yield float(f"{float(np.mean(np.asarray(image.get_array(), dtype=float))):.5g}")
