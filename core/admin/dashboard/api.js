// Calls of the admin API. The token is kept for this tab only, and sent in a header: no other page can make the browser send it.
const key = "lmqgate-token";

export const token = () => sessionStorage.getItem(key) || "";
export const setToken = (t) => (t ? sessionStorage.setItem(key, t) : sessionStorage.removeItem(key));

// What the token permits, once the gateway has said so: an administrator may change things, a viewer may not.
let role = "";
export const setRole = (r) => { role = r; };
export const mayChange = () => role === "admin";

// Refused is thrown where the gateway does not take the token.
export class Refused extends Error {}

async function send(method, path, body) {
  const headers = { Authorization: "Bearer " + token() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  if (answer.status === 401) throw new Refused("The gateway does not take this token.");
  const text = await answer.text();
  if (!answer.ok) {
    let why = text;
    try { why = JSON.parse(text).error || text; } catch { /* it is no JSON */ }
    throw new Error(why || "the gateway answered " + answer.status);
  }
  return text;
}

export async function call(method, path, body) {
  const text = await send(method, "/api/v1" + path, body);
  return text ? JSON.parse(text) : null;
}

export const get = (path) => call("GET", path);

// metrics reads /metrics: a map from "name{labels}" to numbers.
export async function metrics() {
  const out = new Map();
  for (const line of (await send("GET", "/metrics")).split("\n")) {
    const at = line.lastIndexOf(" ");
    if (line[0] !== "#" && at > 0) out.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return out;
}

// sum adds up every series of a metric.
export function sum(m, name) {
  let total = 0;
  for (const [k, v] of m) if (k === name || k.startsWith(name + "{")) total += v;
  return total;
}

// highest returns the highest value among the series of a metric; null where there is none.
export function highest(m, name) {
  let most = null;
  for (const [k, v] of m) if ((k === name || k.startsWith(name + "{")) && (most === null || v > most)) most = v;
  return most;
}

// quantile estimates a quantile of what a histogram counted between two readings, in seconds; null where that is nothing.
export function quantile(before, now, name, q) {
  const buckets = new Map();
  for (const [k, v] of now) {
    if (!k.startsWith(name + "_bucket{")) continue;
    const le = Number(/le="([^"]+)"/.exec(k)[1].replace("+Inf", "Infinity"));
    buckets.set(le, (buckets.get(le) || 0) + v - (before.get(k) || 0));
  }
  const list = [...buckets].sort((a, b) => a[0] - b[0]);
  const total = list.length ? list[list.length - 1][1] : 0;
  if (!total) return null;
  let low = 0, below = 0;
  for (const [le, count] of list) {
    if (count >= q * total) {
      if (le === Infinity) return low;
      return low + (le - low) * (count === below ? 1 : (q * total - below) / (count - below));
    }
    low = le; below = count;
  }
  return low;
}
