// The shop of `keystone demo page`.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { BINARY } from "../pipeline.js";

export async function demo_page({ visitor: v, pipeline }) {
  const shop = spawn(BINARY, ["demo", "page", "--data-dir", pipeline.dir, "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(shop, "exit");
  try {
    const [line] = await once(shop.stdout, "data");
    const said = [];
    v.context.on("console", (m) => said.push(m.text()));
    const page = await v.open(String(line).match(/http:\S+(?=;)/)[0]);
    await page.click("text=Yirgacheffe");
    await page.click("text=Add to cart");
    await page.click("nav a");
    await page.click("text=Order");
    await page.click("text=Back to the shop");
    await page.fill("input", "demo@example.com");
    await page.click("text=Log in");
    // Pages: shop, product, cart, thanks, shop. Added, ordered, form, identify.
    const stored = page.waitForFunction(() => document.querySelectorAll("#events .stored").length === 9);
    await stored.catch(async (e) => assert.fail(`${e.message}\n${await page.innerText("#counters")}\n${await page.innerText("#events")}`));
    assert.match(await page.textContent("#counters"), /queued 9 · sent 9 · .*pending 0/);
    assert.deepEqual(said, []);
    await v.nothingLost(9);
  } finally {
    shop.kill("SIGINT");
  }
  assert.deepEqual(await ended, [0, null]);
}
