// A shop of one page, and the console beside it.
"use strict";

const products = [
  { product_id: "P-1", name: "Yirgacheffe, 250 g", price: 11.5 },
  { product_id: "P-2", name: "Huehuetenango, 250 g", price: 10.9 },
  { product_id: "P-3", name: "Hand grinder", price: 64 },
  { product_id: "P-4", name: "Dripper, size 2", price: 18.5 },
];
const cart = [];
const tracker = () => window.keystone; // an array until the script has loaded

/** Makes an element; text goes in as text, so that nothing has to be escaped. */
const make = (name, attributes = {}, ...children) => {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) k.startsWith("on") ? e.addEventListener(k.slice(2), v) : e.setAttribute(k, v);
  e.append(...children);
  return e;
};
const money = (n) => n.toFixed(2) + " €";
const track = (name, properties) => tracker().push(["track", name, properties]);

const add = (p) => {
  cart.push(p);
  document.getElementById("count").textContent = cart.length;
  track("Product Added", { ...p, quantity: 1, currency: "EUR" });
};

const order = () => {
  const lines = cart.splice(0).map((p) => ({ ...p, quantity: 1 }));
  document.getElementById("count").textContent = 0;
  const revenue = Number(lines.reduce((sum, p) => sum + p.price, 0).toFixed(2));
  track("Order Completed", { order_id: "D-" + Date.now(), revenue, currency: "EUR", products: lines });
  go("/thanks");
};

const login = (e) => {
  e.preventDefault();
  tracker().push(["identify", e.target.elements.email.value]);
};

const views = {
  "/": () => [
    make("h1", {}, "Fresh this week"),
    make("div", { class: "grid" }, ...products.map((p) =>
      make("div", { class: "card" },
        make("h3", {}, make("a", { href: "/product/" + p.product_id, "data-route": "" }, p.name)),
        make("p", {}, money(p.price)),
        make("button", { onclick: () => add(p) }, "Add to cart")))),
    make("form", { id: "login", onsubmit: login },
      make("input", { name: "email", type: "email", required: "", placeholder: "ann@example.com", "aria-label": "E-mail" }),
      make("button", {}, "Log in"),
      make("button", { type: "button", class: "plain", onclick: () => tracker().push(["reset"]) }, "Log out")),
    make("p", {}, make("a", { href: "https://example.com/", target: "_blank", rel: "noopener" }, "An outbound link")),
  ],
  "/cart": () => [
    make("h1", {}, "Cart"),
    cart.length ? make("ul", {}, ...cart.map((p) => make("li", {}, `${p.name}, ${money(p.price)}`))) : make("p", {}, "Empty."),
    ...(cart.length ? [make("button", { onclick: order }, "Order")] : [make("a", { href: "/", "data-route": "", class: "button" }, "Back to the shop")]),
  ],
  "/thanks": () => [make("h1", {}, "Thank you"), make("a", { href: "/", "data-route": "", class: "button" }, "Back to the shop")],
};

const detail = (path) => {
  const p = products.find((p) => path === "/product/" + p.product_id);
  if (!p) return views["/"]();
  return [make("h1", {}, p.name), make("p", {}, money(p.price)), make("button", { onclick: () => add(p) }, "Add to cart")];
};

const show = () => {
  const path = location.pathname;
  document.getElementById("shop").replaceChildren(...(views[path] || (() => detail(path)))());
  document.title = "Keystone Coffee " + path;
};

const go = (path) => {
  history.pushState(null, "", path);
  show();
};

addEventListener("popstate", show);
document.addEventListener("click", (e) => {
  const a = e.target.closest("a[data-route]");
  if (!a || e.metaKey || e.ctrlKey) return;
  e.preventDefault();
  go(a.pathname);
});
show();

// The console: what the tracker says of each event, and what ClickHouse has of it.
const rows = new Map(); // message id → its cells

const line = (e) => {
  if (rows.has(e.message_id)) return;
  const browser = make("span", { class: "state" }, "queued");
  const stored = make("span", { class: "state" }, "–");
  const name = e.event_name || (e.event_type === "page" ? "page " + e.context.page.path : e.event_type);
  rows.set(e.message_id, { browser, stored });
  document.getElementById("events").prepend(make("tr", {}, make("td", {}, name), make("td", {}, browser), make("td", {}, stored)));
};

const mark = (cell, text, kind) => {
  cell.textContent = text;
  cell.className = "state " + kind;
};

const total = (k) => {
  const c = k.counters();
  const dropped = Object.values(c.dropped).reduce((a, b) => a + b, 0);
  document.getElementById("who").textContent = "anonymous_id " + k.anonymousId();
  document.getElementById("counters").textContent =
    `queued ${c.queued} · sent ${c.sent} · retried ${c.retried} · dropped ${dropped} · pending ${window.keystoneData.length}`;
};

const look = async (k) => {
  try {
    const answer = await fetch("/rows?anonymous_id=" + encodeURIComponent(k.anonymousId()));
    for (const r of answer.ok ? await answer.json() : []) {
      const row = rows.get(r.message_id);
      if (row) mark(row.stored, "profile " + r.profile_id.slice(0, 8), "stored");
    }
  } catch {} // asked again in a second
  setTimeout(look, 1000, k);
};

window.keystone = window.keystone || [];
tracker().push((k) => {
  /** Listens, and shows the event's state in its row where it has one. */
  const on = (name, text) =>
    k.on(name, (r) => {
      const row = rows.get(r.message_id);
      if (row) mark(row.browser, text(r), name);
      total(k);
    });
  k.on("queued", (e) => (line(e), total(k)));
  on("sent", () => "sent");
  on("retry", (r) => `again in ${Math.round(r.wait_ms / 100) / 10} s`);
  on("dropped", (r) => r.reason);
  window.keystoneData.forEach(line);
  total(k);
  look(k);
});
