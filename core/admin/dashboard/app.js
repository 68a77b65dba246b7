import { get, mayChange, Refused, setRole, setToken, token } from "./api.js";
import { el, field, notice } from "./dom.js";
import { overview, read } from "./overview.js";
import { backlog, clients, limits, recent, retained, system, topics } from "./pages.js";
import { trace } from "./trace.js";
import { tryit } from "./tryit.js";

const pages = {
  overview: ["Overview", overview], clients: ["Clients", clients], backlog: ["Backlog", backlog], topics: ["Topics", topics], retained: ["Retained", retained],
  recent: ["Recent", recent], trace: ["Trace", trace], limits: ["Limits", limits], system: ["Nodes and plugins", system], try: ["Try it", tryit],
};
const main = document.getElementById("main");
let leaving = new AbortController();

function login(why) {
  const input = el("input", { type: "password", name: "token", required: true, autocomplete: "current-password" });
  document.getElementById("nav").replaceChildren();
  document.getElementById("logout").hidden = true;
  main.replaceChildren(el("form", { class: "panel login", onsubmit: (e) => { e.preventDefault(); setToken(input.value.trim()); show(); } },
    el("h2", {}, "Log in"), el("p", { class: "quiet" }, "The admin token is admin.token of the configuration, or in the file admin-token in node.data_dir."),
    why ? el("p", { class: "bad", role: "alert" }, why) : null, field("Admin token", input),
    el("div", { class: "actions" }, el("button", { class: "main" }, "Log in"))));
  input.focus();
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  if (!token()) { login(""); return; }
  const name = location.hash.slice(1) in pages ? location.hash.slice(1) : "overview";
  document.getElementById("nav").replaceChildren(...Object.entries(pages).map(([key, [text]]) =>
    el("a", key === name ? { href: "#" + key, "aria-current": "page" } : { href: "#" + key }, text)));
  document.getElementById("logout").hidden = false;
  document.title = pages[name][0] + " – lmqgate";
  try {
    const info = await get("/info");
    setRole(info.role);
    document.getElementById("node").textContent = info.node + " · " + info.version + (mayChange() ? "" : " · read only");
    await pages[name][1](main, leaving.signal);
  } catch (e) {
    if (e instanceof Refused) { setToken(""); login(e.message); return; }
    main.replaceChildren(el("p", { class: "bad", role: "alert" }, e.message));
  }
}

document.getElementById("logout").addEventListener("click", () => { setToken(""); show(); });
window.addEventListener("hashchange", show);
// The plots go on while another page is shown.
setInterval(() => { if (token() && location.hash.slice(1) in pages && location.hash !== "#overview") read().catch(() => {}); }, 2000);
window.addEventListener("unhandledrejection", (e) => notice(e.reason.message));
show();
