"""`snrlab doctor`: whether this machine can train, and what to do where it cannot."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.choices import TEXT_OR_JSON, one_of

if TYPE_CHECKING:
    from snrlab.cli.machine.diagnosis import Check


def doctor_command(
    out: Annotated[Path, typer.Option("--out", help="Folder that runs would go into.", metavar="DIR")] = Path("runs"),
    format_: Annotated[str, one_of(TEXT_OR_JSON, "--format", help="Form of the answer.")] = "text",
) -> None:
    """Look at Python, the libraries, the graphics card, disk and settings, and say what is wrong.

    Exit code 1 where something keeps training from working as it should. Nothing is changed, nothing is sent.
    """
    from snrlab.cli.machine.diagnosis import diagnose

    checks = diagnose(out)
    healthy = not any(check.state == "problem" for check in checks)
    if format_ == "json":
        typer.echo(json.dumps({"ok": healthy, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        typer.echo(diagnosis_text(checks))
    if not healthy:
        sys.exit(1)


def diagnosis_text(checks: list[Check]) -> str:
    """One line a check, under it what to do; then how many problems there are."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'' if check.state == 'ok' else check.state:8} {check.name:{width}}  {check.found}")
        if check.action:
            lines.append(f"{'':8} {'':{width}}  -> {check.action}")
    count = sum(check.state == "problem" for check in checks)
    ending = "Nothing is wrong." if not count else f"{count} problem{'s' if count > 1 else ''}: see -> above."
    return "\n".join([*lines, "", ending])
