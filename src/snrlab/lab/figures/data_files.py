"""The numbers behind graphs, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np

from snrlab.core.recipe import Tables
from snrlab.lab.figures.panels import PANELS


def curves_to_csv(recipes: Mapping[str, Tables]) -> str:
    """CSV with a row for each recipe and timestep, and a column for each panel; empty where no value is finite."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["recipe", "t", "log_snr", *PANELS])
    for label, tables in recipes.items():
        curves = [panel.curve(tables) for panel in PANELS.values()]
        for t in tables.t:
            values = (tables.log_snr[t], *(curve[t] for curve in curves))
            writer.writerow([label, t, *(f"{v:.9g}" if np.isfinite(v) else "" for v in values)])
    return text.getvalue()
