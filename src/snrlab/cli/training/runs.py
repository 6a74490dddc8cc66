"""`snrlab runs`: the runs in a folder, with how far they are and how well they did."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snrlab.cli.choices import TEXT_OR_JSON, one_of
from snrlab.cli.run_folders import RUNS, run_folders_in
from snrlab.core.errors import UserError

if TYPE_CHECKING:
    from snrlab.runs.folder import RunFolder
    from snrlab.runs.status import RunStatus

_SMOOTHED = 100  # last steps whose training loss is averaged
_VALIDATION, _TRAINING = "validation", "training"


@dataclass(frozen=True)
class RunRow:
    """A run in the list.

    Attributes:
        folder: its folder.
        status: its state and progress.
        loss: unweighted loss of the last validation, as the mean over the SNR bands; without a validation the mean of
            the last training steps; None before the first step.
        loss_of: which of them it is, `validation` or `training`.
        changed: when it last wrote to its logs.
        size: bytes of all its files.
    """

    folder: RunFolder
    status: RunStatus
    loss: float | None
    loss_of: str
    changed: datetime
    size: int


def runs_command(
    out: Annotated[Path, typer.Argument(help="Folder of run folders.", metavar="[DIR]")] = RUNS,
    format: Annotated[str, one_of(TEXT_OR_JSON, help="Output format.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """List the runs in a folder: state, steps, loss, date and size, the newest first.

    Example: snrlab runs
    """
    if not out.exists() and out == RUNS:
        rows = []
    elif not out.is_dir():
        raise UserError(f"DIR: there is no folder {out}.", code="missing-file")
    else:
        rows = sorted((_row(folder) for folder in run_folders_in(out)), key=lambda row: row.changed, reverse=True)
    if as_json or format == "json":
        typer.echo(json.dumps([_row_as_data(row) for row in rows], indent=1))
    elif rows:
        typer.echo(runs_text(rows))
    else:
        typer.echo(f"There is no run in {out} yet. To make the first one: snrlab demo, or snrlab train run.toml")


def runs_text(rows: list[RunRow]) -> str:
    """The runs as a table, with what to type to go on with the newest that was stopped."""
    from snrlab.files.writing import format_bytes
    from snrlab.lab.blocks import columns
    from snrlab.runs.folder import resume_line

    table: list[tuple[str, ...]] = [("run", "state", "steps", "loss", "", "last change", "size")]
    for row in rows:
        loss = "-" if row.loss is None else f"{row.loss:.4f}"
        when, size = row.changed.astimezone().strftime("%Y-%m-%d %H:%M"), format_bytes(row.size)
        steps = f"{row.status.done}/{row.status.steps}"
        table.append((row.folder.path.name, row.status.state, steps, loss, row.loss_of, when, size))
    lines = [columns(table)]
    lines += [f"{row.folder.path.name}: {row.status.reason}" for row in rows if row.status.reason]
    stopped = next((row.folder for row in rows if row.status.state == "stopped"), None)
    if stopped is not None:
        lines += ["", f"To go on with a stopped run: {resume_line(stopped)}"]
    return "\n".join(lines)


def _row(folder: RunFolder) -> RunRow:
    from snrlab.runs.status import run_status

    status = run_status(folder)
    files = [file.stat() for file in folder.path.rglob("*") if file.is_file()]
    logs = [file for file in (folder.steps_file, folder.validation_file, folder.config_file) if file.is_file()]
    changed = max((file.stat().st_mtime for file in logs), default=folder.path.stat().st_mtime)
    loss, loss_of = (None, "") if status.state == "broken" else _last_loss(folder)
    return RunRow(folder, status, loss, loss_of, datetime.fromtimestamp(changed, UTC), sum(f.st_size for f in files))


def _last_loss(folder: RunFolder) -> tuple[float | None, str]:
    """The loss that says most about a run now, and what it was measured on."""
    from snrlab.runs.logs import read_steps, read_validation

    for measured in deque(read_validation(folder.validation_file), maxlen=1):
        return fmean(band["value"] for band in measured["bands"].values()), _VALIDATION
    last = deque(read_steps(folder.steps_file), maxlen=_SMOOTHED)
    return (fmean(fmean(line["mse"]) for line in last), _TRAINING) if last else (None, "")


def _row_as_data(row: RunRow) -> dict[str, Any]:
    """A run as --json prints it."""
    return {
        "name": row.folder.path.name,
        "path": row.folder.path.as_posix(),
        "state": row.status.state,
        "done": row.status.done,
        "steps": row.status.steps,
        "loss": row.loss,
        "loss_of": row.loss_of or None,
        "changed": row.changed.isoformat(timespec="seconds"),
        "bytes": row.size,
        "reason": row.status.reason or None,
    }
