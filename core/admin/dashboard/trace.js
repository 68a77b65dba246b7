import { token } from "./api.js";
import { el, field, notice } from "./dom.js";

const shown = 500; // events that the page keeps

// line writes an event for people.
function line(e) {
  const parts = [new Date(e.time).toLocaleTimeString(), e.node, e.what, e.client_id || "–", e.packet, e.packet_id ? "id " + e.packet_id : "",
    e.topic, e.packet === "PUBLISH" ? "QoS " + (e.qos || 0) + (e.retain ? ", retained" : "") + (e.dup ? ", again" : "") + ", " + (e.size || 0) + " bytes" : "",
    e.took_seconds ? "after " + (e.took_seconds * 1000).toFixed(2) + " ms" : "", e.left_out ? e.left_out + " events came too fast" : "", e.reason];
  return parts.filter(Boolean).join("  ");
}

// trace watches a client, a topic or an address while the page is open.
export async function trace(main, signal) {
  const id = el("input", { name: "client_id", type: "search" });
  const topic = el("input", { name: "topic", type: "search" });
  const address = el("input", { name: "address", type: "search" });
  const seconds = el("input", { name: "seconds", type: "number", min: 1, max: 3600, value: 60 });
  const button = el("button", { class: "main" }, "Start");
  const log = el("pre", { class: "log tall", tabIndex: 0, "aria-label": "Events", "aria-live": "off" });
  const state = el("p", { class: "quiet", role: "status" }, "Nothing is traced. Give a client id, a topic filter (# is every topic) or an address.");
  let stop = null;
  signal.addEventListener("abort", () => stop && stop.abort());

  const read = async (body, say) => {
    const reader = body.getReader(), decode = new TextDecoder();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + decode.decode(value, { stream: true })).split("\n");
      rest = lines.pop();
      say(lines.filter(Boolean).map((l) => line(JSON.parse(l))));
    }
  };
  const start = async (e) => {
    e.preventDefault();
    if (stop) { stop.abort(); return; }
    const mine = new AbortController();
    stop = mine;
    button.textContent = "Stop";
    log.replaceChildren();
    let over = "The trace is over.";
    try {
      const q = new URLSearchParams({ client_id: id.value, topic: topic.value, address: address.value, seconds: seconds.value });
      const answer = await fetch("/api/v1/trace?" + q, { headers: { Authorization: "Bearer " + token() }, cache: "no-store", signal: mine.signal });
      if (!answer.ok) throw new Error((await answer.json()).error);
      state.textContent = "Tracing. Events of other nodes come up to a second later.";
      await read(answer.body, (lines) => {
        for (const text of lines) log.append(el("span", {}, text + "\n"));
        while (log.childElementCount > shown) log.firstChild.remove();
        log.scrollTop = log.scrollHeight;
      });
    } catch (err) {
      if (err.name !== "AbortError") { over = "Nothing is traced: " + err.message; notice(err.message); }
    }
    stop = null;
    button.textContent = "Start";
    state.textContent = over;
  };
  main.replaceChildren(el("h2", {}, "Trace"), el("form", { class: "bar", onsubmit: start }, field("Client id", id), field("Topic filter", topic),
    field("Address or network", address), field("Seconds", seconds), button), state, el("section", { class: "panel" }, log));
}
