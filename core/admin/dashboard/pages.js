import { call, get, mayChange } from "./api.js";
import { ask, details, el, field, notice, number, table, time } from "./dom.js";

const query = (o) => new URLSearchParams(Object.entries(o).filter(([, v]) => v !== "" && v !== undefined)).toString();
const pageSize = 200;

// listing shows a list of the API in pages, below a form.
async function listing(main, { title, form, path, key, columns, row }) {
  const body = el("div", { class: "panel scroll" });
  const more = el("button", { type: "button", hidden: true, onclick: () => load(true) }, "More");
  let items = [], next = "";
  const load = async (on) => {
    try {
      const answer = await get(path + "?" + query({ ...Object.fromEntries(new FormData(form)), limit: pageSize, after: on ? next : "" }));
      items = on ? items.concat(answer[key]) : answer[key];
      next = answer.next || "";
      more.hidden = !next;
      body.replaceChildren(...[missing(answer.unanswered), table(title, columns(load), items)].filter(Boolean));
    } catch (e) { notice(e.message); }
  };
  form.addEventListener("submit", (e) => { e.preventDefault(); load(false); });
  main.replaceChildren(el("h2", {}, title), form, body, more);
  await load(false);
  return row;
}

// changing is a column of buttons that change something, for those who may.
const changing = (value) => (mayChange() ? [{ title: "", value }] : []);

const run = async (what, f) => { try { await f(); notice(what); return true; } catch (e) { notice(e.message); return false; } };

async function showClient(id, reload) {
  const c = await get("/clients/" + encodeURIComponent(id));
  const act = (text, question, f) => el("button", { type: "button", class: "danger", onclick: async () => {
    if (await ask(question, text) && await run("Done.", f)) { d.close(); reload(false); }
  } }, text);
  const d = details(id,
    el("dl", {}, ...[["State", (c.connected ? "connected" : "sleeping") + " since " + time(c.since)], ["User", c.username || "–"],
      ["Node", c.node || "–"], ["Protocol", c.protocol || "–"], ["Address", c.remote_address || "–"], ["Listener", c.listener || "–"],
      ["Session", !c.durable ? "ends with the connection" : c.expiry_seconds < 0 ? "kept for ever" : "kept for " + c.expiry_seconds + " s"],
      ["In flight", number(c.in_flight)], ["Backlog", number(c.backlog)]].flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)])),
    table("Subscriptions", [{ title: "Filter", name: true, value: (s) => s.filter || "(point to point)" },
      { title: "QoS", number: true, value: (s) => String(s.qos) }, { title: "Since", value: (s) => time(s.created) },
      { title: "Backlog", number: true, value: (s) => (s.messages < 0 ? "–" : number(s.messages)) }], c.subscriptions_detail),
    !mayChange() ? null : el("div", { class: "actions" },
      c.connected ? act("Disconnect", "Close the connection of " + id + "? Its session stays.", () => call("POST", "/clients/" + encodeURIComponent(id) + "/kick")) : null,
      act("Ban for an hour", "Keep " + id + " out of every node for an hour?", () => call("POST", "/bans", { kind: "client", name: id, reason: "by the dashboard", seconds: 3600 })),
      act("End session", "End the session of " + id + "? What waits in it is lost.", () => call("DELETE", "/sessions/" + encodeURIComponent(id)))));
}

export const clients = (main) => listing(main, {
  title: "Clients", path: "/clients", key: "clients",
  form: el("form", { class: "bar", role: "search" }, field("Client id begins with", el("input", { name: "prefix", type: "search" })),
    field("User", el("input", { name: "username", type: "search" })),
    field("State", el("select", { name: "state" }, ...["all", "connected", "sleeping"].map((s) => el("option", {}, s)))), el("button", { class: "main" }, "Search")),
  columns: (load) => [
    { title: "Client", name: true, value: (c) => el("button", { class: "link", type: "button", onclick: () => showClient(c.client_id, load).catch((e) => notice(e.message)) }, c.client_id) },
    { title: "State", value: (c) => el("span", { class: c.connected ? "state good" : "quiet" }, c.connected ? "connected" : "sleeping") },
    { title: "User", value: (c) => c.username }, { title: "Node", value: (c) => c.node }, { title: "Protocol", value: (c) => c.protocol },
    { title: "Address", value: (c) => c.remote_address }, { title: "Since", value: (c) => time(c.since) },
    { title: "Subscriptions", number: true, value: (c) => (c.subscriptions === undefined ? "–" : number(c.subscriptions)) },
    { title: "In flight", number: true, value: (c) => number(c.in_flight) }],
});

// missing names nodes that did not answer, so that what is shown lacks what they know.
export const missing = (list) => (list && list.length ? el("p", { class: "bad", role: "alert" },
  ...list.map((u) => el("span", {}, "Node " + u.node + " did not answer, so what it knows is missing: " + u.error + " "))) : null);

async function showMembers(group) {
  const answer = await get("/subscriptions?" + query({ filter: group.name, limit: pageSize }));
  details(group.name, missing(answer.unanswered), table("Members", [{ title: "Client", name: true, value: (s) => s.client_id },
    { title: "QoS", number: true, value: (s) => String(s.qos) }], answer.subscriptions));
}

