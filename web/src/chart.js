// Bar charts of use by day and by hour. Estimates are hatched, holes stay empty; exact integers become floats only here.
import uPlot from "uplot";

const ZONE = "Asia/Shanghai";
const language = document.documentElement.lang;
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const clock = new Intl.DateTimeFormat(language, { timeZone: ZONE, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayNumber = new Intl.DateTimeFormat("en", { timeZone: ZONE, day: "numeric" });
const dayName = new Intl.DateTimeFormat(language, { timeZone: ZONE, weekday: "short", day: "numeric", month: "short" });
const dayKey = new Intl.DateTimeFormat("sv", { timeZone: ZONE, dateStyle: "short" });

const token = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();

function hatch(colour) {
  const ratio = window.devicePixelRatio || 1;
  const size = Math.round(6 * ratio);
  const tile = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const pen = tile.getContext("2d");
  pen.strokeStyle = colour;
  pen.lineWidth = 1.6 * ratio;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift, size);
    pen.lineTo(shift + size, 0);
  }
  pen.stroke();
  return pen.createPattern(tile, "repeat");
}

function caption(figure, series, index) {
  const { starts, ends, used, quality, unit, exponent, resolution } = series;
  const output = figure.querySelector("output");
  if (index == null || index >= starts.length) {
    output.textContent = figure.dataset.hint || "";
    return;
  }
  const when = resolution === "day"
    ? dayName.format(starts[index])
    : `${clock.format(starts[index])}–${clock.format(ends[index])}`;
  const words = { estimated: figure.dataset.estimated, edited: figure.dataset.estimated, missing: figure.dataset.missing };
  const value = used[index] == null ? "–" : `${(used[index] * 10 ** exponent).toFixed(Math.max(0, -exponent))} ${unit}`;
  output.textContent = [when, value, words[quality[index]]].filter(Boolean).join("  ·  ");
}

function ticks(series) {
  if (series.resolution === "hour") return (u, splits) => splits.map((i) => (series.starts[i] ? clock.format(series.starts[i]).slice(0, 2) : ""));
  return (u, splits) => splits.map((i) => (series.starts[i] ? dayNumber.format(series.starts[i]) : ""));
}

function options(figure, series, width) {
  const colour = token(figure, "--medium");
  const axis = { stroke: token(figure, "--muted"), font: "12px " + getComputedStyle(document.body).fontFamily, ticks: { show: false } };
  const line = { stroke: token(figure, "--line"), width: 1 };
  const bars = uPlot.paths.bars({ size: [0.72, 44], radius: 0.12 });
  const step = series.resolution === "hour" ? 6 : series.starts.length > 16 ? 7 : 2;
  const last = series.starts.length - 1;
  const bar = (fill, stroke) => ({ paths: bars, points: { show: false }, fill, stroke, width: stroke ? 1 : 0 });
  return {
    width,
    height: figure.querySelector(".plot").clientHeight,
    padding: [10, 4, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { show: false } },
    scales: { x: { time: false, range: [-0.6, last + 0.6] }, y: { range: (u, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 26, splits: () => series.starts.map((_, i) => i).filter((i) => i % step === 0), values: ticks(series) },
      { ...axis, grid: line, size: 44, space: 36 },
    ],
    series: [{}, bar(colour), bar(() => hatch(colour), colour)],
    hooks: {
      setCursor: [(u) => caption(figure, series, u.cursor.idx == null || u.cursor.left < 0 ? null : u.cursor.idx)],
      ready: [(u) => {
        if (!figure.dataset.day) return;
        u.over.style.cursor = "pointer";
        u.over.addEventListener("click", () => {
          const start = series.starts[u.cursor.idx];
          if (start) location.assign(`${figure.dataset.day}?day=${dayKey.format(start)}#hours`);
        });
      }],
    },
  };
}

function columns(series) {
  const scale = 10 ** series.exponent;
  const at = (wanted) => series.used.map((value, i) => (value != null && (series.quality[i] === "measured") === wanted ? value * scale : null));
  return [series.starts.map((_, i) => i), at(true), at(false)];
}

async function draw(figure) {
  const place = figure.querySelector(".plot");
  let series;
  try {
    const answer = await fetch(figure.dataset.chart, { headers: { Accept: "application/json" } });
    if (answer.status === 401) return location.assign("/sign-in");
    if (!answer.ok) throw new Error(String(answer.status));
    series = await answer.json();
  } catch {
    figure.querySelector("output").textContent = figure.dataset.failed;
    figure.dataset.drawn = "failed";
    return;
  }
  let plot;
  const render = () => {
    plot?.destroy();
    plot = new uPlot(options(figure, series, place.clientWidth), columns(series), place);
  };
  render();
  caption(figure, series, null);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: plot.height })).observe(place);
  dark.addEventListener("change", render);
  figure.dataset.drawn = "1";
}

document.querySelectorAll("figure[data-chart]").forEach(draw);
