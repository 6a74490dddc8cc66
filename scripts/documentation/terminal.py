"""Pictures of a terminal: what a command prints, as SVG in light and dark.

The directive's lines are the command that is run and, if wanted, how many lines of its output are shown:

    <!-- terminal: explain
    snrlab explain my-training.toml
    18
    -->
"""

from __future__ import annotations

import html
import io
import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from documentation import checked
from snrlab.lab.figures.theme import THEMES, Mode

COLUMNS = 90
NOTE = re.compile(r"<desc>(.*?)</desc>", re.S)
FONT = re.compile(r"@font-face \{.*?\}\s*", re.S)  # which rich would load from elsewhere
STYLES = {r"^\$ .*": "bold", r"^[^\n]+(?=\n-{3,}$)": "bold", r"^warning:": "bold yellow", r"^info:": "bold cyan"}


def contents(directive: str) -> list[Any]:
    """The command and the lines that its picture shows."""
    command, _, limit = directive.partition("\n")
    lines = checked.run(command).rstrip().splitlines()
    if limit.strip() and len(lines) > int(limit):
        lines = [*lines[: int(limit)], "..."]
    return [command, lines]


def picture(directive: str, mode: Mode) -> bytes:
    """The SVG."""
    command, lines = note = contents(directive)
    text = Text(f"$ {command}\n" + "\n".join(lines))
    for pattern, style in STYLES.items():
        text.highlight_regex(re.compile(pattern, re.M), style)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(text)
    svg = FONT.sub("", console.export_svg(title="snrlab", theme=_theme(mode), unique_id="terminal"))
    svg = svg.replace("rgba(255,255,255,0.35)", THEMES[mode].soft)
    kept = html.escape(json.dumps(note), quote=False)
    return svg.replace(">", f"><desc>{kept}</desc>", 1).encode()


def note(file: Path) -> str:
    """What a picture file says of itself."""
    match = NOTE.search(file.read_text(encoding="utf-8"))
    return html.unescape(match[1]) if match else ""


def _theme(mode: Mode) -> TerminalTheme:
    theme = THEMES[mode]
    paper, ink, soft, blue, orange, green, pink = (
        _rgb(c) for c in (theme.paper, theme.ink, theme.soft, *theme.lines[:4])
    )
    return TerminalTheme(paper, ink, [soft, orange, green, orange, blue, pink, blue, ink])


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
