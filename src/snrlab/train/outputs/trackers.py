"""Trackers that show a run elsewhere: TensorBoard, W&B, MLflow and Trackio, through accelerate.

The run folder stays the source of truth; trackers get values from its log lines and its files.
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
from snrlab.installation import install_command
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import StepLine, ValidationLine

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

IDENTITY = "tracker.json"  # ids of the trackers' runs, so that a resumed run continues in them


def band_keys() -> dict[str, str]:
    """Names of the SNR bands that every tracker accepts, by band.

    >>> list(band_keys().values())
    ['snr_from_5', 'snr_1_to_5', 'snr_0.1_to_1', 'snr_below_0.1']
    """
    first, last = f"snr_from_{EDGES[0]:g}", f"snr_below_{EDGES[-1]:g}"
    between = [f"snr_{low:g}_to_{high:g}" for high, low in pairwise(EDGES)]
    return dict(zip(BANDS, [first, *between, last], strict=True))


def refuse_missing_trackers(config: RunConfig) -> None:
    """Refuse a tracker that is not installed, before the run starts (UserError)."""
    for name in config.log.trackers:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"log.trackers: {name} is not installed: {install_command(name)}.", code="missing-package")


class Trackers:
    """The trackers of a run; without any, every method does nothing.

    A tracker that fails, for example because its server is gone, does not stop the run: a warning is logged, and it
    gets nothing more.
    """

    def __init__(self, trackers: Sequence[GeneralTracker], tables: Tables, every: int) -> None:
        """Send means of every `every` steps, and all else, to these trackers."""
        self._trackers, self._every = list(trackers), every
        self._snr = tables.snr
        self._unsent: list[StepLine] = []

    def __enter__(self) -> Trackers:
        """The trackers."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close them."""
        self.close()

    def step(self, line: StepLine) -> None:
        """Collect a line of steps.jsonl, and send the mean when enough are collected."""
        if not self._trackers:
            return
        self._unsent.append(line)
        if len(self._unsent) == self._every:
            self._send()

    def validation(self, line: ValidationLine) -> None:
        """Send a line of validation.jsonl."""
        keys = band_keys()
        self._log({f"validation/{keys[band]}": mean["value"] for band, mean in line["bands"].items()}, line["step"])

    def pictures(self, files: Sequence[Path], step: int) -> None:
        """Send sample pictures made after `step` steps."""
        self._each(lambda tracker: SHOW[tracker.name](tracker, files, step))

    def close(self) -> None:
        """Send the remaining steps and close the trackers."""
        if self._unsent:
            self._send()
        self._each(lambda tracker: tracker.finish())

    def _send(self) -> None:
        lines, self._unsent = self._unsent, []
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
            except Exception as error:  # another program may raise anything
                self._trackers.remove(tracker)
                logger.warning(
                    f"log.trackers: {tracker.name} has failed ({first_line(error)}) and gets nothing more; all of it "
                    "is in the run folder."
                )


def open_trackers(config: RunConfig, folder: RunFolder, tables: Tables, done: int) -> Trackers:
    """Start the trackers of a run, or continue in them after `done` steps.

    Raises:
        UserError: a tracker that is not installed or does not start.
    """
    refuse_missing_trackers(config)
    if config.log.trackers:
        from accelerate import PartialState

        PartialState()  # accelerate's trackers need it to know the main process
    started = []
    for name in config.log.trackers:
        try:
            tracker = OPEN[name](config, folder, done)
            tracker.start()
            _write_identity(folder, name, tracker)
        except Exception as error:  # another program may raise anything
            raise UserError(f"log.trackers: {name} does not start: {first_line(error)}", code="package-error") from None
        if name == "tensorboard":
            tracker.log({"run": f"```\n{dump(without_paths(config))}```"}, step=done)
        started.append(tracker)
    return Trackers(started, tables, config.log.every)


def _open_tensorboard(config: RunConfig, folder: RunFolder, done: int) -> GeneralTracker:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker("tensorboard", folder.logs, purge_step=done + 1 if done else None)


def _open_wandb(config: RunConfig, folder: RunFolder, done: int) -> GeneralTracker:
    from accelerate.tracking import WandBTracker

    folder.logs.mkdir(exist_ok=True)
    known = _read_identity(folder, "wandb")
    return WandBTracker(
        config.log.project,
        name=config.name,
        dir=str(folder.logs),
        id=known,
        resume="allow",
        config=_flat_fields(config),
    )


def _open_mlflow(config: RunConfig, folder: RunFolder, done: int) -> GeneralTracker:
    import mlflow
    from accelerate.tracking import MLflowTracker

    files = None
    if not os.environ.get("MLFLOW_TRACKING_URI"):  # next to the run folders, so that all of them share it
        store = folder.path.parent.absolute() / ".mlflow"
        store.mkdir(exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{(store / 'mlflow.db').as_posix()}")
        files = (store / "files").as_uri()
    return MLflowTracker(config.log.project, files, run_id=_read_identity(folder, "mlflow"), run_name=config.name)


def _open_trackio(config: RunConfig, folder: RunFolder, done: int) -> GeneralTracker:
    from accelerate.tracking import TrackioTracker

    return TrackioTracker(config.log.project, name=config.name, resume="allow", config=_flat_fields(config))


def _read_identity(folder: RunFolder, name: str) -> str | None:
    file = folder.logs / IDENTITY
    return json.loads(file.read_text(encoding="utf-8")).get(name) if file.exists() else None


def _write_identity(folder: RunFolder, name: str, tracker: GeneralTracker) -> None:
    run = {"wandb": lambda: tracker.run.id, "mlflow": lambda: tracker.active_run.info.run_id}.get(name)
    if run is None:
        return
    folder.logs.mkdir(exist_ok=True)
    file = folder.logs / IDENTITY
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(known | {name: run()}) + "\n", encoding="utf-8")


def _flat_fields(config: RunConfig) -> dict[str, Any]:
    """The fields of a run by dotted name, without paths of this machine."""
    fields: dict[str, Any] = {}
    for name, value in without_paths(config).model_dump().items():
        fields |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return fields


def _show_in_tensorboard(tracker: Any, files: Sequence[Path], step: int) -> None:
    pictures = {f"samples/{index + 1}": np.asarray(Image.open(f).convert("RGB")) for index, f in enumerate(files)}
    tracker.log_images({name: p[None] for name, p in pictures.items()}, step=step, dataformats="NHWC")


def _show_in_wandb(tracker: Any, files: Sequence[Path], step: int) -> None:
    tracker.log_images({"samples": [Image.open(f) for f in files]}, step=step)


def _show_in_mlflow(tracker: Any, files: Sequence[Path], step: int) -> None:
    for file in files:
        tracker.log_artifact(str(file), f"samples/step-{step:08d}")


def _show_in_trackio(tracker: Any, files: Sequence[Path], step: int) -> None:
    import trackio

    tracker.log({f"samples/{index + 1}": trackio.Image(str(f)) for index, f in enumerate(files)}, step=step)


OPEN: dict[Tracker, Callable[[RunConfig, RunFolder, int], Any]] = {
    "tensorboard": _open_tensorboard,
    "wandb": _open_wandb,
    "mlflow": _open_mlflow,
    "trackio": _open_trackio,
}
SHOW: dict[str, Callable[[Any, Sequence[Path], int], None]] = {
    "tensorboard": _show_in_tensorboard,
    "wandb": _show_in_wandb,
    "mlflow": _show_in_mlflow,
    "trackio": _show_in_trackio,
}
