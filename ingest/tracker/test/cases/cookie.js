// The cookie that the edge sets again, on a deployment of the page's own site. Browsers that cap what a script
// has written are played here by a page whose document.cookie keeps nothing for longer than a week, as Safari's does.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { Way } from "../site.js";

const DAY = 86400;

const capped = () => {
  const own = Object.getOwnPropertyDescriptor(Document.prototype, "cookie");
  Object.defineProperty(Document.prototype, "cookie", {
    ...own,
    set(text) {
      own.set.call(this, text.replace(/max-age=(\d+)/i, (_, s) => `max-age=${Math.min(s, 7 * 86400)}`));
    },
  });
};

/** Whether the edge sets a cookie when something in the page has it asked. (The page reads no body, so there is none to see.) */
const renewed = async (page, f) => {
  const answer = page.waitForResponse((r) => r.url().includes("/v1/js/cookie") && r.request().method() === "POST");
  await f();
  return !!(await (await answer).headerValue("set-cookie"));
};

/** The one cookie in the browser's jar, and how many days it has. */
const jar = async (v) => {
  const all = await v.context.cookies();
  assert.ok(all.length <= 1, JSON.stringify(all));
  return all.map((c) => ({ ...c, days: (c.expires - Date.now() / 1000) / DAY }))[0];
};

/** Until the cookie is as it should be: what was called off too late is put right a second later. */
const settled = async (v, is) => {
  for (let i = 0; i < 100 && !is(await jar(v)); i++) await pause(100);
  assert.ok(is(await jar(v)), JSON.stringify(await jar(v)));
};

/** Puts the site, the edge and the way to it on hosts of one site: localhost is trustworthy, so browsers say Sec-Fetch-Site. */
const neighbours = async ({ visitor: v, site, pipeline }, attributes) => {
  await v.context.addInitScript(capped);
  const way = await Way.start(pipeline.edge_url);
  const edge = `http://cdp.shop.localhost:${way.port}`;
  const url = site.add(`<script async src="${edge}/v1/js/tracker.js" data-key="${pipeline.tracker_key}" ${attributes}></script>`);
  return { way, edge, url: url.replace("localhost", "www.shop.localhost") };
};

export async function the_edge_renews_the_cookie(t) {
  const v = t.visitor;
  const { way, url } = await neighbours(t, 'data-cookie="server" data-cookie-domain="shop.localhost"');
  const page = await v.context.newPage();
  assert.ok(await renewed(page, () => v.go(page, url)));
  await v.drained(page);
  const cookie = await jar(v);
  assert.ok(cookie.days > 399 && cookie.days <= 400, `${cookie.days} days`);
  assert.deepEqual(
    [cookie.name, cookie.value, cookie.domain, cookie.path, cookie.sameSite, cookie.httpOnly, cookie.secure],
    ["keystone_id", [...v.who][0], ".shop.localhost", "/", "Lax", false, false],
  );

  // The next page does not make it a script's again, and does not ask again the same day.
  let asked = 0;
  page.on("request", (r) => (asked += r.url().includes("/v1/js/cookie")));
  await v.go(page, url);
  await v.drained(page);
  assert.ok((await jar(v)).days > 399);
  assert.equal(asked, 0);

  // A week and more without script-written storage: the cookie brings the visitor back, on any host of the site.
  await page.evaluate(() => localStorage.clear());
  assert.ok(await renewed(page, () => v.go(page, url.replace("www.", "pay."))));
  await v.drained(page);
  await v.nothingLost(3);
  assert.equal(v.who.size, 1);
  way.stop();
}

export async function without_being_asked_the_edge_sets_no_cookie(t) {
  const v = t.visitor;
  const { way, url } = await neighbours(t, 'data-cookie-domain="shop.localhost"');
  await v.drained(await v.open(url));
  const { days } = await jar(v);
  assert.ok(days > 6 && days <= 7, `${days} days`);
  await v.nothingLost(1);
  way.stop();
}

export async function another_sites_edge_sets_no_cookie({ visitor: v, site, tag }) {
  await v.context.addInitScript(capped);
  const page = await v.context.newPage();
  const url = site.add(tag('data-cookie="server"'));
  assert.ok(!(await renewed(page, () => v.go(page, url))));
  await v.drained(page);
  const cookie = await jar(v);
  assert.ok(cookie.days <= 7 && cookie.domain === "localhost", JSON.stringify(cookie));
  await v.nothingLost(1);
}

/** The edge's answer comes after reset(), or after a no: it must not bring the old visitor back. */
export async function a_late_cookie_is_not_taken(t) {
  const v = t.visitor;
  const { way, url } = await neighbours(t, 'data-cookie="server" data-cookie-domain="shop.localhost" data-page="off"');
  const page = await v.open(url);
  const late = async (f) => {
    way.hold("/v1/js/cookie");
    await page.evaluate(() => {
      keystone.reset();
      keystone.anonymousId();
    });
    const before = await page.evaluate(() => keystone.anonymousId());
    await way.holds();
    await page.evaluate(f);
    const after = page.evaluate(() => keystone.track("after"));
    way.open();
    await after;
    return before;
  };
  // What it would have done, had nobody changed their mind.
  let before = await late(() => 0);
  await page.waitForFunction(() => localStorage["keystone.renewed"]);
  const cookie = await jar(v);
  assert.deepEqual([cookie.value, cookie.days > 399], [before, true]);

  before = await late(() => {
    keystone.reset();
    keystone.anonymousId();
  });
  const id = await page.evaluate(() => keystone.anonymousId());
  assert.notEqual(id, before);
  await settled(v, (cookie) => cookie?.value === id && cookie.days > 399);
  await v.nothingLost(2);

  await late(() => keystone.consent("denied"));
  await v.context.request.get(t.pipeline.edge_url + "/v1/js/tracker.js"); // the network has had its turn
  await settled(v, (cookie) => !cookie);
  way.stop();
}

/** The answer was through the browser's network when it was called off: a race, played here by the test's own hand. */
export async function an_answer_called_off_too_late_is_put_right(t) {
  const v = t.visitor;
  const { way, url } = await neighbours(t, 'data-cookie="server" data-cookie-domain="shop.localhost" data-page="off"');
  // The second after which it is put right is over when the test says so: the answer comes before.
  await v.context.addInitScript(() => {
    const own = window.setTimeout;
    const held = [];
    window.setTimeout = (f, ms, ...args) => (ms === 1000 ? held.push(f) : own(f, ms, ...args));
    window.aSecondLater = () => held.splice(0).forEach((f) => f());
  });
  const page = await v.open(url);
  const comesLate = async (cookie) => {
    await v.context.addCookies([cookie]);
    await page.evaluate(() => window.aSecondLater());
  };
  const before = await page.evaluate(() => keystone.anonymousId());
  await settled(v, (cookie) => cookie?.days > 399);
  const old = await jar(v);

  const after = await page.evaluate(() => (keystone.reset(), keystone.anonymousId()));
  await settled(v, (cookie) => cookie?.value === after && cookie.days > 399);
  await page.evaluate(() => keystone.reset());
  await comesLate(old);
  await settled(v, (cookie) => !cookie);
  const next = await page.evaluate(() => (keystone.reset(), keystone.anonymousId()));
  await comesLate(old);
  await settled(v, (cookie) => cookie?.value === next && cookie.days > 399);
  assert.equal(new Set([before, after, next]).size, 3);

  await page.evaluate(() => keystone.consent("denied"));
  await comesLate(old);
  await settled(v, (cookie) => !cookie);
  way.stop();
}
