"""All that a run will need, tried before its first step, and what it will take in a few lines.

Nothing that the run computes is changed by it: no weight, no random number, no optimizer state, no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from snrlab.config import RunConfig
from snrlab.core.errors import UserError
from snrlab.core.findings.finding import Finding
from snrlab.files.writing import in_bytes
from snrlab.runs.folder import RunFolder, refuse_name
from snrlab.train.checks.memory import estimate
from snrlab.train.checks.rehearsal import Rehearsal, rehearse
from snrlab.train.checks.run_findings import run_findings
from snrlab.train.job import Job
from snrlab.train.outputs.telemetry import memory_mb
from snrlab.train.outputs.trackers import refuse_missing_trackers


def refuse_early(config: RunConfig, folder: RunFolder) -> None:
    """What can be known to be wrong before anything is loaded.

    Raises:
        UserError: a tracker that is not installed, a name that a run's folder has for something else, or a run folder
            among the images.
    """
    refuse_missing_trackers(config)
    refuse_name(folder, config)
    where = folder.path.resolve()
    sources = [config.data.folder, config.validation.folder, *(image_set.folder for image_set in config.data.sets)]
    for images in (Path(source).resolve() for source in sources if source):
        if where == images or images in where.parents:
            raise UserError(
                f"--out: the run folder {folder.path} would lie inside the image folder {images.name}, and the "
                "pictures in it would be trained on the next time. Choose an --out outside of it.",
                code="images-overlap",
            )


def preflight(job: Job, folder: RunFolder, *, thorough: bool = False) -> list[Finding | str]:
    """Rehearse the run; what it will take in a few lines, and what is to be known of it.

    Args:
        job: the run; afterwards it is as it was.
        folder: where the run will be.
        thorough: estimate the memory of a graphics card even where there is none.

    Raises:
        UserError: no finite loss of the first batch, a result that cannot be
            written and read back, too little memory or too small a disk.
    """
    findings = run_findings(job)
    with _made(folder.path.parent):
        rehearsal = rehearse(job, folder)
    return [*findings, *summary(job, rehearsal), *_memory(job, rehearsal, thorough=thorough)]


def summary(job: Job, rehearsal: Rehearsal) -> list[str]:
    """The model, steps and passes, what is trained, the time: a line each."""
    train, entries, images = job.config.train, len(job.conditions), len(job.conditions.names)
    shown = f"{images} images" + (f", {entries} with their repeats," if entries != images else "")
    trained = sum(p.numel() for p in job.parameters.values())
    whole = sum(p.numel() for network in job.components.networks.values() for p in network.parameters())
    seconds = rehearsal.seconds * train.gradient_accumulation * train.steps
    count = job.processes.count
    devices = "1 device" if count == 1 else f"{count} devices"
    return [
        f"model {job.components.label} ({job.components.family}), trained to predict {job.recipe.prediction_type}",
        f"{shown} / (batch {train.batch_size} x {train.gradient_accumulation} accumulated x {devices}) = "
        f"{entries / job.total:.4g} steps a pass; {train.steps} steps = {train.steps * job.total / entries:.3g} passes",
        f"training {in_short(trained)} of {in_short(whole)} weights; the result has {in_bytes(rehearsal.result)}",
        f"{duration(seconds)} for the steps alone ({rehearsal.seconds:.2g} s for a pass forward and backward)",
    ]


def duration(seconds: float) -> str:
    """Roughly how long, in words.

    >>> duration(20), duration(50), duration(14 * 60), duration(5000), duration(3 * 86400)
    ('less than a minute', 'about 1 min', 'about 14 min', 'about 1 h 20 min', 'about 72 h')
    """
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min" if minutes else "less than a minute"
    return f"about {minutes // 60} h" + (f" {minutes // 5 % 12 * 5} min" if minutes < 600 and minutes // 5 % 12 else "")


def in_short(number: int) -> str:
    """A number of weights.

    >>> in_short(950), in_short(1_234_567), in_short(2_600_000_000)
    ('950', '1.2 M', '2.6 G')
    """
    for size, letter in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number)


def _memory(job: Job, rehearsal: Rehearsal, *, thorough: bool) -> list[Finding | str]:
    """What was used, what will be, and a warning where a card has less."""
    if job.device.type != "cuda":
        lines: list[Finding | str] = [f"memory of this process so far: {in_bytes(memory_mb() * 2**20)}"]
        return [*lines, f"on a graphics card it would need about {estimate(job)}"] if thorough else lines
    needed, there = estimate(job), torch.cuda.get_device_properties(job.device).total_memory
    lines = [f"memory of the graphics card: about {needed}; {in_bytes(rehearsal.memory or 0)} used by the pass"]
    if needed.total > there:
        message = f"the card has {in_bytes(there)}, and the run may not fit."
        numbers = {"needed": needed.total, "there": there}
        lines.append(Finding("memory_short", "warning", message, numbers=numbers))
    return lines


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """The folder, made for a while where it is not there."""
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
