// Chromium, and a visitor in it who keeps account of what the tracker was given.

import assert from "node:assert/strict";
import { accessSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { chromium } from "playwright-core";

const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export const findChromium = () =>
  PLACES.find((place) => {
    try {
      accessSync(place || "", 1);
      return true;
    } catch {
      return false;
    }
  });

export const launch = () =>
  chromium.launch({
    executablePath: findChromium(),
    timeout: 120_000,
    // Playwright turns the back/forward cache off; its loss would be one of ours.
    ignoreDefaultArgs: ["--disable-back-forward-cache"],
    // A site with subdomains, and without https: no secure context, no Web Locks.
    args: ["--host-resolver-rules=MAP *.shop.test 127.0.0.1", "--disable-gpu", "--disable-quic", ...(process.getuid() === 0 ? ["--no-sandbox"] : [])],
  });

/** Runs in the page before anything else: reports each event the tracker takes, also those of before it listens. */
const account = () => {
  const report = (e) => window.made({ id: e.message_id, who: e.anonymous_id });
  window.keystone = window.keystone || [];
  window.keystone.push((k) => {
    window.keystoneData.forEach(report);
    k.on("queued", report);
  });
};

export class Visitor {
  constructor(pipeline) {
    this.pipeline = pipeline;
    this.made = new Set();
    this.who = new Set();
    this.requests = [];
    this.errors = [];
  }

  static async arrive(browser, pipeline) {
    const v = new Visitor(pipeline);
    v.context = await browser.newContext();
    v.context.setDefaultTimeout(120_000); // others share the machine
    await v.context.exposeBinding("made", (_, e) => v.note(e));
    await v.context.addInitScript(account);
    v.context.on("request", (r) => {
      if (r.url().includes("/api/ingest") && r.method() === "POST") v.requests.push(JSON.parse(r.postData()));
    });
    v.context.on("weberror", (e) => v.errors.push(String(e.error())));
    return v;
  }

  note({ id, who }) {
    this.made.add(id);
    this.who.add(who);
  }

  /** Opens a page and waits until the tracker runs in it. */
  async open(url) {
    const page = await this.context.newPage();
    await this.go(page, url);
    return page;
  }

  async go(page, url) {
    await page.goto(url);
    await page.waitForFunction(() => window.keystone && window.keystone.track);
  }

  /** n events at once. */
  track(page, name, n = 1) {
    return page.evaluate(([name, n]) => {
      for (let i = 0; i < n; i++) window.keystone.track(name, { i });
    }, [name, n]);
  }

  /** Fails requests to the edge: f answers "abort", "lost" (taken, but the answer is lost), {status, headers} or nothing. */
  fail(f) {
    let n = 0;
    return this.context.route("**/api/ingest*", async (route) => {
      const how = f(++n, route.request());
      if (how === "abort") return route.abort("connectionreset");
      if (how === "lost") return route.fetch().then(() => route.abort("connectionreset"));
      if (!how) return route.continue();
      const cors = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After" };
      return route.fulfill({ status: how.status, headers: { ...cors, ...how.headers }, body: "{}" });
    });
  }

  mend() {
    return this.context.unroute("**/api/ingest*");
  }

  drained(page) {
    return page.waitForFunction(() => window.keystoneData.length === 0, null, { timeout: 300_000, polling: 50 });
  }

  /** The rows of this visitor, in the order of the log. */
  async rows() {
    await this.pipeline.settle();
    const who = [...this.who].map((id) => `'${id}'`).join();
    const query = `SELECT message_id, event_name, identity, context, toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Micro(received_at), payload
      FROM events WHERE anonymous_id IN (${who}) ORDER BY received_at`;
    return (await this.pipeline.sql(query)).map(([id, name, identity, context, timestamp, received, payload]) => (
      { id, name, identity, context: JSON.parse(context), timestamp: +timestamp, received: received / 1000, payload: JSON.parse(payload) }
    ));
  }

  /** The claim of all this: what is in ClickHouse is what the pages made, each once. */
  async nothingLost(count) {
    let rows = await this.rows();
    // What a page that is gone has sent last may be on its way still.
    for (let i = 0; i < 100 && rows.length < this.made.size; i++) {
      await pause(100);
      rows = await this.rows();
    }
    assert.deepEqual(rows.map((r) => r.id).sort(), [...this.made].sort());
    if (count !== undefined) assert.equal(rows.length, count);
    assert.deepEqual(this.errors, [], "errors reached the page");
    return rows;
  }

  leave() {
    return this.context.close();
  }
}
