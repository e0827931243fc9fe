// Page views and autocapture.

import assert from "node:assert/strict";

/** Walks through an application of one page. */
const walk = async ({ visitor: v, site, tag }) => {
  const url = site.add(tag());
  const page = await v.open(url + "?utm_source=news&utm_campaign=fall&x=1");
  const step = async (f, queued) => {
    await page.evaluate(f);
    await page.waitForFunction((n) => keystone.counters().queued === n, queued);
  };
  await step(() => { history.pushState(null, "", "/page/cart"); document.title = "Cart"; }, 2);
  await step(() => { history.replaceState(null, "", "/page/cart?sort=price"); history.pushState(null, "", "/page/pay"); }, 3);
  await step(() => { history.replaceState(null, "", "/page/paid"); }, 4);
  await step(() => { history.pushState(null, "", "#top"); history.pushState(null, "", "#/thanks"); }, 5);
  await step(() => history.back(), 6);
  await v.drained(page);
  const rows = await v.nothingLost(6);
  const path = (u) => u.slice(site.origin.length);
  assert.deepEqual(rows.map((r) => path(r.context.page.url)), [
    path(url) + "?utm_source=news&utm_campaign=fall&x=1", "/page/cart", "/page/pay", "/page/paid", "/page/paid#/thanks", "/page/paid#top",
  ]);
  assert.deepEqual(rows[0].context.campaign, { source: "news", name: "fall" });
  assert.equal(rows[1].context.campaign, undefined);
  assert.equal(rows[1].context.page.title, "Cart");
  assert.equal(path(rows[1].context.page.referrer), path(url) + "?utm_source=news&utm_campaign=fall&x=1");
  assert.equal(path(rows[2].context.page.referrer), "/page/cart?sort=price");
};

export { walk as application_of_one_page };

export async function application_of_one_page_without_navigation_api(t) {
  await t.visitor.context.addInitScript(() => Object.defineProperty(window, "navigation", { value: undefined }));
  await walk(t);
}

export async function a_title_that_comes_late({ visitor: v, site, tag }) {
  // The tag stands before the title, and the script is in the browser's cache.
  const script = `<script src="${v.pipeline.edge_url}/v1/js/tracker.js" data-key="${v.pipeline.tracker_key}"></script>`;
  site.pages.set("/late", { html: `<!doctype html>${script}<title>Late</title>` });
  await v.drained(await v.open(site.origin + "/late"));
  assert.equal((await v.nothingLost(1))[0].context.page.title, "Late");
}

export async function no_page_views({ visitor: v, site, tag }) {
  const page = await v.open(site.add(tag('data-page="off"')));
  await page.evaluate(() => { history.pushState(null, "", "/page/x"); return keystone.track("only"); });
  assert.deepEqual((await v.nothingLost(1)).map((r) => r.name), ["only"]);
}

export async function autocapture({ visitor: v, site, tag }) {
  const html = `<a id="out" href="https://other.example/x"><b>Other</b></a><a id="in" href="/page/0">In</a><a id="file" href="/Price.PDF">Prices</a>
    <a id="mail" href="mailto:a@example.com">Mail</a>
    <form id="signup" name="news" action="/subscribe"><input name="id"><input name="action" value="secret"><button>Go</button></form>
    <script>for (const kind of ["click", "submit"]) addEventListener(kind, (e) => e.target.tagName !== "BUTTON" && e.preventDefault());</script>`;
  const page = await v.open(site.add(html + tag('data-page="off" data-autocapture')));
  for (const id of ["#out b", "#in", "#file", "#mail", "button"]) await page.click(id);
  await v.drained(page);
  const rows = await v.nothingLost(3);
  assert.deepEqual(rows.map((r) => [r.name, r.payload]), [
    ["Outbound Link Clicked", { url: "https://other.example/x", text: "Other" }],
    ["File Downloaded", { url: site.origin + "/Price.PDF", text: "Prices", extension: "pdf" }],
    ["Form Submitted", { form_id: "signup", form_name: "news", action: "/subscribe" }],
  ]);
}
