import { get } from "./api.js";
import { el, field, notice } from "./dom.js";

// library loads the MQTT client once it is needed.
const library = () => new Promise((resolve, reject) => {
  if (window.mqtt) { resolve(window.mqtt); return; }
  document.head.append(el("script", { src: "/dashboard/vendor/mqtt.min.js", onload: () => resolve(window.mqtt), onerror: () => reject(new Error("the MQTT client cannot be loaded")) }));
});

// address finds a WebSocket listener that this browser can reach.
async function address() {
  const { listeners } = await get("/info");
  const ws = listeners.find((l) => l.type === "ws" || l.type === "wss");
  if (!ws) return "";
  const port = ws.address.slice(ws.address.lastIndexOf(":") + 1);
  return ws.type + "://" + location.hostname + ":" + port + ws.path;
}

export async function tryit(main, signal) {
  const url = el("input", { name: "url", required: true, value: await address(), size: 32 });
  const id = el("input", { name: "id", required: true, value: "dashboard-" + Math.random().toString(36).slice(2, 8) });
  const user = el("input", { name: "user", autocomplete: "off" });
  const password = el("input", { name: "password", type: "password", autocomplete: "off" });
  const connect = el("button", { class: "main" }, "Connect");
  const filter = el("input", { name: "filter", value: "home/#", required: true });
  const topic = el("input", { name: "topic", value: "home/kitchen", required: true });
  const payload = el("textarea", { name: "payload", rows: 3, value: "hello" });
  const qos = () => el("select", {}, ...["0", "1", "2"].map((q) => el("option", { selected: q === "1" }, q)));
  const subQos = qos(), pubQos = qos(), retain = el("input", { type: "checkbox" });
  const log = el("pre", { class: "log", tabIndex: 0, "aria-label": "Messages", "aria-live": "polite" });
  const say = (text) => { log.textContent += new Date().toLocaleTimeString() + "  " + text + "\n"; log.scrollTop = log.scrollHeight; };
  let client = null;
  const end = () => { if (client) { client.end(true); client = null; connect.textContent = "Connect"; } };
  signal.addEventListener("abort", end);

  const onConnect = async (e) => {
    e.preventDefault();
    if (client) { end(); say("disconnected"); return; }
    try {
      const mqtt = await library();
      client = mqtt.connect(url.value, { clientId: id.value, username: user.value || undefined, password: password.value || undefined,
        protocolVersion: 5, timerVariant: "native", reconnectPeriod: 0, connectTimeout: 10000 });
      connect.textContent = "Disconnect";
      client.on("connect", () => say("connected to " + url.value));
      client.on("message", (t, p, packet) => say((packet.retain ? "retained " : "") + t + "  " + p.toString()));
      client.on("error", (err) => { say("error: " + err.message); end(); });
      client.on("close", () => { if (client) { say("the connection was closed"); end(); } });
    } catch (err) { notice(err.message); end(); }
  };
  const withClient = (f) => (e) => { e.preventDefault(); if (client) f(); else notice("Connect first."); };
  const done = (what) => (err) => say(err ? "error: " + err.message : what);

  main.replaceChildren(el("h2", {}, "Try it"), el("p", { class: "quiet" }, "An MQTT client in this browser. lmqgate credentials prints a user name and password for a client id."),
    el("div", { class: "columns" },
      el("div", {},
        el("section", { class: "panel" }, el("h3", {}, "Connection"), el("form", { class: "bar", onsubmit: onConnect }, field("Address", url), field("Client id", id), field("User name", user), field("Password", password), connect)),
        el("section", { class: "panel" }, el("h3", {}, "Subscribe"), el("form", { class: "bar", onsubmit: withClient(() => client.subscribe(filter.value, { qos: Number(subQos.value) }, done("subscribed to " + filter.value))) },
          field("Topic filter", filter), field("QoS", subQos), el("button", {}, "Subscribe"))),
        el("section", { class: "panel" }, el("h3", {}, "Publish"), el("form", { class: "bar", onsubmit: withClient(() => client.publish(topic.value, payload.value, { qos: Number(pubQos.value), retain: retain.checked }, done("published to " + topic.value))) },
          field("Topic", topic), field("Message", payload), field("QoS", pubQos), field("Retain", retain), el("button", {}, "Publish")))),
      el("section", { class: "panel" }, el("h3", {}, "Messages"), log)));
}
