// A page without a browser: just enough of one to load tracker.js, with a server that fails first.
// It prints what the server was sent, one JSON value a line.
"use strict";
const fs = require("fs");
const vm = require("vm");

const sent = [];
let failures = 2; // the first answers: no connection, then 503
const stored = {};
const listeners = {};
const page = {
  URL, JSON, Promise, Date, Math, Object, Array, String, encodeURIComponent, console,
  setTimeout: (f) => setTimeout(f, 0), // back-off without waiting
  crypto: { randomUUID: () => "id-" + ++page.made },
  made: 0,
  location: { href: "https://shop.example/cart?x=1" },
  navigator: {
    userAgent: "test", language: "de-DE",
    sendBeacon: (url, body) => sent.push({ beacon: url, body: JSON.parse(body) }),
  },
  document: {
    referrer: "https://search.example/", title: "Cart",
    currentScript: {
      src: "https://cdp.example/in/v1/js/tracker.js",
      getAttribute: (name) => (name === "data-key" ? "ks_trk_test" : null),
    },
  },
  localStorage: {
    getItem: (k) => (k in stored ? stored[k] : null),
    setItem: (k, v) => (stored[k] = v),
    removeItem: (k) => delete stored[k],
  },
  addEventListener: (name, f) => (listeners[name] = f),
  fetch: (url, options) => {
    sent.push({ url, headers: options.headers, body: JSON.parse(options.body) });
    if (failures-- === 2) return Promise.reject(new TypeError("network"));
    const status = failures === 0 ? 503 : JSON.parse(options.body).event_name === "bad" ? 400 : 200;
    return Promise.resolve({ status, ok: status === 200, headers: { get: () => null } });
  },
  keystone: [["track", "before load", { n: 1 }]],
};
page.window = page;
vm.createContext(page);
const source = fs.readFileSync(process.argv[2], "utf8");
vm.runInContext(source, page);
vm.runInContext(source, page); // a page that loads it twice

(async () => {
  const k = page.keystone;
  const results = [await k.identify("ann@example.com", { city: "Rome" }), await k.track("bad"), await k.page("Home")];
  k.reset();
  await k.track("after reset");
  page.fetch = () => new Promise(() => {}); // the connection hangs
  k.track("leaving");
  listeners.pagehide();
  for (const s of sent) console.log(JSON.stringify(s));
  console.log(JSON.stringify({ results, stored: Object.keys(stored) }));
})();
