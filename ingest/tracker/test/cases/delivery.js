// What the queue is for: the network, the server and the load.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const names = (rows) => rows.map((r) => r.name + (r.payload.i ?? ""));
const numbered = (name, n) => Array.from({ length: n }, (_, i) => name + i);

export async function normal({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag()));
  const results = await page.evaluate(async () => [
    await keystone.track("Added to Cart", { product_id: "P-1", price: 9.5 }),
    await keystone.identify({ email: "ann@example.com", crm_id: 7 }, { city: "Rome" }),
    await keystone.page("Home"),
  ]);
  const rows = await v.nothingLost(4);
  for (const r of results) assert.deepEqual(r, { ok: true, status: 200, message_id: r.message_id });
  assert.deepEqual(rows.map((r) => r.name), ["", "Added to Cart", "", "Home"]);
  assert.deepEqual(rows.slice(1).map((r) => r.id), results.map((r) => r.message_id));
  assert.deepEqual(rows.map((r) => r.identity && JSON.parse(r.identity).crm_id), ["", "", 7, 7]);
  assert.equal(v.requests.length, 4);
  const c = rows[1].context;
  assert.equal(c.page.title, "Shop");
  assert.equal(c.library.name, "keystone.js");
  assert.ok(c.screen.width > 0 && c.timezone && c.locale && c.session_id && c.page.url.startsWith(site.origin));
  assert.equal(new Set(rows.map((r) => r.context.session_id)).size, 1);
}

export async function calls_before_the_script_are_replayed_in_order({ visitor: v, site, tag }) {
  const stub = `<script>window.keystone = window.keystone || [];
    keystone.push(["track", "one"]); keystone.push(["identify", "ann@example.com"], ["track", "two"]);</script>`;
  await v.drained(await v.open(site.add(stub + tag('data-page="off"'))));
  assert.deepEqual((await v.nothingLost(3)).map((r) => r.name), ["one", "", "two"]);
}

export async function offline_for_a_while({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag()));
  await v.drained(page);
  await v.context.setOffline(true);
  const retried = page.evaluate(() => new Promise((failed) => keystone.on("retry", failed)));
  await v.track(page, "offline", 20);
  assert.equal((await retried).status, 0);
  assert.equal(await page.evaluate(() => keystoneData.length), 20);
  await v.context.setOffline(false);
  await v.drained(page);
  assert.deepEqual(names(await v.nothingLost(21)).slice(1), numbered("offline", 20));
}

export async function five_percent_of_requests_fail({ visitor: v, site, tag }) {
  const how = ["abort", { status: 503 }, "lost", { status: 429, headers: { "Retry-After": "0" } }];
  await v.fail((n) => (n % 20 ? undefined : how[(n / 20) % 4]));
  const page = await v.open(site.add(tag('data-retry-ms="100"')));
  await v.track(page, "some", 300);
  await v.drained(page);
  await v.track(page, "report");
  await v.drained(page);
  const rows = await v.nothingLost(302);
  // In order all the same, and counted.
  assert.deepEqual(names(rows).slice(1, 301), numbered("some", 300));
  assert.ok(v.requests.length > 302, "nothing failed");
  const { queued, sent, retried, dropped, storage } = rows[301].context.tracker;
  assert.deepEqual({ queued, sent, dropped, storage }, { queued: 302, sent: 301, dropped: {}, storage: "local" });
  assert.equal(retried, v.requests.length - 302);
}

export async function the_server_dies_in_mid_journey({ visitor: v, site, tag, pipeline }) {
  const page = await v.open(site.add(tag('data-retry-ms="200"')));
  await v.drained(page);
  // An event every 40 ms, over the death and the restart: on a slow machine that lasts, and all of them go one after the other.
  await page.evaluate(() => {
    let i = 0;
    window.ticking = setInterval(() => keystone.track("tick", { i: i++ }), 40);
  });
  await page.waitForFunction(() => keystone.counters().sent > 30);
  await pipeline.kill();
  await page.waitForFunction(() => keystoneData.length > 30);
  await pipeline.restart();
  await page.evaluate(() => clearInterval(window.ticking));
  await v.drained(page);
  const rows = await v.nothingLost();
  assert.deepEqual(names(rows).slice(1), numbered("tick", rows.length - 1));
}

export async function a_burst_of_1000({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag()));
  await v.track(page, "burst", 1000);
  await v.drained(page);
  assert.deepEqual(names(await v.nothingLost(1001)).slice(1), numbered("burst", 1000));
  assert.equal(v.requests.length, 1001);
}

