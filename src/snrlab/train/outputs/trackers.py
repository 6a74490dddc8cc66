"""Readers of steps that show a run elsewhere: TensorBoard, W&B, MLflow and Trackio, through accelerate's trackers.

The run folder stays the truth; what a tracker gets is made from the lines of its logs and its files.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from snrlab.config import RunConfig, dump
from snrlab.config.redact import without_paths
from snrlab.config.sections.log import Tracker
from snrlab.core.bands import BANDS, EDGES, band_of
from snrlab.core.errors import UserError, first_line
from snrlab.core.recipe import Tables
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import StepLine, ValidationLine

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

IDENTITY = "tracker.json"  # which runs of the trackers belong to a run folder, so that a resumed run goes on in them


def band_keys() -> dict[str, str]:
    """Names of the SNR bands that every tracker takes, by ours.

    >>> list(band_keys().values())
    ['snr_from_5', 'snr_1_to_5', 'snr_0.1_to_1', 'snr_below_0.1']
    """
    first, last = f"snr_from_{EDGES[0]:g}", f"snr_below_{EDGES[-1]:g}"
    between = [f"snr_{low:g}_to_{high:g}" for high, low in pairwise(EDGES)]
    return dict(zip(BANDS, [first, *between, last], strict=True))


def refuse_missing_trackers(config: RunConfig) -> None:
    """Say which tracker is not installed, before a run starts (UserError)."""
    for name in config.log.trackers:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f'log.trackers: {name} is not installed: pip install "snrlab[{name}]".', code="missing-package"
            )


class Trackers:
    """The trackers of a run; without any, every method does nothing.

    A tracker that fails, as where its server is gone, is no reason to stop a run: it is said, and gets nothing more.
    """

    def __init__(self, trackers: Sequence[GeneralTracker], tables: Tables, every: int) -> None:
        """Send to these trackers, of the steps the mean of every `every`."""
        self._trackers, self._every = list(trackers), every
        self._snr = tables.snr
        self._waiting: list[StepLine] = []

    def __enter__(self) -> Trackers:
        """The trackers."""
        return self

    def __exit__(self, *reason: object) -> None:
        """End them."""
        self.close()

    def step(self, line: StepLine) -> None:
        """Take note of a line of steps.jsonl."""
        if not self._trackers:
            return
        self._waiting.append(line)
        if len(self._waiting) == self._every:
            self._send()

    def validation(self, line: ValidationLine) -> None:
        """Pass on a line of validation.jsonl."""
        keys = band_keys()
        self._log({f"validation/{keys[band]}": found["value"] for band, found in line["bands"].items()}, line["step"])

    def pictures(self, files: Sequence[Path], step: int) -> None:
        """Pass on pictures that were made after `step` steps."""
        self._each(lambda tracker: SHOW[tracker.name](tracker, files, step))

    def close(self) -> None:
        """Send what is left and end."""
        if self._waiting:
            self._send()
        self._each(lambda tracker: tracker.finish())

    def _send(self) -> None:
        lines, self._waiting = self._waiting, []
        mse = np.concatenate([line["mse"] for line in lines])
        band = band_of(self._snr[np.concatenate([line["t"] for line in lines])])
        values = {
            "loss/weighted": float(np.mean([line["loss"] for line in lines])),
            "loss/unweighted": float(mse.mean()),
            "learning_rate": float(lines[-1]["lr"]),
            "grad_norm": float(np.mean([line["grad_norm"] for line in lines])),
        }
        for index, key in enumerate(band_keys().values()):
            if (band == index).any():
                values[f"unweighted/{key}"] = float(mse[band == index].mean())
        self._log(values, lines[-1]["step"] + 1)

    def _log(self, values: dict[str, float], step: int) -> None:
        self._each(lambda tracker: tracker.log(values, step=step))

    def _each(self, act: Callable[[GeneralTracker], object]) -> None:
        for tracker in tuple(self._trackers):
            try:
                act(tracker)
            except Exception as reason:  # whatever another program goes wrong with
                self._trackers.remove(tracker)
                logger.warning(
                    f"log.trackers: {tracker.name} has failed ({first_line(reason)}) and gets nothing more; all of it "
                    "is in the run's folder."
                )


def open_trackers(config: RunConfig, folder: RunFolder, tables: Tables, done: int) -> Trackers:
    """Start the trackers of a run, or go on in them after `done` steps.

    Raises:
        UserError: one that is not installed, or that does not start.
    """
    refuse_missing_trackers(config)
    if config.log.trackers:
        from accelerate import PartialState

        PartialState()  # accelerate's trackers ask it which process is the main one
    started = []
    for name in config.log.trackers:
        try:
            tracker = OPEN[name](config, folder, done)
            tracker.start()
            _remember(folder, name, tracker)
        except Exception as reason:  # whatever another program's start goes wrong with
            raise UserError(
                f"log.trackers: {name} does not start: {first_line(reason)}", code="package-error"
            ) from None
        if name == "tensorboard":
            tracker.log({"run": f"```\n{dump(without_paths(config))}```"}, step=done)
        started.append(tracker)
    return Trackers(started, tables, config.log.every)


def _tensorboard(config: RunConfig, folder: RunFolder, done: int) -> GeneralTracker:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker("tensorboard", folder.logs, purge_step=done + 1 if done else None)


def _wandb(config: RunConfig, folder: RunFolder, done: int) -> GeneralTracker:
    from accelerate.tracking import WandBTracker

    folder.logs.mkdir(exist_ok=True)
    known = _identity(folder, "wandb")
    return WandBTracker(
        config.log.project, name=config.name, dir=str(folder.logs), id=known, resume="allow", config=_flat(config)
    )


def _mlflow(config: RunConfig, folder: RunFolder, done: int) -> GeneralTracker:
    import mlflow
    from accelerate.tracking import MLflowTracker

    files = None
    if not os.environ.get("MLFLOW_TRACKING_URI"):  # beside the run folders, so that it holds all of them
        store = folder.path.parent.absolute() / ".mlflow"
        store.mkdir(exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{(store / 'mlflow.db').as_posix()}")
        files = (store / "files").as_uri()
    return MLflowTracker(config.log.project, files, run_id=_identity(folder, "mlflow"), run_name=config.name)


def _trackio(config: RunConfig, folder: RunFolder, done: int) -> GeneralTracker:
    from accelerate.tracking import TrackioTracker

    return TrackioTracker(config.log.project, name=config.name, resume="allow", config=_flat(config))


def _identity(folder: RunFolder, name: str) -> str | None:
    file = folder.logs / IDENTITY
    return json.loads(file.read_text(encoding="utf-8")).get(name) if file.exists() else None


def _remember(folder: RunFolder, name: str, tracker: GeneralTracker) -> None:
    run = {"wandb": lambda: tracker.run.id, "mlflow": lambda: tracker.active_run.info.run_id}.get(name)
    if run is None:
        return
    folder.logs.mkdir(exist_ok=True)
    file = folder.logs / IDENTITY
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(known | {name: run()}) + "\n", encoding="utf-8")


def _flat(config: RunConfig) -> dict[str, Any]:
    """The run's fields by dotted name, without folders of this machine."""
    found: dict[str, Any] = {}
    for name, value in without_paths(config).model_dump().items():
        found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _show_in_tensorboard(tracker: Any, files: Sequence[Path], step: int) -> None:
    pictures = {f"samples/{place + 1}": np.asarray(Image.open(f).convert("RGB")) for place, f in enumerate(files)}
    tracker.log_images({name: p[None] for name, p in pictures.items()}, step=step, dataformats="NHWC")


def _show_in_wandb(tracker: Any, files: Sequence[Path], step: int) -> None:
    tracker.log_images({"samples": [Image.open(f) for f in files]}, step=step)


def _show_in_mlflow(tracker: Any, files: Sequence[Path], step: int) -> None:
    for file in files:
        tracker.log_artifact(str(file), f"samples/step-{step:08d}")


def _show_in_trackio(tracker: Any, files: Sequence[Path], step: int) -> None:
    import trackio

    tracker.log({f"samples/{place + 1}": trackio.Image(str(f)) for place, f in enumerate(files)}, step=step)


OPEN: dict[Tracker, Callable[[RunConfig, RunFolder, int], Any]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
SHOW: dict[str, Callable[[Any, Sequence[Path], int], None]] = {
    "tensorboard": _show_in_tensorboard,
    "wandb": _show_in_wandb,
    "mlflow": _show_in_mlflow,
    "trackio": _show_in_trackio,
}
