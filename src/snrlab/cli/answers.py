"""Answers of the commands in a terminal: coloured, and broken between words at its right edge."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import typer

from snrlab.cli.output_files import write_and_report
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


def write_answer(answer: str | Iterable[Block], out: Path | None) -> None:
    """Print an answer or write it to a file; blocks are text, which a terminal colours."""
    if out is not None:
        write_and_report(out, (answer if isinstance(answer, str) else to_text(answer)).encode())
    elif isinstance(answer, str):
        typer.echo(answer)
    else:
        echo_blocks(answer)


def echo_blocks(blocks: Iterable[Block]) -> None:
    """Print a document."""
    typer.echo(to_text(blocks, width=terminal_width(), paint=paint))
