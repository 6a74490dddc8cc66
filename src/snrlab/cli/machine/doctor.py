"""`snrlab doctor`: whether this machine can train, and what to do if it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.choices import TEXT_OR_JSON, one_of
from snrlab.progress import print_wrapped

if TYPE_CHECKING:
    from snrlab.cli.machine.diagnosis import Check


# what is shown of a healthy machine without --verbose
_ALWAYS_SHOWN = {"snrlab", "python", "training libraries", "torch build", "graphics card", "memory", "disk"}


def doctor_command(
    out: Annotated[Path, typer.Option("--out", help="Folder in which runs would be created.", metavar="DIR")] = Path(
        "runs"
    ),
    verbose: Annotated[bool, typer.Option("--verbose", help="Show every package and every check.")] = False,
    format_: Annotated[str, one_of(TEXT_OR_JSON, "--format", help="Output format.")] = "text",
) -> None:
    """Check Python, the libraries, the graphics card, the disk and settings, and say what is wrong.

    The exit code is 1 if something keeps training from working as it should. Nothing is changed and nothing is sent.
    """
    from snrlab.cli.machine.diagnosis import diagnose

    checks = diagnose(out)
    healthy = not any(check.state == "problem" for check in checks)
    if format_ == "json":
        typer.echo(json.dumps({"ok": healthy, "checks": [_check_as_data(check) for check in checks]}, indent=1))
    else:
        shown = [check for check in checks if verbose or check.state != "ok" or check.name in _ALWAYS_SHOWN]
        print_wrapped(diagnosis_text(shown), on_stdout=True, highlighted=("bold cyan", "->"))
    if not healthy:
        sys.exit(1)


def _check_as_data(check: Check) -> dict[str, str]:
    """A check as --format json prints it; the key `found` is older than the field's name."""
    return {"name": check.name, "state": check.state, "found": check.result, "action": check.action}


def diagnosis_text(checks: list[Check]) -> str:
    """One line for each check, what to do under it, and the number of problems at the end."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'' if check.state == 'ok' else check.state:8} {check.name:{width}}  {check.result}")
        if check.action:
            lines.append(f"{'':8} {'':{width}}  -> {check.action}")
    count = sum(check.state == "problem" for check in checks)
    ending = "Nothing is wrong." if not count else f"{count} problem{'s' if count > 1 else ''}: see -> above."
    return "\n".join([*lines, "", ending])
