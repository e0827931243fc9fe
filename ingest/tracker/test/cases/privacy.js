// Consent, and who the visitor is.

import assert from "node:assert/strict";

const traces = (page) => page.evaluate(() => [Object.keys(localStorage).filter((k) => k.startsWith("keystone")).length, document.cookie]);

export async function nothing_before_consent({ visitor: v, site, tag }) {
  const url = site.add(tag('data-consent="required"'));
  const page = await v.open(url);
  await v.track(page, "waiting", 3);
  assert.deepEqual(await traces(page), [0, ""]);
  assert.equal(v.requests.length, 0);
  await page.evaluate(() => keystone.consent("granted"));
  await v.drained(page);
  const [stored, cookie] = await traces(page);
  assert.ok(stored > 0 && cookie.includes([...v.who][0]), `${stored} ${cookie}`);
  // A yes is remembered: the next page waits for nothing.
  await v.go(page, url);
  await v.drained(page);
  await v.nothingLost(5);
  assert.equal(v.who.size, 1);
}

export async function a_no_leaves_nothing({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag()));
  await v.drained(page);
  await v.fail(() => "abort");
  const pending = page.evaluate(() => keystone.track("pending"));
  await page.evaluate(() => keystone.consent("denied"));
  assert.deepEqual(await pending.then((r) => r.reason), "consent");
  assert.equal((await page.evaluate(() => keystone.track("later"))).reason, "consent");
  assert.deepEqual(await traces(page), [0, ""]);
  assert.equal((await v.rows()).length, 1);
}

export async function the_browser_says_no({ visitor: v, site, tag }) {
  await v.context.addInitScript(() => {
    Object.defineProperty(Navigator.prototype, "globalPrivacyControl", { get: () => true });
    Object.defineProperty(Navigator.prototype, "doNotTrack", { get: () => "1" });
  });
  const page = await v.open(site.add(tag()));
  assert.equal((await page.evaluate(() => keystone.track("no"))).reason, "consent");
  assert.deepEqual(await traces(page), [0, ""]);
  await v.go(page, site.add(tag('data-gpc="ignore" data-dnt="respect"')));
  assert.equal((await page.evaluate(() => keystone.track("no"))).reason, "consent");
  assert.equal(v.requests.length, 0);
  await v.go(page, site.add(tag('data-gpc="ignore"')));
  await v.drained(page);
  await v.nothingLost(1);
}

export async function cookie_and_storage_heal_each_other({ visitor: v, site, tag }) {
  const url = site.add(tag());
  const page = await v.open(url);
  await v.drained(page);
  await page.evaluate(() => localStorage.clear());
  await v.go(page, url);
  await v.drained(page);
  await v.context.clearCookies();
  await v.go(page, url);
  await v.drained(page);
  assert.equal(v.who.size, 1);
  const [cookie] = await v.context.cookies();
  assert.deepEqual([cookie.name, cookie.value, cookie.sameSite], ["keystone_id", [...v.who][0], "Lax"]);
  assert.ok(cookie.expires - Date.now() / 1000 > 390 * 86400);
  await v.nothingLost(3);
}

export async function a_cookie_domain_that_is_refused({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag('data-cookie-domain="other.example"')));
  await v.drained(page);
  assert.ok((await traces(page))[1].includes([...v.who][0]), "no cookie of the host either");
  await v.nothingLost(1);
}

export async function subdomains_share_a_visitor({ visitor: v, site, tag }) {
  const url = site.add(tag('data-cookie-domain="shop.test"'));
  const on = (host) => url.replace("localhost", host);
  const page = await v.open(on("www.shop.test"));
  assert.equal(await page.evaluate(() => isSecureContext || !!navigator.locks), false);
  await v.drained(page);
  await v.go(page, on("pay.shop.test"));
  await v.drained(page);
  await v.nothingLost(2);
  assert.equal(v.who.size, 1);
}

export async function a_session_ends_after_half_an_hour({ visitor: v, site, tag }) {
  await v.context.addInitScript(() => {
    const now = Date.now;
    window.minutes = 0;
    Date.now = () => now() + window.minutes * 60000;
  });
  const page = await v.open(site.add(tag()));
  const after = (minutes) => page.evaluate((m) => ((window.minutes += m), keystone.track("x")), minutes);
  await after(29);
  await after(29);
  await after(31);
  await after(-600); // the clock is set back
  const ids = (await v.nothingLost(5)).map((r) => r.context.session_id);
  assert.deepEqual(ids.map((id) => ids.indexOf(id)), [0, 0, 0, 3, 4]);
}

export async function reset_makes_another_visitor({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag()));
  const ids = await page.evaluate(async () => {
    await keystone.identify("ann@example.com");
    const before = keystone.anonymousId();
    await keystone.reset();
    await keystone.track("fresh");
    return [before, keystone.anonymousId()];
  });
  assert.notEqual(ids[0], ids[1]);
  const rows = await v.nothingLost(3);
  assert.deepEqual(rows.map((r) => r.identity), ["", "ann@example.com", ""]);
  assert.equal(new Set(rows.map((r) => r.context.session_id)).size, 2);
}
