import { get, highest, metrics, quantile, sum } from "./api.js";
import { el, milliseconds, number } from "./dom.js";

const kept = 300; // readings that a plot shows
const interval = 2000; // milliseconds between two readings

// colour reads a colour of the style sheet as a canvas takes it.
function colour(name) {
  const e = document.body.appendChild(document.createElement("i"));
  e.style.color = "var(" + name + ")";
  const c = getComputedStyle(e).color;
  e.remove();
  return c;
}

// series is kept while the page is open, whatever page is shown.
const series = { at: [], received: [], delivered: [], connections: [], waiting: [], p50: [], p99: [], connect: [], delivery: [] };
let last = null;

// read takes a reading and appends rates since the one before.
export async function read() {
  const now = await metrics();
  const at = Date.now() / 1000;
  if (last) {
    const rate = (name) => Math.max(0, (sum(now, name) - sum(last.metrics, name)) / (at - last.at));
    series.at.push(at);
    series.received.push(rate("lmqgate_mqtt_received_messages_total"));
    series.delivered.push(rate("lmqgate_sessions_delivered_messages_total"));
    series.connections.push(sum(now, "lmqgate_sessions_connected"));
    series.waiting.push(sum(now, "lmqgate_backlog_messages"));
    const ms = (name, q) => { const s = quantile(last.metrics, now, name, q); return s === null ? null : s * 1000; };
    series.p50.push(ms("lmqgate_mqtt_publish_seconds", 0.5));
    series.p99.push(ms("lmqgate_mqtt_publish_seconds", 0.99));
    series.connect.push(ms("lmqgate_mqtt_connect_seconds", 0.99));
    series.delivery.push(ms("lmqgate_sessions_delivery_seconds", 0.99));
    for (const list of Object.values(series)) if (list.length > kept) list.shift();
  }
  last = { metrics: now, at };
  return now;
}

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

function plot(place, title, lines) {
  const axis = (more) => ({ stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif", ...more });
  const height = 200;
  const u = new window.uPlot({ width: 400, height, title: "", legend: { live: true }, cursor: { y: false },
    axes: [axis({ space: 90, values: (_, at) => at.map((s) => clock.format(s * 1000)) }), axis({ size: 56, values: (_, v) => v.map((n) => n.toLocaleString()) })],
    scales: { y: { range: (_, min, max) => [0, Math.max(1, max * 1.1)] } },
    series: [{ label: "at", value: (_, s) => (s === null ? "–" : clock.format(s * 1000)) }, ...lines.map((l) => ({ label: l.label, stroke: l.stroke, width: 1.5, spanGaps: true, points: { show: false }, value: (_, v) => number(v) }))] },
  [series.at, ...lines.map((l) => l.data)], place);
  const fit = () => u.setSize({ width: Math.max(200, place.clientWidth), height });
  new ResizeObserver(fit).observe(place);
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", title);
  return () => u.setData([series.at, ...lines.map((l) => l.data)]);
}

export async function overview(main, signal) {
  const tiles = {};
  const tile = (key, text) => { tiles[key] = el("b", {}, "–"); return el("div", { class: "tile" }, tiles[key], el("span", {}, text)); };
  const panel = (title) => { const place = el("div"); return [el("section", { class: "panel" }, el("h3", {}, title), place), place]; };
  const [rates, ratesAt] = panel("Messages a second");
  const [latency, latencyAt] = panel("What takes how long: 99th percentile, milliseconds");
  const [clients, clientsAt] = panel("Connected clients");
  const [waiting, waitingAt] = panel("Messages waiting for sessions");
  main.replaceChildren(el("h2", {}, "Overview"),
    el("div", { class: "tiles" }, tile("clients", "connected clients"), tile("received", "messages in, a second"),
      tile("delivered", "messages out, a second"), tile("p50", "PUBLISH to stored, median"), tile("p99", "PUBLISH to stored, 99th percentile"),
      tile("waiting", "messages waiting for sessions"), tile("refused", "refused since the start: connects, messages, filters"), tile("nodes", "nodes"), tile("memory", "memory of the gateway"), tile("disk", "free on the disk of the store"), tile("brokers", "of the fullest broker's disk is used")),
    el("div", { class: "plots" }, rates, latency, clients, waiting));
  const draw = [
    plot(ratesAt, "Messages a second", [{ label: "received", stroke: colour("--accent"), data: series.received },
      { label: "delivered", stroke: colour("--good"), data: series.delivered }]),
    plot(latencyAt, "What takes how long, 99th percentile", [{ label: "PUBLISH to stored", stroke: colour("--accent"), data: series.p99 },
      { label: "publication to delivery", stroke: colour("--good"), data: series.delivery },
      { label: "CONNECT to CONNACK", stroke: colour("--third"), data: series.connect }]),
    plot(clientsAt, "Connected clients", [{ label: "clients", stroke: colour("--accent"), data: series.connections }]),
    plot(waitingAt, "Messages waiting for sessions", [{ label: "messages", stroke: colour("--accent"), data: series.waiting }]),
  ];
  const latest = (list) => (list.length ? list[list.length - 1] : null);
  const show = async () => {
    const now = await read();
    tiles.clients.textContent = number(sum(now, "lmqgate_sessions_connected"));
    tiles.received.textContent = number(latest(series.received));
    tiles.delivered.textContent = number(latest(series.delivered));
    for (const q of ["p50", "p99"]) { const v = latest(series[q]); tiles[q].textContent = v === null ? "–" : milliseconds(v / 1000); }
    tiles.waiting.textContent = number(sum(now, "lmqgate_backlog_messages"));
    tiles.refused.textContent = number(sum(now, "lmqgate_mqtt_refusals_total"));
    tiles.memory.textContent = number(sum(now, "process_resident_memory_bytes") / 1048576) + " MiB";
    const free = now.get("lmqgate_local_store_free_bytes");
    tiles.disk.parentElement.hidden = free === undefined;
    if (free !== undefined) tiles.disk.textContent = number(free / 1073741824) + " GiB";
    const fullest = highest(now, "lmqgate_store_rocketmq_disk_used_ratio");
    tiles.brokers.parentElement.hidden = fullest === null;
    if (fullest !== null) tiles.brokers.textContent = number(100 * fullest) + " %";
    for (const d of draw) d();
  };
  tiles.nodes.textContent = number((await get("/nodes")).nodes.length);
  await show();
  const timer = setInterval(() => show().catch(() => {}), interval);
  signal.addEventListener("abort", () => clearInterval(timer));
}
