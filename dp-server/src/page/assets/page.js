// The live page. What the server says comes as events; what it says is text, never markup.
import { Chart, digits, short, span } from "./charts.js";

const $ = (id) => document.getElementById(id);
const state = { cells: new Map(), series: [], totals: [], partial: null, past: [], barriers: [], logs: [], run: null, methods: [], needed: 0, present: 0, skew: 0 };
const shown = new Set([0, 1, 2]);

/** An element with text or other elements in it. */
function make(tag, attributes = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element) element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...inside);
  return element;
}

/** `text` with invisible characters, and those that turn its direction, written out. */
function plain(text) {
  return text.replace(/(?![\n\t])[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** JSON in which every text, and every name, is plain. */
function parse(text) {
  return JSON.parse(text, (_, value) => {
    if (typeof value === "string") return plain(value);
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    const names = Object.keys(value);
    return names.every((name) => plain(name) === name) ? value : Object.fromEntries(names.map((name) => [plain(name), value[name]]));
  });
}

// ---- Asking the server

let token = sessionStorage.getItem("dp-token") ?? "";

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) {
    await login(Boolean(token));
    return ask(path, options);
  }
  return answer;
}

let asking = null;
function login(wrong) {
  asking ??= new Promise((done) => {
    const dialog = $("login");
    $("login-wrong").hidden = !wrong;
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      token = $("token").value.trim();
      sessionStorage.setItem("dp-token", token);
      $("token").value = "";
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

/** Does something; what went wrong is shown, and null returned. */
async function act(path, body = {}, signal) {
  try {
    const answer = await ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
    const value = parse(await answer.text());
    if (answer.ok) return value;
    complain(value.error);
  } catch (error) {
    if (error.name !== "AbortError") complain(`The server does not answer: ${error.message}`);
  }
  return null;
}

let forget;
function complain(text) {
  $("message").textContent = text;
  $("message").hidden = false;
  clearTimeout(forget);
  forget = setTimeout(() => { $("message").hidden = true; }, 12_000);
}

// ---- Events

async function listen() {
  for (let pause = 500; ; pause = Math.min(pause * 2, 5_000)) {
    try {
      const answer = await ask("api/events");
      if (!answer.ok) throw new Error((parse(await answer.text())).error);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const events = (text + value).split("\n\n");
        text = events.pop();
        for (const event of events) take(parse(event.slice("data: ".length)));
        pause = 500;
      }
    } catch (error) {
      console.debug(error);
    }
    badge("connection lost", "bad");
    document.body.dataset.state = "away";
    await new Promise((done) => setTimeout(done, pause));
  }
}

function take(news) {
  state.skew = Date.now() - news.now;
  const before = state.past.at(-1)?.number;
  for (const key of ["worker", "version", "needed", "methods", "frequency", "present", "barriers", "logs", "run", "past", "totals", "partial", "series"]) {
    if (key in news) state[key] = news[key];
  }
  if (news.points) state.series.push(...news.points);
  if (news.cells) {
    state.cells.clear();
    for (const cell of news.cells) state.cells.set(cell[0], cell);
    drawAllCells();
  }
  for (const cell of news.changed ?? []) change(cell);
  for (const id of news.gone ?? []) remove(id);
  if (news.changed || news.gone || news.cells) count();
  if (news.methods) drawMethods();
  if ("worker" in news) drawTitle();
  if ("frequency" in news && document.activeElement !== $("frequency")) $("frequency").value = news.frequency;
  if (news.totals || news.series || news.points || "partial" in news) drawMetrics();
  if (news.barriers) drawBarriers();
  if (news.logs) drawLogs();
  if (news.past) {
    drawPast();
    if (state.past.at(-1)?.number !== before) results(false);
  }
  drawState();
}

// ---- Head and tiles

function badge(text, kind) {
  const element = $("state");
  if (element.textContent !== text) element.textContent = text;
  element.className = `badge ${kind}`;
}

function drawTitle() {
  $("worker").textContent = state.worker;
  $("version").textContent = state.version;
  document.title = `${state.worker} · dp`;
}

function drawState() {
  const ready = state.present >= state.needed, last = state.past.at(-1);
  let now = "ready";
  if (state.run) now = state.run.gathering ? "gathering" : "running";
  else if (!ready) now = "waiting";
  document.body.dataset.state = now;
  if (now === "running") badge(state.run.page ? "running" : "running, from the console", "running");
  else if (now === "gathering") badge("gathering results", "running");
  else if (now === "waiting") badge(`waiting for workers: ${state.present} of ${state.needed}`, "");
  else badge("ready to run", "good");
  $("run").disabled = Boolean(state.run) || !ready;
  $("cancel").disabled = !state.run;
  $("reset").disabled = Boolean(state.run);
  $("n-present").textContent = state.present.toLocaleString("en");
  const what = state.run ? "so far" : last ? (last.ok ? "last run: ok" : last.cancelled ? "last run: cancelled" : "last run: failed") : "no run yet";
  $("n-elapsed-what").textContent = what;
  $("n-elapsed-what").className = !state.run && last ? (last.ok ? "good" : "bad") : "";
  tick();
}

function tick() {
  const last = state.past.at(-1);
  const now = Date.now() - state.skew;
  $("n-elapsed").textContent = state.run ? `${((now - state.run.started) / 1000).toFixed(1)} s` : last ? span(last.seconds) : "–";
  if (selected != null) drawDetail();
}

// ---- Metrics

const throughput = new Chart($("throughput"), [{ name: "all workers", colour: "--p50" }], (value) => `${short(value)}/s`);
const latency = new Chart($("latency"), [
  { name: "p50", colour: "--p50" }, { name: "p90", colour: "--p90", dash: [7, 3] },
  { name: "p95", colour: "--p95", dash: [4, 2] }, { name: "p99", colour: "--p99", dash: [2, 2] },
  { name: "p99.9", colour: "--p999", dash: [6, 2, 2, 2] }, { name: "max", colour: "--max", dash: [1, 4] },
], span);

const TOTALS = ["min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];

function drawMetrics() {
  const some = state.totals.length > 0;
  $("charts-none").hidden = some;
  $("charts-some").hidden = !some;
  $("metric").parentElement.hidden = state.totals.length < 2;
  const names = state.totals.map((metric) => metric.name);
  if ([...$("metric").options].map((option) => option.value).join("\n") !== names.join("\n")) {
    const before = $("metric").value;
    $("metric").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    if (names.includes(before)) $("metric").value = before;
  }
  $("totals").replaceChildren(...state.totals.map((metric) => make("tr", {},
    make("th", { scope: "row", title: metric.name }, metric.name), make("td", {}, metric.count.toLocaleString("en")),
    make("td", {}, `${digits(metric.rate)}/s`), ...TOTALS.map((key) => make("td", {}, span(metric[key]))))));
  drawCharts();
  const counted = state.totals.reduce((sum, metric) => sum + metric.count, 0);
  $("n-count").textContent = some ? counted.toLocaleString("en") : "–";
  // Over one and the same time: since the last point, or all of the run.
  const point = state.series.at(-1)?.[1], last = state.past.at(-1);
  const rate = state.run ? (point ? Object.values(point).reduce((sum, [rate]) => sum + rate, 0) : NaN) : counted / last?.seconds;
  $("n-rate").textContent = some ? digits(rate) : "–";
  $("partial").hidden = !state.partial;
  if (state.partial) $("partial").textContent = `${state.partial.map((number) => number.toLocaleString("en")).join(" of ")} workers answered: the figures below are of these, and the charts have a gap.`;
}

function drawCharts() {
  const name = $("metric").value;
  // Where it is not known of everybody what came, there is a gap that says so.
  const note = (known) => known && `${known.map((number) => number.toLocaleString("en")).join(" of ")} answered`;
  throughput.show(state.series.map(([time, all, known]) => [time, [all?.[name]?.[0] ?? null], note(known)]));
  latency.show(state.series.map(([time, all, known]) => [time, all?.[name]?.[1] ?? latency.lines.map(() => null), note(known)]));
}

// ---- Workers

const FEW = 60, STATES = ["idle", "busy", "lost"];
const elements = new Map();
const collator = new Intl.Collator("en", { numeric: true });
let selected = null, hovered = null;

function drawAllCells() {
  elements.clear();
  const ids = [...state.cells.keys()].sort(collator.compare);
  $("grid").replaceChildren(...ids.map((id) => draw(state.cells.get(id))));
}

function draw(cell) {
  const element = make("div", { role: "option", tabIndex: -1 }, make("b"), make("span"));
  element.dataset.id = cell[0];
  elements.set(cell[0], element);
  dress(element, cell);
  return element;
}

function dress(element, cell) {
  const [id, now, text] = cell;
  element.className = `cell s${now}`;
  element.setAttribute("aria-label", `${id}: ${STATES[now]} ${text}`);
  element.setAttribute("aria-selected", id === selected);
  element.firstChild.textContent = id;
  element.lastChild.textContent = now === 0 ? text || "idle" : now === 1 ? text : `lost: ${text}`;
  element.hidden = !matches(cell);
}

function change(cell) {
  const known = elements.get(cell[0]);
  state.cells.set(cell[0], cell);
  if (known) return dress(known, cell);
  const element = draw(cell);
  const next = [...$("grid").children].find((other) => collator.compare(other.dataset.id, cell[0]) > 0);
  $("grid").insertBefore(element, next ?? null);
}

function remove(id) {
  state.cells.delete(id);
  elements.get(id)?.remove();
  elements.delete(id);
  if (selected === id) select(null);
}

function matches([id, now, text, , , address]) {
  const wanted = $("find").value.trim().toLowerCase();
  return shown.has(now) && (!wanted || `${id}\n${text}\n${address}`.toLowerCase().includes(wanted));
}

function count() {
  const counts = [0, 0, 0];
  for (const cell of state.cells.values()) counts[cell[1]] += 1;
  counts.forEach((number, at) => { $(`l-${at}`).textContent = number.toLocaleString("en"); });
  $("n-busy").textContent = counts[1].toLocaleString("en");
  $("n-lost").textContent = counts[2].toLocaleString("en");
  $("n-lost").className = counts[2] ? "bad" : "";
  $("workers-none").hidden = state.cells.size > 0;
  $("grid").classList.toggle("few", state.cells.size <= FEW);
  const first = $("grid").firstElementChild;
  if (first && !$("grid").querySelector('[tabindex="0"]')) first.tabIndex = 0;
  $("ids").replaceChildren(...[...state.cells.keys()].slice(0, 200).map((id) => make("option", { value: id })));
  drawDetail();
}

function select(id) {
  if (selected) elements.get(selected)?.setAttribute("aria-selected", false);
  selected = id;
  if (id) elements.get(id)?.setAttribute("aria-selected", true);
  drawDetail();
}

function drawDetail() {
  const cell = state.cells.get(hovered ?? selected);
  if (!cell) return;
  const [id, now, text, since, waiting, address, version] = cell;
  const ago = since ? span(Math.max(0, Date.now() - state.skew - since) / 1000) : "";
  const what = now === 0 ? text || "idle" : now === 1 ? `in ${text} for ${ago}` : `lost ${ago} ago: ${text}`;
  const more = [what, waiting ? `${waiting} more calls wait` : "", address, version && `version ${version}`];
  const line = ` ${more.filter(Boolean).join(" · ")}`;
  const detail = $("detail");
  const buttons = selected === id && now !== 2;
  if (detail.dataset.id === `${id}${buttons}`) {
    detail.childNodes[1].textContent = line;
    return;
  }
  detail.dataset.id = `${id}${buttons}`;
  detail.replaceChildren(make("b", {}, id), line);
  if (buttons) {
    detail.append(make("button", { type: "button", onclick: () => { $("on").value = id; $("method").focus(); } }, "Call on it"),
      make("button", { type: "button", onclick: () => confirm(`Disconnect the client that hosts ${id}, with all its workers?`) && act("api/kick", { worker: id }) }, "Disconnect"));
  }
}

const grid = $("grid");
const cellOf = (event) => event.target.closest?.(".cell")?.dataset.id;
grid.addEventListener("pointerover", (event) => { hovered = cellOf(event) ?? null; drawDetail(); });
grid.addEventListener("pointerleave", () => { hovered = null; drawDetail(); });
grid.addEventListener("click", (event) => { const id = cellOf(event); if (id) focusCell(elements.get(id)); });
grid.addEventListener("focusin", (event) => { const id = cellOf(event); if (id) { hovered = null; select(id); } });
grid.addEventListener("keydown", (event) => {
  const cells = [...grid.children].filter((cell) => !cell.hidden);
  const at = cells.indexOf(document.activeElement);
  if (at < 0) return;
  const top = cells[0].offsetTop;
  const across = Math.max(1, cells.findIndex((cell) => cell.offsetTop > top) < 0 ? cells.length : cells.findIndex((cell) => cell.offsetTop > top));
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - across, ArrowDown: at + across, Home: 0, End: cells.length - 1 }[event.key];
  if (to == null || !cells[to]) return;
  event.preventDefault();
  focusCell(cells[to]);
});

function focusCell(cell) {
  for (const other of grid.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  cell.tabIndex = 0;
  cell.focus();
}

function refilter() {
  for (const [id, element] of elements) element.hidden = !matches(state.cells.get(id));
}
$("find").addEventListener("input", refilter);
for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    const which = Number(button.dataset.show);
    if (!shown.delete(which)) shown.add(which);
    button.setAttribute("aria-pressed", shown.has(which));
    refilter();
  });
}

// ---- Barriers

function drawBarriers() {
  $("barriers-section").hidden = !state.barriers.length;
  $("barriers").replaceChildren(...state.barriers.map(({ token, arrived, here, awaited, missing, since }) => {
    const all = here + missing;
    const names = awaited.map(([id, method]) => `${id} (${method})`).join(", ");
    const more = missing > awaited.length ? ` and ${missing - awaited.length} more` : "";
    const ago = since ? `, for ${span((Date.now() - state.skew - since) / 1000)}` : "";
    return make("div", { className: "barrier" }, make("b", {}, token), ` ${here} of ${all} have arrived`,
      make("progress", { max: all, value: here, ariaLabel: token }), make("p", {}, `arrived: ${arrived}`),
      make("p", {}, missing ? `awaited${ago}: ${names}${more}` : "nobody is awaited"));
  }));
}

// ---- The clients' logs

// The latest first.
function drawLogs() {
  $("logs-section").hidden = !state.logs.length;
  $("logs").tBodies[0].replaceChildren(...state.logs.toReversed().map(([at, level, text]) => make("tr", {},
    make("td", {}, new Date(at).toLocaleTimeString()),
    make("td", { className: level === "error" || level === "warn" ? "bad" : "" }, level), make("td", {}, text))));
}

// ---- Results

let recorded = { lines: [], folded: [], failures: [], total: 0 }, rows = 200;

async function results(live) {
  try {
    const answer = await ask(live ? "api/results?live" : "api/results");
    recorded = parse(await answer.text());
    const last = state.past.at(-1);
    $("results-of").textContent = live ? "recorded so far" : last ? `of run ${last.number}` : "";
    rows = 200;
    drawResults();
  } catch (error) {
    complain(`The results could not be had: ${error.message}`);
  }
}

function drawResults() {
  const fold = $("fold").checked, wanted = $("filter").value.toLowerCase();
  const all = fold ? recorded.folded : recorded.lines;
  const some = wanted ? all.filter((row) => `${row[0]}\t${row[2]}`.toLowerCase().includes(wanted)) : all;
  $("failures").hidden = !recorded.failures.length;
  $("failures").replaceChildren(...recorded.failures.map((failure) => make("li", {}, failure)));
  $("results").hidden = !all.length;
  $("results-none").hidden = all.length > 0;
  $("results-second").textContent = fold ? "times" : "time";
  $("results").tBodies[0].replaceChildren(...some.slice(0, rows).map(([worker, second, message]) => make("tr", {},
    make("th", { scope: "row" }, worker),
    make("td", {}, fold ? second.toLocaleString("en") : new Date(second).toLocaleTimeString("en-GB", { fractionalSecondDigits: 3 })),
    make("td", {}, message))));
  $("more").hidden = some.length <= rows;
  $("more").textContent = `Show more: ${rows} of ${some.length}`;
}
$("fold").addEventListener("change", drawResults);
$("filter").addEventListener("input", drawResults);
$("more").addEventListener("click", () => { rows *= 4; drawResults(); });
$("gather").addEventListener("click", () => results(true));

// ---- Past runs

function drawPast() {
  const runs = state.past.toReversed();
  $("past-none").hidden = runs.length > 0;
  $("past").hidden = !runs.length;
  $("downloads").hidden = !runs.length;
  $("past").tBodies[0].replaceChildren(...runs.map((run) => make("tr", {},
    make("th", { scope: "row" }, `${run.number}${run.page ? "" : " (console)"}`),
    make("td", {}, new Date(run.started).toLocaleTimeString("en-GB")), make("td", {}, span(run.seconds)),
    make("td", { className: run.ok ? "good" : "bad", title: [...run.failures, ...run.unwritten].join("\n") }, run.ok ? "ok" : run.cancelled ? "cancelled" : "failed"),
    make("td", {}, run.workers.toLocaleString("en")), make("td", {}, run.results.toLocaleString("en")))));
  const bases = runs.slice(1);
  const before = $("base").value;
  $("base-label").hidden = !bases.length;
  $("base").replaceChildren(...bases.map((run) => make("option", { value: run.number }, `run ${run.number}`)));
  if (bases.some((run) => String(run.number) === before)) $("base").value = before;
  drawComparison();
}

// Of these more is better; of the others less.
const MORE = new Set(["count", "rate"]);

function drawComparison() {
  const last = state.past.at(-1), base = state.past.find((run) => String(run.number) === $("base").value);
  const comparable = base && base !== last && last.metrics.length > 0;
  $("comparison").hidden = !comparable;
  if (!comparable) return;
  $("comparison-title").textContent = `Run ${last.number} compared with run ${base.number}`;
  const cell = (metric, other, key) => {
    const text = key === "count" ? metric.count.toLocaleString("en") : key === "rate" ? `${digits(metric.rate)}/s` : span(metric[key]);
    const off = other && other[key] > 0 ? metric[key] / other[key] - 1 : null;
    if (off == null) return make("td", {}, text, make("span", {}, "new"));
    const percent = Math.abs(off) < 0.0005 ? "=" : `${off > 0 ? "▲ +" : "▼ −"}${Math.abs(off * 100).toFixed(1)} %`;
    const notable = Math.abs(off) >= 0.05 && key !== "count";
    return make("td", {}, text, make("span", { className: notable ? ((off > 0) === MORE.has(key) ? "better" : "worse") : "" }, percent));
  };
  $("comparison").querySelector("tbody").replaceChildren(...last.metrics.map((metric) => {
    const other = base.metrics.find((other) => other.name === metric.name);
    return make("tr", {}, make("th", { scope: "row", title: metric.name }, metric.name),
      ...["count", "rate", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"].map((key) => cell(metric, other, key)));
  }));
}
$("base").addEventListener("change", drawComparison);
for (const button of document.querySelectorAll("[data-report]")) {
  button.addEventListener("click", async () => {
    const answer = await ask(`api/report?${button.dataset.report}`);
    if (!answer.ok) return complain((parse(await answer.text())).error);
    const url = URL.createObjectURL(await answer.blob());
    make("a", { href: url, download: `${state.worker}-run-${state.past.at(-1)?.number}.${button.dataset.report}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  });
}

// ---- Calls

/** The parameters of `greet(name: &str, times: u8) -> String`: pairs of name and type. */
function parameters(signature) {
  const inside = [], open = signature.indexOf("(");
  let depth = 0, part = "";
  for (let at = open + 1; at < signature.length; at += 1) {
    const c = signature[at];
    if ("(<[{".includes(c)) depth += 1;
    if (")>]}".includes(c) && !(c === ">" && signature[at - 1] === "-")) depth -= 1;
    if (depth < 0) break;
    if (c === "," && depth === 0) { inside.push(part); part = ""; } else part += c;
  }
  inside.push(part);
  return inside.map((one) => one.trim()).filter(Boolean).map((one) => {
    const colon = one.indexOf(":");
    return [one.slice(0, colon).trim(), one.slice(colon + 1).trim()];
  });
}

const isText = (type) => /^(&\s*(mut\s+)?str|&?\s*([a-z_:]*::)?String|char|&?\s*([a-z_:]*::)?PathBuf)$/.test(type);
const isNumber = (type) => /^&?\s*([iu](8|16|32|64|size)|f(32|64))$/.test(type);

function drawMethods() {
  $("method").replaceChildren(...state.methods.map((method) => make("option", { value: method.name }, method.name)));
  drawForm();
}

function drawForm() {
  const method = state.methods.find((method) => method.name === $("method").value);
  $("call-go").disabled = !method;
  if (!method) return;
  $("docs").replaceChildren(make("code", {}, method.signature), method.docs ? `\n${method.docs.trim()}` : "");
  $("arguments").replaceChildren(...parameters(method.signature).map(([name, type], at) => {
    const field = isNumber(type) ? make("input", { type: "number", step: "any", required: true })
      : type === "bool" ? make("select", {}, make("option", {}, "false"), make("option", {}, "true"))
      : isText(type) ? make("input", { type: "text" })
      : make("textarea", { rows: 1, placeholder: "JSON", required: true, spellcheck: false });
    field.id = `argument-${at}`;
    field.dataset.kind = isText(type) ? "text" : "json";
    field.dataset.name = name;
    return make("label", {}, make("span", {}, `${name}: `, make("code", {}, type)), field);
  }));
}
$("method").addEventListener("change", drawForm);

let stop = null;
$("call").addEventListener("submit", async (event) => {
  event.preventDefault();
  const values = [];
  for (const field of $("arguments").querySelectorAll("input, select, textarea")) {
    try {
      values.push(field.dataset.kind === "text" ? field.value : JSON.parse(field.value));
    } catch (error) {
      field.focus();
      return complain(`${field.dataset.name} is no JSON: ${error.message}`);
    }
  }
  stop = new AbortController();
  $("call-stop").hidden = false;
  $("call-go").disabled = true;
  const timeout = Number($("timeout").value) || null;
  const answer = await act("api/call", { worker: $("on").value.trim() || null, method: $("method").value, arguments: values, timeout }, stop.signal);
  $("call-stop").hidden = true;
  $("call-go").disabled = false;
  $("outcomes").hidden = !answer;
  $("outcomes").tBodies[0].replaceChildren(...(answer?.outcomes ?? []).map((outcome) => make("tr", {},
    make("th", { scope: "row" }, outcome.workers), make("td", { className: outcome.ok ? "" : "bad" }, outcome.value))));
});
$("call-stop").addEventListener("click", () => stop?.abort());

// ---- Buttons and colours

$("run").addEventListener("click", () => { $("run").disabled = true; act("api/run").then(drawState); });
$("cancel").addEventListener("click", () => act("api/cancel"));
$("reset").addEventListener("click", async () => { if (await act("api/reset")) results(true); });
$("frequency-form").addEventListener("submit", (event) => {
  event.preventDefault();
  $("frequency").blur();
  act("api/frequency", { hz: Number($("frequency").value) });
});
$("metric").addEventListener("change", drawCharts);

const THEMES = { system: "◐", light: "☀", dark: "☾" };
const dark = matchMedia("(prefers-color-scheme: dark)");
function theme() {
  const chosen = localStorage.getItem("dp-theme") ?? "system";
  document.documentElement.dataset.theme = chosen === "system" ? (dark.matches ? "dark" : "light") : chosen;
  $("theme").textContent = THEMES[chosen] ?? THEMES.system;
  $("theme").setAttribute("aria-label", `Colours: ${chosen === "system" ? "as the system" : chosen}`);
  throughput.draw();
  latency.draw();
}
$("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES), now = localStorage.getItem("dp-theme") ?? "system";
  localStorage.setItem("dp-theme", names[(names.indexOf(now) + 1) % names.length]);
  theme();
});
dark.addEventListener("change", theme);

theme();
setInterval(tick, 250);
listen();
