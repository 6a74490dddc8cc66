"""Pre-flight: tries all that a run will need before its first step, and summarises what the run will take.

It changes nothing that the run computes: no weight, no random number, no optimizer state, no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from snrlab.config import RunConfig
from snrlab.core.errors import UserError
from snrlab.core.findings.finding import Finding
from snrlab.files.writing import format_bytes
from snrlab.runs.folder import RunFolder, refuse_name
from snrlab.train.checks.memory import estimate
from snrlab.train.checks.rehearsal import Rehearsal, rehearse
from snrlab.train.checks.run_findings import run_findings
from snrlab.train.job import Job
from snrlab.train.outputs.telemetry import memory_mb
from snrlab.train.outputs.trackers import refuse_missing_trackers


def refuse_early(config: RunConfig, folder: RunFolder) -> None:
    """Refuse what can be seen to be wrong before anything is loaded.

    Raises:
        UserError: a tracker that is not installed, a run name that is reserved for a file of the run folder, or a run
            folder inside an image folder.
    """
    refuse_missing_trackers(config)
    refuse_name(folder, config)
    run_path = folder.path.resolve()
    sources = [config.data.folder, config.validation.folder, *(image_set.folder for image_set in config.data.sets)]
    for images in (Path(source).resolve() for source in sources if source):
        if run_path == images or images in run_path.parents:
            raise UserError(
                f"--out: the run folder {folder.path} would lie inside the image folder {images.name}. The next run "
                "would train on its pictures. Choose an --out outside of that folder.",
                code="images-overlap",
            )


def preflight(job: Job, folder: RunFolder, *, thorough: bool = False) -> list[Finding | str]:
    """Rehearse the run; its findings, and a summary of what it will take.

    Args:
        job: the run; the rehearsal leaves it unchanged.
        folder: the run folder, which need not exist.
        thorough: estimate the memory of a graphics card even where there is none.

    Raises:
        UserError: a loss of the first batch that is not finite, a result that cannot be written and read back, too
            little memory, or too little room on the disk.
    """
    findings = run_findings(job)
    with _temporary_folder(folder.path.parent):
        rehearsal = rehearse(job, folder)
    return [*findings, *summary(job, rehearsal), *_memory_lines(job, rehearsal, thorough=thorough)]


def summary(job: Job, rehearsal: Rehearsal) -> list[str]:
    """Lines about the model, the number of steps and epochs, the trained weights and the time."""
    train, entries, images = job.config.train, len(job.examples), len(job.examples.names)
    shown = f"{images} images" + (f", {entries} with their repeats," if entries != images else "")
    trained = sum(p.numel() for p in job.parameters.values())
    all_weights = sum(p.numel() for network in job.components.networks.values() for p in network.parameters())
    seconds = rehearsal.seconds * train.gradient_accumulation * train.steps
    process_count = job.processes.count
    devices = "1 device" if process_count == 1 else f"{process_count} devices"
    return [
        f"model {job.components.label} ({job.components.family}), trained to predict {job.recipe.prediction_type}",
        f"{shown} / (batch {train.batch_size} x {train.gradient_accumulation} accumulated x {devices}) = "
        f"{entries / job.total:.4g} steps an epoch; {train.steps} steps = "
        f"{train.steps * job.total / entries:.3g} epochs",
        f"training {in_short(trained)} of {in_short(all_weights)} weights; "
        f"the result has {format_bytes(rehearsal.result)}",
        f"{duration(seconds)} for the steps alone ({rehearsal.seconds:.2g} s for a pass forward and backward)",
    ]


def duration(seconds: float) -> str:
    """A rough duration in words.

    >>> duration(20), duration(50), duration(14 * 60), duration(5000), duration(3 * 86400)
    ('less than a minute', 'about 1 min', 'about 14 min', 'about 1 h 20 min', 'about 72 h')
    """
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min" if minutes else "less than a minute"
    return f"about {minutes // 60} h" + (f" {minutes // 5 % 12 * 5} min" if minutes < 600 and minutes // 5 % 12 else "")


def in_short(number: int) -> str:
    """A number of weights with a unit.

    >>> in_short(950), in_short(1_234_567), in_short(2_600_000_000)
    ('950', '1.2 M', '2.6 G')
    """
    for size, letter in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number)


def _memory_lines(job: Job, rehearsal: Rehearsal, *, thorough: bool) -> list[Finding | str]:
    """Lines about used and needed memory, and a warning where a graphics card has less."""
    if job.device.type != "cuda":
        lines: list[Finding | str] = [f"RAM used so far: {format_bytes(memory_mb() * 2**20)}"]
        return [*lines, f"on a graphics card it would need about {estimate(job)}"] if thorough else lines
    needed, available = estimate(job), torch.cuda.get_device_properties(job.device).total_memory
    lines = [f"memory needed on the graphics card: about {needed}; one pass used {format_bytes(rehearsal.memory or 0)}"]
    if needed.total > available:
        message = f"The graphics card has {format_bytes(available)}, so the run may not fit."
        numbers = {"needed": needed.total, "there": available}
        lines.append(Finding("memory_short", "warning", message, numbers=numbers))
    return lines


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Context in which the folder exists; what had to be created is removed afterwards."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise UserError(
            f"{folder} cannot be written ({reason.strerror}). Choose another --out.", code="unwritable-file"
        ) from None
    try:
        yield folder
    finally:
        for path in missing:
            path.rmdir()
