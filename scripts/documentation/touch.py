"""The page of curves with a slider for gamma, which the guide embeds: the browser only draws what is computed here."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
from PIL import Image

from documentation import drawings
from snrlab.core.recipe import Tables
from snrlab.lab.asset_files import read_asset
from snrlab.lab.figures.theme import MODES, THEMES
from snrlab.lab.recipe_text import parse_recipe

GAMMAS = (0.5, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 50)
USUAL = 5
FIXED = {"Plain": "plain", "Debiased": "debiased"}
MOVED = {"Min-SNR": "min_snr:gamma={}", "Soft-Min-SNR": "soft_min_snr:gamma={}"}
EVERY = 6  # of the timesteps is drawn
LEVELS = (5.7, 3.4, 1.1, -1.2, -3.5)  # ln SNR of the pictures below the axis


def data() -> dict[str, Any]:
    """What the page shows: for each curve its weights and its shares of training, by gamma where that moves it."""
    names = [*FIXED, *MOVED]
    curves: dict[str, list[dict[str, list[float]]]] = {
        **{name: [_curve(recipe)] for name, recipe in FIXED.items()},
        **{name: [_curve(recipe.format(g)) for g in GAMMAS] for name, recipe in MOVED.items()},
    }
    plain = _tables("plain")
    return {
        "x": _rounded(plain.log_snr[::-1][::EVERY]),
        "t": plain.t[::-1][::EVERY].tolist(),
        "gammas": GAMMAS,
        "usual": GAMMAS.index(USUAL),
        "names": names,
        "curves": [curves[name] for name in names],
        "colors": {mode: THEMES[mode].lines for mode in MODES},
    }


def page() -> str:
    """HTML that opens offline and fits a frame."""
    strip = "".join(f'<img alt="the picture at ln SNR {level:g}" src="{_noisy(level)}">' for level in LEVELS)
    content = json.dumps(data(), allow_nan=False, separators=(",", ":"))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Min-SNR with a slider for gamma</title><style>{read_asset("uPlot.min.css")}
{STYLE}</style></head><body>
<label>gamma <input id="gamma" type="range" min="0" max="{len(GAMMAS) - 1}"> <output id="shown"></output></label>
<div class="views"><label><input type="radio" name="view" value="weight" checked> weight</label>
<label><input type="radio" name="view" value="share"> share of training</label></div>
<div id="plot"></div><div class="strip">{strip}</div>
<p>Clean pictures on the left, noise on the right. Point at a curve for its values; click a name to hide its curve.</p>
<script type="application/json" id="data">{content}</script>
<script>{read_asset("uPlot.iife.min.js")}</script><script>{PROGRAM}</script>
</body></html>
"""


def _tables(recipe: str) -> Tables:
    return parse_recipe(recipe)[1].tables()


def _curve(recipe: str) -> dict[str, list[float]]:
    tables = _tables(recipe)
    return {
        "weight": _rounded(tables.weight[::-1][::EVERY]),
        "share": _rounded(tables.emphasis("v_prediction")[::-1][::EVERY]),
    }


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _noisy(level: float) -> str:
    pixels = (255 * drawings.at_level(level)).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).quantize(64, dither=Image.Dither.NONE).save(content, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --line: #d4d6df; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --line: #3a3d47; --paper: #17181c; } }
body { font: 15px system-ui, sans-serif; margin: 0; padding: .4em; color: var(--ink); background: var(--paper); }
#gamma { width: min(20em, 55vw); vertical-align: middle; }
output { font-weight: bold; }
.views { margin: .4em 0; display: flex; gap: 1em; }
.strip { display: flex; justify-content: space-between; margin: 0 8px 0 70px; }
.strip img { width: 13%; image-rendering: pixelated; border-radius: 4px; }
p { margin: .5em 0 0; font-size: 13px; opacity: .8; }
"""
PROGRAM = """"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const slider = document.getElementById("gamma"), holder = document.getElementById("plot");
let plot;
const view = () => document.querySelector("input[name=view]:checked").value;
const text = v => v == null ? "-" : Number(v.toPrecision(3)).toString();
const values = () => [data.x, ...data.curves.map(c => (c[slider.value] || c[0])[view()])];
function show() {
  document.getElementById("shown").textContent = data.gammas[slider.value];
  plot.setData(values());
}
function draw() {
  if (plot) plot.destroy();
  const style = getComputedStyle(document.documentElement), log = view() === "weight";
  const ink = style.getPropertyValue("--ink"), line = style.getPropertyValue("--line");
  const colors = data.colors[dark.matches ? "dark" : "light"];
  const grid = { stroke: line, width: 1 };
  const axis = (label, size) => ({ label, size, stroke: ink, ticks: { stroke: line }, grid });
  const decades = (u, marks) => marks.map(v => Math.abs(Math.log10(v) % 1) < 1e-9 ? v : null);
  plot = new uPlot({
    width: Math.max(300, holder.clientWidth), height: 300,
    series: [{ label: "ln SNR", value: (u, v) => text(v) }, ...data.names.map((label, i) => (
      { label, stroke: colors[i], width: 2.5, points: { show: false }, value: (u, v) => text(v) }))],
    scales: { x: { time: false, dir: -1 }, y: log ? { distr: 3, range: [1e-3, 30] } : { range: [0, 0.5] } },
    axes: [axis("ln SNR", 40), { ...axis(log ? "weight (plain training: 1)" : "share of training", 62),
      values: (u, marks) => marks.map(v => v == null ? "" : text(v)), ...(log ? { filter: decades } : {}) }],
    cursor: { drag: { x: false, y: false } },
  }, values(), holder);
}
slider.value = data.usual;
draw();
show();
slider.addEventListener("input", show);
document.querySelectorAll("input[name=view]").forEach(box => box.addEventListener("change", draw));
dark.addEventListener("change", draw);
let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
"""
