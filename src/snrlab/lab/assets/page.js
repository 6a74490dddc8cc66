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
    label: one.label, stroke: one.color < 0 ? data.reference : colors[one.color % colors.length],
    width: one.color < 0 ? 1.6 : 2.5, dash: one.color < 0 ? [] : data.dashes[one.color % data.dashes.length],
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

// A slider shows the curves for its value; the recipe's other sliders go back to the value that the recipe has.
const inputs = data.sliders.map(slider => {
  const label = document.createElement("label"), input = document.createElement("input"), output = document.createElement("output");
  Object.assign(input, { type: "range", min: 0, max: slider.values.length - 1, value: slider.start });
  label.append(`${slider.recipe}: ${slider.parameter}`, input, output);
  document.getElementById("sliders").append(label);
  const show = () => { output.value = slider.values[input.value]; };
  input.addEventListener("input", () => {
    data.sliders.forEach((other, i) => {
      if (other.recipe === slider.recipe && other !== slider) { inputs[i].input.value = other.start; inputs[i].show(); }
    });
    data.panels.forEach((panel, i) => {
      const series = panel.series.find(one => one.label === slider.recipe);
      series.own = series.own || series.y;
      series.y = slider.curves[i] ? slider.curves[i][input.value] : series.own;
    });
    show();
    redraw();
  });
  show();
  return { input, show };
});

document.querySelectorAll("input").forEach(box => box.addEventListener("change", redraw));
dark.addEventListener("change", redraw);
let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 150); });
redraw();
