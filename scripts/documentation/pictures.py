"""Pictures of the pages, drawn by the lab when the site is built, in light and dark.

A fenced block `plot` holds a command of `snrlab plot` without `-o`, or `drawing NAME`, then an empty line, then the
caption:

    ```plot
    snrlab plot "Plain = plain" "Min-SNR-5 = min_snr" --show weight

    Min-SNR-5 turns the clean steps down.
    ```
"""

from __future__ import annotations

import argparse
import hashlib
import html
import re
import shlex
from pathlib import Path
from typing import Any

from documentation import drawings
from documentation.problems import Problems
from snrlab.core.errors import UserError
from snrlab.lab.figures.panels import DEFAULT, PANELS
from snrlab.lab.figures.plots import draw_figure, figure_bytes
from snrlab.lab.figures.theme import THEMES
from snrlab.lab.recipe_text import parse_recipe

BLOCK = re.compile(r"^```plot\n(.*?)^```$", re.S | re.M)
FOLDER = "pictures"
_OPTIONS = argparse.ArgumentParser(exit_on_error=False)
_OPTIONS.add_argument("recipes", nargs="+")
_OPTIONS.add_argument("--show", default=",".join(DEFAULT))
_OPTIONS.add_argument("--log", action="store_true")
_OPTIONS.add_argument("--ceiling", type=float)


def put_in(text: str, place: str, assets: Path, depth: int, problems: Problems) -> str:
    """The page with figures in the place of its plot blocks; their files are written to assets/pictures."""

    def figure(match: re.Match[str]) -> str:
        command, _, caption = match[1].partition("\n\n")
        try:
            alt, light = _drawn(" ".join(command.replace("\\\n", " ").split("\n")))
        except (UserError, ValueError, KeyError, argparse.ArgumentError) as reason:
            problems.add(f"{place}:{text.count(chr(10), 0, match.start()) + 1}", f"{command}: {reason}")
            return ""
        return as_figure(light, alt, " ".join(caption.split()), assets, depth, command)

    return BLOCK.sub(figure, text)


def as_figure(light: str, alt: str, caption: str, assets: Path, depth: int, command: str = "") -> str:
    """HTML of a figure in two modes; the dark one is the light one in other colours.

    Args:
        light: SVG in the light theme.
        alt: what it shows, for those who do not see it.
        caption: Markdown.
        assets: folder of the site's files.
        depth: how many folders deep the page lies.
        command: how to make it.
    """
    name = hashlib.sha256(light.encode()).hexdigest()[:16]
    folder = assets / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    up = "../" * depth
    images = []
    for mode, content in (("light", light), ("dark", in_the_dark(light))):
        file = folder / f"{name}-{mode}.svg"
        file.write_text(content, encoding="utf-8")
        where = f"{up}assets/{FOLDER}/{file.name}"
        images.append(
            f'<a class="only-{mode}" href="{where}"><img src="{where}" alt="{html.escape(alt, quote=True)}"'
            ' loading="lazy"></a>'
        )
    made = f"\n<code>{html.escape(command)}</code>\n" if command.startswith("snrlab") else ""
    words = f'<figcaption markdown="span">{caption}</figcaption>' if caption or made else ""
    made = f'<details class="made"><summary>how to draw it</summary>{made}</details>' if made else ""
    return f'<figure class="plot" markdown="1">\n<div>{"".join(images)}</div>\n{words}\n{made}\n</figure>\n'


def in_the_dark(svg: str) -> str:
    """An SVG of the light theme in the colours of the dark one."""
    light, dark = ([t.paper, t.ink, t.soft, *t.lines] for t in (THEMES["light"], THEMES["dark"]))
    pairs = {a.lower(): b.lower() for a, b in zip(light, dark, strict=True)}
    return re.sub("|".join(pairs), lambda m: pairs[m[0].lower()], svg, flags=re.I)


def _drawn(command: str) -> tuple[str, str]:
    """(what it shows, SVG) of a block's first lines."""
    name, *words = shlex.split(command)
    if name == "drawing":
        drawing: Any = drawings.DRAWINGS[words[0]]
        return (drawing.__doc__ or "").split("\n", 1)[0], drawing(*words[1:])
    if words[:1] != ["plot"]:
        raise ValueError("a plot block begins with `snrlab plot` or `drawing`")
    options = _OPTIONS.parse_args(words[1:])
    recipes = {label: recipe.tables() for label, recipe in map(parse_recipe, options.recipes)}
    panels = options.show.split(",")
    titles = "; ".join(PANELS[name].title for name in panels)
    figure = draw_figure(recipes, panels, log_weight=options.log, ceiling=options.ceiling, width=drawings.WIDTH)
    return f"{titles}: {', '.join(recipes)}", svg(figure)


def svg(figure: Any) -> str:
    """A figure as SVG text from its first element on, with an identity of its own for what it refers to."""
    text = figure_bytes(figure, "svg").decode()
    return text[text.index("<svg") :]
