"""Answers of the commands in a terminal: coloured, and broken between words at its right edge."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable

import typer

from snrlab.lab.blocks import Block, to_text

_MOST = 110  # characters; longer lines of prose are hard to read
_ROLES = {"error": "red", "warning": "yellow", "info": "cyan", "grey": "bright_black"}


def terminal_width() -> int | None:
    """The width to break lines at, or None where the output is no terminal."""
    return min(shutil.get_terminal_size().columns, _MOST) if sys.stdout.isatty() else None


def paint(role: str, text: str) -> str:
    """A text in the colours of its role; typer takes them away again where the output is no terminal."""
    if role in ("lead", "heading"):
        return typer.style(text, bold=True)
    return typer.style(text, fg=_ROLES[role], bold=role in ("error", "warning"))


def echo_blocks(blocks: Iterable[Block]) -> None:
    """Print a document."""
    typer.echo(to_text(blocks, width=terminal_width(), paint=paint))
