// Small pieces for building pages. Text from the gateway is always set as text, never as markup.

export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k === "class") e.className = v;
    else if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (k in e && k !== "list") e[k] = v;
    else e.setAttribute(k, v);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

export function table(caption, columns, rows) {
  if (!rows.length) return el("p", { class: "quiet" }, "Nothing to show.");
  return el("table", { "aria-label": caption },
    el("thead", {}, el("tr", {}, ...columns.map((c) => el("th", { scope: "col", class: c.number ? "number" : "" }, c.title)))),
    el("tbody", {}, ...rows.map((r) => el("tr", {}, ...columns.map((c) => {
      const v = c.value(r);
      return el("td", { class: c.number ? "number" : c.name ? "name" : "" }, v === null || v === undefined || v === "" ? "–" : v);
    })))));
}

export const field = (text, input) => el("label", {}, text, input);

export const number = (n) => (n === null || n === undefined || Number.isNaN(n) ? "–" : n >= 100 || Number.isInteger(n) ? Math.round(n).toLocaleString() : n.toFixed(1));

export const time = (t) => (t ? new Date(t).toLocaleString() : "–");

export const milliseconds = (s) => (s === null ? "–" : s < 0.01 ? (s * 1000).toFixed(2) + " ms" : s < 1 ? Math.round(s * 1000) + " ms" : s.toFixed(1) + " s");

let fading;
export function notice(text) {
  document.getElementById("notice").replaceChildren(el("p", {}, text));
  clearTimeout(fading);
  fading = setTimeout(() => document.getElementById("notice").replaceChildren(), 6000);
}

// ask shows a question in a dialog and resolves to whether it was confirmed.
export function ask(question, confirm) {
  return new Promise((resolve) => {
    const d = el("dialog", { onclose: () => { resolve(d.returnValue === "yes"); d.remove(); } },
      el("form", { method: "dialog" }, el("p", {}, question),
        el("div", { class: "actions" }, el("button", { value: "yes", class: "danger" }, confirm), el("button", { value: "no" }, "Cancel"))));
    document.body.append(d);
    d.showModal();
  });
}

// details shows content in a dialog.
export function details(title, ...content) {
  const d = el("dialog", { onclose: () => d.remove(), "aria-label": title },
    el("h2", {}, title), ...content, el("form", { method: "dialog", class: "actions" }, el("button", {}, "Close")));
  document.body.append(d);
  d.showModal();
  return d;
}
