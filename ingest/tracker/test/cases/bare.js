// What needs a browser of its own: one that is killed, one without a debugger at its pages, one that is not Chromium.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Chrome, Firefox } from "../bare.js";
import { Visitor } from "../browser.js";
import { Way } from "../site.js";

const running = () => !!(window.keystone && window.keystone.track);

/** With a profile that outlives the browser, and a way to the edge. */
const alone = async ({ pipeline }, f) => {
  const profile = await mkdtemp(join(tmpdir(), "keystone-profile-"));
  const way = await Way.start(pipeline.edge_url);
  const v = new Visitor(pipeline);
  const browsers = [];
  const start = async (kind) => {
    browsers.push(await kind.launch(profile));
    return browsers.at(-1);
  };
  try {
    await f({ v, way, profile, start, to: `data-endpoint="http://127.0.0.1:${way.port}/api/ingest"` });
  } finally {
    for (const b of browsers) if (b.process.exitCode === null && b.process.signalCode === null) await b.kill();
    way.stop();
    await rm(profile, { recursive: true, force: true, maxRetries: 10 });
  }
};

const note = async (v, browser, page) => {
  for (const e of await browser.evaluate(page, () => window.keystoneData.map((e) => ({ id: e.message_id, who: e.anonymous_id })))) v.note(e);
};

/** Until a text is in a file of the browser's localStorage. */
const onDisk = async (profile, text) => {
  const folder = join(profile, "Default", "Local Storage", "leveldb");
  for (;;) {
    for (const name of await readdir(folder)) {
      const data = await readFile(join(folder, name)).catch(() => ""); // of a file that has just been replaced
      if (data.includes(text)) return;
    }
    await pause(50);
  }
};

/** All of Chromium's processes at once, with 40 events that no server has seen. */
export async function the_whole_browser_is_killed(t) {
  await alone(t, async ({ v, way, profile, start, to }) => {
    const url = t.site.add(t.tag(`data-page="off" ${to}`));
    let chrome = await start(Chrome);
    let page = await chrome.open(url);
    await chrome.until(page, running);
    way.state = "down";
    await chrome.evaluate(page, () => {
      for (let i = 0; i < 40; i++) window.keystone.track("doomed", { i });
    });
    await note(v, chrome, page);
    // Chromium keeps what localStorage is given in memory for some seconds: only what is on the disk can outlive it.
    await onDisk(profile, [...v.made].at(-1));
    await chrome.kill();

    way.open();
    chrome = await start(Chrome);
    page = await chrome.open(url);
    await chrome.until(page, () => window.keystone.counters().sent === 40 && window.keystoneData.length === 0);
    const rows = await v.nothingLost(40);
    assert.deepEqual(rows.map((r) => r.payload.i), [...Array(40).keys()]);
  });
}

/** The site's two pages: the first has the second rendered ahead, and goes there when the test says so. */
const ahead = ({ site, tag }, to) => {
  const target = site.add(`${tag(to)}<script>
    addEventListener("load", () => fetch("/said/" + document.prerendering + "/" + !!(window.keystone && keystone.track)));
  </script>`);
  const rules = JSON.stringify({ prerender: [{ urls: [target], eagerness: "immediate" }] });
  const first = site.add(`<a href="${target}">Go</a><script type="speculationrules">${rules}</script>
    <script>fetch("/signal").then(() => document.querySelector("a").click())</script>`);
  return { first, target };
};

/** A page that is rendered ahead and never seen is no page view, and one that is seen is one, from then on. */
export async function prerendering(t) {
  await alone(t, async ({ v, way, start, to }) => {
    const chrome = await start(Chrome);
    for (const seen of [false, true]) {
      const { first, target } = ahead(t, to);
      const rendered = t.site.once("/said/true/true");
      const signal = t.site.once("/signal");
      // No debugger is at the page: Chromium renders nothing ahead then.
      const { targetId } = await chrome.send("Target.createTarget", { url: first });
      await rendered;
      assert.equal(way.passed, 0, "the page was not seen");
      if (!seen) {
        await chrome.close({ targetId });
        continue;
      }
      (await signal)();
      const page = await chrome.find(target);
      await chrome.until(page, () => window.keystone.counters().sent === 1);
      const activation = await chrome.evaluate(page, () => performance.getEntriesByType("navigation")[0].activationStart);
      assert.ok(activation > 0, "the page was loaded, not activated");
      v.who.add(await chrome.evaluate(page, () => window.keystone.anonymousId()));
    }
    const rows = await v.rows();
    assert.deepEqual(rows.map((r) => [r.name, r.context.page.title]), [["", "Shop"]]);
    assert.equal(way.passed, 1);
  });
}

