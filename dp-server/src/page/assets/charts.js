// Lines over time on a canvas, with a readout for the point under the pointer.

/** A duration, in seconds, in the unit that it is best read in. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 999.5e-6) return `${digits(seconds * 1e6)} µs`;
  if (seconds < 999.5e-3) return `${digits(seconds * 1e3)} ms`;
  return `${digits(seconds)} s`;
}

/** A number with three significant digits, or more where it is large. */
export function digits(value) {
  if (!Number.isFinite(value)) return "–";
  if (value < 9.995) return value.toFixed(2);
  if (value < 99.95) return value.toFixed(1);
  return Math.round(value).toLocaleString("en");
}

/** A number in short, for an axis. */
export function short(value) {
  if (value >= 1e9) return `${digits(value / 1e9)}G`;
  if (value >= 1e6) return `${digits(value / 1e6)}M`;
  return value >= 1e4 ? `${digits(value / 1e3)}k` : digits(value);
}

/** The next round number above, so that the axis has room and few digits. */
function round(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 1.02) ?? 12 * power;
}

export class Chart {
  /** `lines`: of each its name, the CSS variable of its colour, and perhaps its dashes. */
  constructor(canvas, lines, format) {
    Object.assign(this, { canvas, lines, format, points: [], at: null });
    canvas.addEventListener("pointermove", (event) => {
      this.at = event.clientX - canvas.getBoundingClientRect().left;
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => { this.at = null; this.draw(); });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** `points`: of each the time in seconds, a value, or null, for each line, and perhaps why there is none. */
  show(points) {
    this.points = points;
    this.draw();
    const last = points.at(-1);
    const text = last && this.lines.map((line, i) => `${line.name} ${this.format(last[1][i] ?? NaN)}`).concat(last[2] ?? []).join(", ");
    this.canvas.setAttribute("aria-label", last ? `Over time; last: ${text}` : "No points yet");
    this.canvas.dataset.points = points.length;
  }

  draw() {
    const { canvas, points, lines } = this;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const c = canvas.getContext("2d");
    c.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name);
    c.font = "12px system-ui, sans-serif";
    c.textBaseline = "middle";

    const left = 62, right = 12, top = 24, bottom = 22;
    const values = points.flatMap((point) => point[1].filter((value) => value != null));
    const high = round(Math.max(0, ...values));
    const first = Math.min(0, points[0]?.[0] ?? 0);
    const end = Math.max(5, points.at(-1)?.[0] ?? 0);
    const x = (time) => left + (time - first) / (end - first) * (width - left - right);
    const y = (value) => height - bottom - value / high * (height - top - bottom);

    for (let i = 0; i <= 4; i += 1) {
      const value = high * i / 4;
      c.strokeStyle = colour("--line");
      c.beginPath(); c.moveTo(left, y(value)); c.lineTo(width - right, y(value)); c.stroke();
      c.fillStyle = colour("--dim");
      c.textAlign = "right";
      c.fillText(i ? this.format(value) : "0", left - 7, y(value));
    }
    const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200].find((step) => (end - first) / step <= width / 70) ?? 14400;
    c.textAlign = "center";
    for (let time = 0; time <= end; time += step) {
      c.fillText(step < 60 ? `${time} s` : `${time / 60} min`, Math.min(x(time), width - right - 14), height - 9);
    }

    lines.forEach((line, i) => {
      c.strokeStyle = colour(line.colour);
      c.lineWidth = 2;
      c.lineJoin = "round";
      c.setLineDash(line.dash ?? []);
      c.beginPath();
      let drawing = false;
      for (const [time, all] of points) {
        if (all[i] == null) { drawing = false; continue; }
        if (drawing) c.lineTo(x(time), y(all[i])); else c.moveTo(x(time), y(all[i]));
        drawing = true;
      }
      c.stroke();
      c.setLineDash([]);
      c.fillStyle = colour(line.colour);
      // A point alone is no line.
      points.forEach(([time, all], at) => {
        if (all[i] == null || points[at - 1]?.[1][i] != null || points[at + 1]?.[1][i] != null) return;
        c.beginPath(); c.arc(x(time), y(all[i]), 2.5, 0, 7); c.fill();
      });
    });

    let shown = points.at(-1);
    if (this.at != null && points.length) {
      shown = points.reduce((best, point) => Math.abs(x(point[0]) - this.at) < Math.abs(x(best[0]) - this.at) ? point : best);
      c.strokeStyle = colour("--dim");
      c.beginPath(); c.moveTo(x(shown[0]), top); c.lineTo(x(shown[0]), height - bottom); c.stroke();
      c.fillStyle = colour("--dim");
      c.textAlign = "right";
      c.fillText(`at ${digits(shown[0])} s${shown[2] ? `: ${shown[2]}` : ""}`, width - right, height - bottom - 9);
    }
    let along = left;
    c.textAlign = "left";
    lines.forEach((line, i) => {
      const text = `${line.name} ${this.format(shown?.[1][i] ?? NaN)}`;
      c.strokeStyle = c.fillStyle = colour(line.colour);
      c.lineWidth = 3;
      c.setLineDash(line.dash ?? []);
      c.beginPath(); c.moveTo(along, 9); c.lineTo(along + 16, 9); c.stroke();
      c.setLineDash([]);
      c.fillStyle = colour("--text");
      c.fillText(text, along + 21, 9);
      along += 21 + c.measureText(text).width + 14;
    });
  }
}