export async function two_tabs_send_each_event_once({ visitor: v, site, tag }) {
  const url = site.add(tag());
  const [a, b] = [await v.open(url), await v.open(url)];
  await Promise.all([v.drained(a), v.drained(b)]);
  let down = true;
  let passed = 0;
  await v.fail(() => (down ? "abort" : void passed++));
  await Promise.all([v.track(a, "a", 150), v.track(b, "b", 150)]);
  // While all are pending, each looks for events of tabs that are gone: the other is not.
  for (const page of [a, b]) {
    await page.evaluate(() => (window.dispatchEvent(new Event("online")), navigator.locks.query()));
    assert.equal(await page.evaluate(() => keystoneData.length), 150);
  }
  down = false;
  await Promise.all([v.drained(a), v.drained(b)]);
  const rows = await v.nothingLost(302);
  assert.equal(v.who.size, 1, "two tabs, one visitor");
  assert.equal(passed, 300);
  for (const tab of ["a", "b"]) assert.deepEqual(names(rows.filter((r) => r.name === tab)), numbered(tab, 150));
}

export async function a_server_that_asks_for_time_gets_it({ visitor: v, site, tag }) {
  const times = [];
  await v.fail((n) => (times.push(Date.now()), n === 1 ? { status: 429, headers: { "Retry-After": "2" } } : undefined));
  await v.drained(await v.open(site.add(tag('data-retry-ms="10"'))));
  await v.nothingLost(1);
  assert.ok(times[1] - times[0] >= 2000, `again after ${times[1] - times[0]} ms`);
}

export async function an_answer_that_is_not_the_edges_is_none({ visitor: v, site, tag }) {
  await v.fail((n) => (n === 1 ? { status: 200 } : undefined)); // a hotel network's
  await v.drained(await v.open(site.add(tag('data-retry-ms="10"'))));
  await v.nothingLost(1);
  assert.equal(v.requests.length, 2);
}

export async function what_is_refused_is_not_sent_again({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag('data-page="off"')));
  await v.fail((n) => (n === 1 ? { status: 400 } : n === 2 ? { status: 413 } : undefined));
  const results = await page.evaluate(() => Promise.all([1, 2, 3].map((i) => keystone.track("x", { i }))));
  assert.deepEqual(results.map((r) => r.reason || r.ok), ["http_400", "http_413", true]);
  assert.equal(v.requests.length, 3);
  assert.deepEqual(await page.evaluate(() => keystone.counters().dropped), { http_400: 1, http_413: 1 });
}

export async function the_oldest_go_first_when_it_is_full({ visitor: v, site, tag, pipeline }) {
  const page = await v.open(site.add(tag('data-page="off" data-max-events="5"')));
  await v.fail(() => "abort");
  const reasons = page.evaluate(async () => {
    const all = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => keystone.track("x", { i }));
    return (await all[1]).reason;
  });
  assert.equal(await reasons, "overflow");
  await v.mend();
  await page.evaluate(() => keystone.flush());
  const rows = await v.rows();
  // The first was on its way when the others came.
  assert.deepEqual(names(rows), ["x0", "x4", "x5", "x6", "x7"]);
  assert.deepEqual(await page.evaluate(() => keystone.counters().dropped), { overflow: 3 });
  // An operator sees it, by the question in the documentation.
  await page.evaluate(() => keystone.track("report"));
  await pipeline.settle();
  const text = await readFile(new URL("../../../../docs/tracker.md", import.meta.url), "utf8");
  const [[queued, lost]] = await pipeline.sql(text.match(/```sql\n([^`]*)```/)[1]);
  assert.ok(queued >= 9 && lost >= 3, `${queued} queued, ${lost} lost`);
}

export async function bad_calls_are_refused_and_said({ visitor: v, site, tag }) {
  const said = [];
  v.context.on("console", (m) => said.push(m.text()));
  const run = async (attributes) => {
    const page = await v.open(site.add(tag('data-page="off" ' + attributes)));
    return page.evaluate(async () => {
      const cycle = {};
      cycle.self = cycle;
      const k = keystone;
      const calls = [k.track(), k.track(" "), k.track("x", "y"), k.track("x", []), k.page({}), k.identify(""), k.identify(NaN), k.consent("x"), k.track("x", cycle), k.track("x", { n: 1n })];
      k.push(["nonsense"]);
      k.push(["on", "sent", "not a function"]);
      const results = await Promise.all([...calls, k.track("big", { s: "x".repeat(1e6) })]);
      return [k.counters().queued, ...results.map((r) => r.reason)];
    });
  };
  const want = [10, ...Array(10).fill("invalid"), "too_large"]; // consent is no event
  assert.deepEqual(await run(""), want);
  assert.deepEqual(said, []);
  assert.deepEqual(await run("data-debug"), [20, ...want.slice(1)]);
  assert.equal(said.length, 13, said.join("\n"));
  assert.deepEqual(v.requests, []);
  assert.deepEqual(v.errors, []);
}
