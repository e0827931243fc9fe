// Pages that make it hard.

import assert from "node:assert/strict";

export async function strict_csp({ visitor: v, site, tag, pipeline }) {
  const policy = `default-src 'none'; script-src ${pipeline.edge_url}; connect-src ${pipeline.edge_url}; require-trusted-types-for 'script'; trusted-types 'none'`;
  await v.context.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (e) => window.violations.push(e.violatedDirective));
  });
  const page = await v.open(site.add(tag('data-autocapture=""'), { "Content-Security-Policy": policy }));
  await v.track(page, "strict", 5);
  await v.drained(page);
  assert.deepEqual(await page.evaluate(() => window.violations), []);
  await v.nothingLost(6);
}

export async function sandboxed_frame({ visitor: v, site, tag }) {
  const inner = site.add(tag());
  const page = await v.context.newPage();
  await page.goto(site.add(`<iframe sandbox="allow-scripts" src="${inner}"></iframe>`));
  const frame = page.frames()[1];
  await frame.waitForFunction(() => window.keystone && keystone.track);
  await frame.evaluate(() => keystone.track("boxed"));
  const rows = await v.nothingLost(2);
  assert.equal(rows[1].context.tracker.storage, "memory");
  assert.equal(v.who.size, 1);
}

export async function storage_is_blocked({ visitor: v, site, tag }) {
  await v.context.addInitScript(() => {
    const blocked = { get() { throw new DOMException("blocked", "SecurityError"); }, set() { throw new DOMException("blocked", "SecurityError"); } };
    Object.defineProperty(window, "localStorage", blocked);
    Object.defineProperty(Document.prototype, "cookie", blocked);
  });
  const page = await v.open(site.add(tag()));
  await v.fail((n) => (n === 1 ? "abort" : undefined));
  await v.track(page, "blocked", 10);
  await v.drained(page);
  await v.nothingLost(11);
  assert.equal(v.who.size, 1, "memory keeps the id");
}

export async function storage_is_full({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag()));
  await v.drained(page);
  await page.evaluate(() => {
    for (let size = 1 << 22; size >= 1; size >>= 1) {
      try {
        for (let i = 0; ; i++) localStorage.setItem(`fill-${size}-${i}`, "x".repeat(size));
      } catch {}
    }
  });
  await v.fail((n) => (n < 3 ? "abort" : undefined));
  await v.track(page, "full", 10);
  await v.drained(page);
  await v.nothingLost(11);
}

export async function the_clock_is_wrong({ visitor: v, site, tag }) {
  await v.context.addInitScript(() => {
    const now = Date.now;
    const Real = Date;
    const error = -3 * 86400000;
    window.Date = class extends Real {
      constructor(...args) {
        super(...(args.length ? args : [now() + error]));
      }
      static now() {
        return now() + error;
      }
    };
  });
  const page = await v.open(site.add(tag()));
  await v.drained(page);
  // A second late, by a network that fails: the time of the event is still when it happened.
  await v.fail((n) => (n === 1 ? { status: 503, headers: { "Retry-After": "1" } } : undefined));
  await v.track(page, "late", 1);
  await v.drained(page);
  const rows = await v.nothingLost(2);
  const errors = rows.map((r) => r.received - r.timestamp);
  // By days, were it the clock's; on a machine under load some seconds are spent in the page.
  assert.ok(Math.abs(errors[0]) < 60_000 && errors[1] >= 900 && errors[1] < 60_000, errors.join());
}

export async function loaded_twice({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag() + tag()));
  await page.evaluate(([src, key]) => new Promise((loaded) => {
    const again = document.createElement("script");
    Object.assign(again, { src, onload: loaded });
    again.dataset.key = key;
    document.head.append(again);
  }), [v.pipeline.edge_url + "/v1/js/tracker.js", v.pipeline.tracker_key]);
  await v.track(page, "once");
  await v.drained(page);
  await v.nothingLost(2);
}

export async function fetch_is_overridden_later({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag()));
  await page.evaluate(() => {
    window.fetch = () => { throw new Error("not for you"); };
    window.setTimeout = () => 0;
    JSON.parse = () => ({});
  });
  await v.track(page, "mine");
  await v.nothingLost(2);
}

export async function fetch_is_broken_from_the_start({ visitor: v, site, tag }) {
  await v.context.addInitScript(() => (window.fetch = () => Promise.reject(new TypeError("mocked"))));
  const page = await v.open(site.add(tag()));
  await v.fail((n) => (n === 2 ? { status: 503 } : undefined));
  await v.track(page, "by request", 5);
  await v.drained(page);
  await v.nothingLost(6);
}

export async function prototypes_are_frozen({ visitor: v, site, tag }) {
  const freeze = `<script>for (const C of [Object, Array, Function, String, Promise, Map, Set, Error, History, Storage, EventTarget, Document, Response, Request]) {
    Object.freeze(C.prototype); Object.freeze(C);
  }</script>`;
  const page = await v.open(site.add(freeze + tag('data-autocapture=""')));
  await v.track(page, "frozen", 3);
  await page.evaluate(() => history.pushState(null, "", "/page/other"));
  await page.waitForFunction(() => keystone.counters().queued === 5);
  await v.drained(page);
  await v.nothingLost(5);
}

export async function a_listener_that_throws_is_alone({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag()));
  await page.evaluate(() => {
    for (const name of ["queued", "sent", "retry", "dropped"]) keystone.on(name, () => { throw new Error("mine"); });
    return keystone.track("x");
  });
  await v.nothingLost(2);
}