// backlog answers how far a client, or a group, is behind.
export const backlog = async (main) => {
  const id = el("input", { name: "id", type: "search", required: true });
  const body = el("div");
  const look = (client) => showClient(client, load).catch((e) => notice(e.message));
  const load = async () => {
    const [sum, groups] = await Promise.all([get("/backlog"), get("/groups?" + query({ limit: pageSize }))]);
    body.replaceChildren(...[missing(sum.unanswered),
      el("section", { class: "panel scroll" }, el("h3", {}, "Furthest behind"),
        el("p", { class: "quiet" }, sum.counted ? number(sum.messages) + " messages wait for " + number(sum.behind) + " of " + number(sum.sessions) + " sessions, counted " + time(sum.counted) + "." : "The nodes are counting."),
        table("Furthest behind", [{ title: "Client", name: true, value: (w) => el("button", { class: "link", type: "button", onclick: () => look(w.client_id) }, w.client_id) },
          { title: "Messages", number: true, value: (w) => number(w.messages) }], sum.largest)),
      el("section", { class: "panel scroll" }, el("h3", {}, "Shared groups"), table("Shared groups", [
        { title: "Group", name: true, value: (g) => el("button", { class: "link", type: "button", onclick: () => showMembers(g).catch((e) => notice(e.message)) }, g.name) },
        { title: "Members", number: true, value: (g) => number(g.members) }, { title: "Messages", number: true, value: (g) => number(g.backlog) }], groups.groups))].filter(Boolean));
  };
  main.replaceChildren(el("h2", {}, "Backlog"), el("form", { class: "bar", role: "search", onsubmit: (e) => { e.preventDefault(); look(id.value); } },
    field("How far is this client behind?", id), el("button", { class: "main" }, "Show")), body);
  await load();
};

export const topics = async (main) => {
  const name = el("input", { name: "name", required: true });
  const body = el("div", { class: "panel scroll" });
  const load = async () => {
    const list = (await get("/topics")).topics;
    body.replaceChildren(table("Topics", [{ title: "First-level topic", name: true, value: (t) => t.name },
      { title: "Queues", number: true, value: (t) => number(t.queues) }, { title: "Brokers", value: (t) => (t.brokers || []).join(", ") },
      ...changing((t) => el("button", { type: "button", class: "danger", onclick: async () => {
        if (await ask("Delete " + t.name + " with all its messages?", "Delete") && await run("Deleted.", () => call("DELETE", "/topics/" + encodeURIComponent(t.name)))) load();
      } }, "Delete"))], list));
  };
  const create = !mayChange() ? "" : el("form", { class: "bar", onsubmit: async (e) => {
    e.preventDefault();
    if (await run("Created.", () => call("POST", "/topics", { name: name.value }))) { name.value = ""; load(); }
  } }, field("New first-level topic", name), el("button", { class: "main" }, "Create"));
  main.replaceChildren(el("h2", {}, "Topics"), create, body);
  await load();
};

async function showRetained(topic, reload) {
  const m = await get("/retained/message?" + query({ topic }));
  const d = details(topic, el("pre", { class: "log" }, m.payload === undefined ? "base64: " + m.payload_base64 : m.payload),
    !mayChange() ? null : el("div", { class: "actions" }, el("button", { type: "button", class: "danger", onclick: async () => {
      if (await ask("Remove what is retained for " + topic + "?", "Remove") && await run("Removed.", () => call("DELETE", "/retained/message?" + query({ topic })))) { d.close(); reload(false); }
    } }, "Remove")));
}

export const retained = (main) => listing(main, {
  title: "Retained messages", path: "/retained", key: "retained",
  form: el("form", { class: "bar", role: "search" }, field("Topic filter", el("input", { name: "filter", value: "#" })), el("button", { class: "main" }, "Search")),
  columns: (load) => [
    { title: "Topic", name: true, value: (m) => el("button", { class: "link", type: "button", onclick: () => showRetained(m.topic, load).catch((e) => notice(e.message)) }, m.topic) },
    { title: "Bytes", number: true, value: (m) => number(m.size) }, { title: "QoS", number: true, value: (m) => String(m.qos) },
    { title: "Publisher", value: (m) => m.publisher }, { title: "Since", value: (m) => time(m.created) }, { title: "Expires", value: (m) => time(m.expires) }],
});

const amount = (v, unit) => (unit === "bytes" ? number(v / 1048576) + " MiB" : number(v) + (unit === "per second" ? "/s" : ""));

