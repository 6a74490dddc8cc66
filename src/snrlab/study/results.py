"""What a study keeps of a finished cell: its measurements, and fingerprints of what its seed's cells have to share."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import read_steps, read_validation
from snrlab.study.cells import Cell
from snrlab.study.metrics import METRICS
from snrlab.study.study_folder import CellResult, Measurement


def read_result(cell: Cell, run: RunFolder) -> CellResult:
    """The result of a finished cell.

    Raises:
        UserError: a log is damaged.
    """
    steps = list(read_steps(run.steps_file))
    measurements: list[Measurement] = []
    for line in read_validation(run.validation_file):
        values = {name: metric.of(line) for name, metric in METRICS.items()}
        metrics = {name: float(f"{value:.9g}") for name, value in values.items() if value is not None}
        measurements.append({"step": line["step"], "metrics": metrics})
    sources = json.loads(run.sources_file.read_text(encoding="utf-8"))
    return {
        "arm": cell.arm,
        "seed": cell.seed,
        "steps": len(steps),
        "images": _fingerprint({key: value for key, value in sources.items() if key != "model"}),
        "timesteps": _fingerprint([line["t"] for line in steps]),
        "measurements": sorted(measurements, key=lambda measurement: measurement["step"]),
    }


def final(result: CellResult, metric: str) -> float | None:
    """A metric at the end of the run; None if it was not measured."""
    return result["measurements"][-1]["metrics"].get(metric) if result["measurements"] else None


def at_half(result: CellResult, metric: str) -> float | None:
    """A metric at half of the steps, where a measurement lies within a tenth of them."""
    half = result["steps"] / 2
    near = [m for m in result["measurements"] if abs(m["step"] - half) <= result["steps"] / 10]
    return min(near, key=lambda m: abs(m["step"] - half))["metrics"].get(metric) if near else None


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