/** The shop as a frame in another site's page, in a browser that is set to block third-party cookies. */
export async function third_party_cookies_are_blocked(t) {
  await alone(t, async ({ v, profile, start }) => {
    await mkdir(join(profile, "Default"));
    await writeFile(join(profile, "Default", "Preferences"), JSON.stringify({ profile: { cookie_controls_mode: 1, block_third_party_cookies: true } }));
    const chrome = await start(Chrome);
    const frame = t.site.add(`${t.tag()}<script>
      addEventListener("message", async ({ data, source }) => {
        if (data === "track") await keystone.track("framed");
        const { sent, storage } = keystone.counters();
        source.postMessage({ to: data, who: keystone.anonymousId(), cookie: document.cookie, sent, storage }, "*");
      });
    </script>`);
    const page = await chrome.open(t.site.add(`<iframe src="${frame}"></iframe>`).replace("localhost", "127.0.0.1"));
    const ask = (what, patience) => new Promise((answer) => {
      addEventListener("message", ({ data }) => data.to === what && answer(data));
      setTimeout(() => answer(0), patience);
      frames[0].postMessage(what, "*");
    });
    const hello = () => chrome.until(page, ask, "hello", 1000); // again, as long as the frame is not there
    let said = await hello();
    while (said.sent < 1) said = await hello();
    assert.equal(said.cookie, "", "the browser blocks no cookies");
    const after = await chrome.evaluate(page, ask, "track", 60_000); // once
    assert.deepEqual([after.who, after.sent], [said.who, 2]);
    v.who.add(said.who);
    const rows = await v.rows();
    assert.deepEqual(rows.map((r) => r.name), ["", "framed"]);
    assert.equal(rows[1].context.tracker.storage, after.storage);
  });
}

/** A smoke test, no more: what a shop does, a reload and a closed tab with events pending, the second page's cookie. */
export async function firefox(t) {
  await alone(t, async ({ v, way, start, to }) => {
    const url = t.site.add(t.tag(to));
    const fox = await start(Firefox);
    const page = await fox.open(url);
    await fox.until(page, running);
    v.who.add(await fox.evaluate(page, () => window.keystone.anonymousId()));
    await fox.until(page, () => window.keystone.counters().sent === 1); // the page view
    const taken = await fox.evaluate(page, () => window.keystone.identify("ann@example.com", { city: "Rome" }));
    assert.deepEqual([taken.ok, taken.status], [true, 200]);

    way.state = "down";
    await fox.evaluate(page, () => {
      for (let i = 0; i < 30; i++) window.keystone.track("before", { i });
    });
    await fox.go(page, url);
    await fox.until(page, () => window.keystone && window.keystone.track && window.keystoneData.length === 31); // and a page view
    const other = await fox.open(url);
    await fox.until(other, () => window.keystone && window.keystone.track && window.keystoneData.length > 0);
    await fox.close(page); // its events are the other tab's now
    way.open();
    await fox.until(other, () => window.dispatchEvent(new Event("online")) && window.keystone.counters().sent === 34);
    const rows = await v.rows();
    // A page that leaves sends all at once, past the order; what is on its way when the way is opened comes through.
    const numbers = rows.filter((r) => r.name === "before").map((r) => r.payload.i);
    assert.deepEqual(numbers.sort((a, b) => a - b), [...Array(30).keys()]);
    assert.equal(rows.length, 34);
    assert.equal(new Set(rows.map((r) => r.id)).size, 34);
    assert.match(await fox.evaluate(other, () => document.cookie), new RegExp([...v.who][0]));
  });
}
