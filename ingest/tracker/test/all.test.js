// Everything against one pipeline and one browser: `make test-tracker`.

import { after, before, test } from "node:test";
import { findFirefox } from "./bare.js";
import { Visitor, findChromium, launch } from "./browser.js";
import { Pipeline } from "./pipeline.js";
import { Site, tag } from "./site.js";
import * as bare from "./cases/bare.js";
import * as cookie from "./cases/cookie.js";
import * as delivery from "./cases/delivery.js";
import * as demo from "./cases/demo.js";
import * as leaving from "./cases/leaving.js";
import * as neighbours from "./cases/neighbours.js";
import * as pages from "./cases/pages.js";
import * as privacy from "./cases/privacy.js";

const missing = !findChromium();
if (missing && process.env.CI) throw new Error("chromium is not installed: apt-get install chromium, or set CHROMIUM to its path");

let pipeline, site, browser;

before(async () => {
  if (missing) return;
  [pipeline, site, browser] = await Promise.all([Pipeline.start(), Site.start(), launch()]);
});

after(async () => {
  await browser?.close();
  site?.stop();
  await pipeline?.stop();
});

for (const cases of [delivery, leaving, neighbours, pages, privacy, cookie, bare, demo]) {
  for (const [name, run] of Object.entries(cases)) {
    const without = missing ? "chromium" : name.includes("firefox") && !findFirefox() ? "firefox-esr" : "";
    test(name, { skip: without ? `${without} is not installed` : false, timeout: 600_000 }, async () => {
      const visitor = await Visitor.arrive(browser, pipeline);
      try {
        await run({ visitor, pipeline, site, browser, tag: (attributes) => tag(pipeline, attributes) });
      } finally {
        await visitor.leave();
      }
    });
  }
}
