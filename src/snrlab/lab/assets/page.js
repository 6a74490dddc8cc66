// Draws the panels of a page from its own data; opens offline.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const charts = [];

function text(value) {
  if (value == null) return "-";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : Number(value.toPrecision(4)).toString();
}

function chart(panel, holder) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim(), line = style.getPropertyValue("--line").trim();
  const colors = dark.matches ? data.colors.dark : data.colors.light;
  const decades = (u, marks) => marks.map(v => Math.abs(Math.log10(v) % 1) < 1e-9 ? v : null);
  const axis = (label, size, only) => ({ label, size, stroke: ink, ticks: { stroke: line, ...only }, grid: { stroke: line, width: 1, ...only },
                                   values: (u, marks) => marks.map(v => v == null ? "" : text(v)) });
  const series = [{ label: panel.over_time ? "t" : "ln SNR", value: (u, v) => text(v) }];
  panel.series.forEach(one => series.push({
    label: one.label, stroke: colors[one.color % colors.length], width: 2.5, dash: data.dashes[one.color % data.dashes.length],
    value: (u, v) => text(v), points: { show: false }, spanGaps: false,
  }));
  const box = holder.querySelector("input");
  const log = box.checked;
  return new uPlot({
    width: Math.max(320, holder.clientWidth), height: 300, series,
    scales: { x: { time: false, dir: panel.over_time ? 1 : -1 }, y: log ? { distr: 3 } : { range: (u, lo, hi) => [Math.min(0, lo), hi * 1.05 || 1] } },
    axes: [axis(panel.over_time ? "timestep t" : "ln SNR (clean pictures left, noise right)", 45), axis(panel.unit, 70, log ? { filter: decades } : {})],
    cursor: { sync: { key: panel.over_time ? "t" : "snr" }, drag: { x: true, y: false } },
  }, [panel.x, ...panel.series.map(one => log ? one.y.map(v => v > 0 ? v : null) : one.y)], holder.querySelector(".plot"));
}

function redraw() {
  charts.splice(0).forEach(one => one.destroy());
  data.panels.forEach((panel, index) => charts.push(chart(panel, document.getElementById("panel-" + index))));
}

document.querySelectorAll("input").forEach(box => box.addEventListener("change", redraw));
dark.addEventListener("change", redraw);
let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 150); });
redraw();