export const limits = async (main) => {
  const list = (await get("/limits")).limits;
  main.replaceChildren(el("h2", {}, "Limits of this node"), el("div", { class: "panel scroll" }, table("Limits", [
    { title: "Bound", name: true, value: (b) => b.key }, { title: "Of what", value: (b) => b.what },
    { title: "Use", number: true, value: (b) => (b.use === undefined ? "–" : amount(b.use, b.unit)) },
    { title: "Limit", number: true, value: (b) => (b.limit > 0 ? amount(b.limit, b.unit) : "–") },
    { title: "", value: (b) => (b.limit > 0 && b.use !== undefined ? el("meter", { min: 0, max: b.limit, high: b.limit * 0.85, value: b.use, "aria-label": "Use of " + b.key }) : "") },
    { title: "Effects", number: true, value: (b) => number(b.effects) },
    { title: "Most of it", value: (b) => (b.consumers || []).map((c) => c.name + " (" + number(c.use) + ")").join(", ") }], list)));
};

// bans lists who is kept out, with a button that lets them in.
async function bans(place) {
  const list = await get("/bans?" + query({ limit: pageSize }));
  const columns = [{ title: "Kind", value: (b) => b.kind }, { title: "Name", name: true, value: (b) => b.name }, { title: "Until", value: (b) => time(b.until) },
    { title: "Nodes", value: (b) => b.nodes.join(", ") }, { title: "Reason", value: (b) => b.reason },
    ...changing((b) => el("button", { type: "button", class: "danger", onclick: async () => {
      if (await ask("Let " + b.name + " in again?", "End the ban") && await run("The ban is over.", () => call("DELETE", "/bans/" + b.kind + "/" + encodeURIComponent(b.name)))) await bans(place);
    } }, "End"))];
  place.replaceChildren(...[el("h3", {}, "Banned"), missing(list.unanswered), table("Banned", columns, list.bans)].filter(Boolean));
}

export const recent = async (main) => {
  const id = el("input", { name: "client_id", type: "search" });
  const kind = el("select", { name: "kind" }, el("option", { value: "" }, "all"), el("option", {}, "refused"), el("option", {}, "disconnected"));
  const body = el("section", { class: "panel scroll" }), banned = el("section", { class: "panel scroll" });
  const load = async () => {
    const { events, unanswered } = await get("/recent?" + query({ client_id: id.value, kind: kind.value }));
    body.replaceChildren(...[missing(unanswered), table("Recent", [
      { title: "Time", value: (e) => time(e.time) },
      { title: "What", value: (e) => el("span", { class: e.kind === "refused" ? "bad" : "" }, e.kind + (e.packet ? " " + e.packet : "")) },
      { title: "Client", name: true, value: (e) => e.client_id }, { title: "User", value: (e) => e.username }, { title: "Node", value: (e) => e.node },
      { title: "Address", value: (e) => e.remote_address }, { title: "Topic", value: (e) => e.topic }, { title: "Reason", value: (e) => e.reason }, { title: "Cause", value: (e) => e.cause }], events)].filter(Boolean));
  };
  main.replaceChildren(el("h2", {}, "Recent refusals and disconnections"),
    el("form", { class: "bar", role: "search", onsubmit: (e) => { e.preventDefault(); load().catch((err) => notice(err.message)); } },
      field("Client id", id), field("What", kind), el("button", { class: "main" }, "Search")), body, banned);
  await Promise.all([load(), bans(banned)]);
};

export const system = async (main) => {
  const [info, nodes, plugins, level] = await Promise.all([get("/info"), get("/nodes"), get("/plugins"), get("/log-level")]);
  const choose = el("select", { disabled: !mayChange(), onchange: () => run("Log level is " + choose.value + ".", () => call("PUT", "/log-level", { level: choose.value })) },
    ...["debug", "info", "warn", "error"].map((l) => el("option", { selected: l === level.level }, l)));
  main.replaceChildren(el("h2", {}, "Nodes and plugins"),
    el("section", { class: "panel scroll" }, el("h3", {}, "Nodes"), table("Nodes", [{ title: "Node", name: true, value: (n) => n.id },
      { title: "Version", value: (n) => n.version }, { title: "State", value: (n) => el("span", { class: n.state === "ready" ? "state good" : "state bad" }, n.state || "does not answer") },
      { title: "Connections", number: true, value: (n) => number(n.connections) }, { title: "Started", value: (n) => time(n.started) },
      { title: "", value: (n) => (n.self ? "answers you" : n.error) }], nodes.nodes)),
    el("section", { class: "panel scroll" }, el("h3", {}, "Plugins"), table("Plugins", [{ title: "Plugin", name: true, value: (p) => p.name },
      { title: "Kind", value: (p) => p.kind }, { title: "Version", value: (p) => p.version },
      { title: "State", value: (p) => el("span", { class: p.state === "running" ? "state good" : "state bad" }, p.state) },
      { title: "Restarts", number: true, value: (p) => number(p.restarts) }, { title: "Calls", number: true, value: (p) => number(p.calls) },
      { title: "Errors", number: true, value: (p) => number(p.errors) }, { title: "Last error", value: (p) => p.last_error }], plugins.plugins)),
    el("section", { class: "panel" }, el("h3", {}, "This node"), el("dl", {}, ...[["Version", info.version], ["Up since", time(info.started)],
      ["Store", info.store], ["Metadata", info.meta], ["Authentication", info.auth]].flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)])),
    field("Log level, until the node ends", choose)));
};
