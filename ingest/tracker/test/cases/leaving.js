// Pages that end with events pending, however they end.

import assert from "node:assert/strict";

export async function navigation_right_after_an_event({ visitor: v, site, tag }) {
  const elsewhere = site.add("no tracker here");
  const page = await v.open(site.add(tag()));
  await v.drained(page);
  await Promise.all([
    page.waitForURL(elsewhere),
    page.evaluate((url) => {
      for (let i = 0; i < 10; i++) keystone.track("last", { i });
      location.href = url;
    }, elsewhere),
  ]);
  await v.nothingLost(11);
}

export async function closing_the_tab_right_after_an_event({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag()));
  await v.drained(page);
  await v.track(page, "last", 40);
  await page.close({ runBeforeUnload: true }); // as a visitor closes it: pagehide fires
  await v.nothingLost(41);
}

export async function by_beacon_where_fetch_does_not_survive({ visitor: v, site, tag }) {
  await v.context.addInitScript(() => delete Request.prototype.keepalive);
  await navigation_right_after_an_event({ visitor: v, site, tag });
}

export async function reload_with_pending_events({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag('data-page="off"')));
  await v.fail(() => "abort");
  await v.track(page, "before", 30);
  await page.reload();
  await page.waitForFunction(() => window.keystoneData && keystoneData.length === 30);
  await v.track(page, "after");
  await v.mend();
  await v.drained(page);
  // A page that leaves sends all at once, past the order; what comes after it comes after it.
  const rows = await v.nothingLost(31);
  assert.equal(rows.at(-1).name, "after");
}

export async function more_than_a_leaving_page_may_send({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag('data-page="off"')));
  await v.drained(page);
  await page.evaluate(() => {
    for (let i = 0; i < 30; i++) keystone.track("big", { i, text: "x".repeat(10_000) });
    location.reload();
  });
  await page.waitForFunction(() => window.keystone && keystone.track);
  await v.drained(page);
  await v.nothingLost(30);
}

/** The renderer dies with 40 events that no server has seen. */
export async function crash_of_a_tab({ visitor: v, site, tag }) {
  const url = site.add(tag('data-page="off"'));
  const page = await v.open(url);
  let down = true; // of a crashed page no route can be taken back
  await v.fail(() => (down ? "abort" : undefined));
  await v.track(page, "doomed", 40);
  const crashed = page.waitForEvent("crash");
  const session = await v.context.newCDPSession(page);
  session.send("Page.crash").catch(() => {}); // has no answer
  await crashed;
  down = false;
  await v.drained(await v.open(url));
  const rows = await v.nothingLost(40);
  assert.deepEqual(rows.map((r) => r.payload.i), [...Array(40).keys()]);
}

export async function another_tab_takes_over({ visitor: v, site, tag }) {
  const url = site.add(tag('data-page="off"'));
  const [dying, living] = [await v.open(url), await v.open(url)];
  await v.fail((_, request) => (request.frame().page() === dying ? "abort" : undefined));
  await v.track(dying, "left", 5);
  await dying.close(); // without pagehide: as good as a crash
  await living.evaluate(() => window.dispatchEvent(new Event("online"))); // else within 15 s
  await living.waitForFunction(() => keystone.counters().sent === 5);
  await v.nothingLost(5);
}

export async function back_forward_cache({ visitor: v, site, tag }) {
  const elsewhere = site.add("no tracker here");
  const page = await v.open(site.add(tag()));
  await v.drained(page);
  await page.evaluate(() => {
    window.sameDocument = true;
    addEventListener("pageshow", (e) => (window.restored = e.persisted));
  });
  await page.goto(elsewhere);
  await page.goBack({ waitUntil: "commit" });
  await page.waitForFunction(() => window.keystone && keystone.track);
  const reasons = await page.evaluate(() => JSON.stringify(performance.getEntriesByType("navigation")[0].notRestoredReasons));
  assert.ok(await page.evaluate(() => window.restored && window.sameDocument), `not from the cache: ${reasons}`);
  await v.track(page, "after");
  await v.drained(page);
  const rows = await v.nothingLost(3); // being seen again is a page view
  assert.deepEqual(rows.map((r) => r.name), ["", "", "after"]);
}

/** A page in the cache with events pending: another page sends them, and the one that wakes does not. */
export async function back_forward_cache_with_pending_events({ visitor: v, site, tag }) {
  const [url, other] = [site.add(tag('data-page="off"')), site.add(tag('data-page="off"'))];
  const page = await v.open(url);
  let down = true;
  await v.fail(() => (down ? "abort" : undefined));
  await page.evaluate(() => {
    window.reasons = [];
    for (let i = 0; i < 5; i++) keystone.track("x", { i }).then((r) => window.reasons.push(r.reason || r.ok));
  });
  await v.go(page, other);
  down = false;
  await page.evaluate(() => keystone.flush());
  await v.drained(page);
  await page.goBack({ waitUntil: "commit" });
  await page.waitForFunction(() => window.keystoneData && window.keystoneData.length === 0);
  const reasons = await page.evaluate(() => window.reasons);
  // A browser that kept no page in its cache has loaded it anew; else each was answered or taken over.
  if (reasons) assert.equal(reasons.length, 5, reasons.join());
  await v.nothingLost(5);
}

export async function without_web_locks({ visitor: v, site, tag }) {
  await v.context.addInitScript(() => Object.defineProperty(navigator, "locks", { value: undefined }));
  await reload_with_pending_events({ visitor: v, site, tag });
}

/** Without locks a tab is dead when it has not written the time for long. */
export async function a_crash_without_web_locks({ visitor: v, site, tag }) {
  const url = site.add(tag('data-page="off"'));
  await v.context.addInitScript(() => Object.defineProperty(navigator, "locks", { value: undefined }));
  const page = await v.open(url);
  await page.evaluate((key) => {
    const leave = (tab, ago, id) => {
      const event = { message_id: id, anonymous_id: keystone.anonymousId(), event_type: "track", event_name: tab, timestamp: new Date() };
      localStorage.setItem(`keystone.q.${key}.${tab}.0.${id}`, JSON.stringify(event));
      if (ago) localStorage.setItem(`keystone.alive.${key}.${tab}`, `${Date.now() - ago} ${tab}`);
    };
    leave("dead", 151_000, crypto.randomUUID());
    leave("retired", 0, crypto.randomUUID());
    leave("alive", 1_000, crypto.randomUUID());
    localStorage.setItem(`keystone.q.${key}.damaged.0.x`, "{");
  }, v.pipeline.tracker_key);
  v.who.add(await page.evaluate(() => keystone.anonymousId()));
  await v.go(page, url);
  await page.waitForFunction(() => keystone.counters().sent === 2);
  await v.drained(page);
  assert.deepEqual((await v.rows()).map((r) => r.name).sort(), ["dead", "retired"]);
  assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).filter((k) => k.startsWith("keystone.q.")).map((k) => k.split(".")[3])), ["alive"]);
}
