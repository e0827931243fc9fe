// Usage: node browser.mjs CHROMIUM SCENARIO, with the scenario's input as JSON on standard input.
// Drives pages of the shop in headless Chromium and prints what a page can tell, as JSON.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { chromium } from "playwright-core";
import * as scenarios from "./browser-scenarios.mjs";

// Playwright's own 30 s are little where the tests of other packages share the machine.
const PATIENCE = 150_000;

const [executablePath, scenario] = process.argv.slice(2);
const input = JSON.parse(await text(process.stdin));

// A profile of its own, and none of the connections that a browser opens for itself.
const profile = await mkdtemp(join(tmpdir(), "keystone-chromium-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  timeout: PATIENCE,
  args: [
    "--no-sandbox", // Chromium refuses to start as root with it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.shop.example 127.0.0.1", // a name for which cookies work as on a real site
  ],
});
context.setDefaultTimeout(PATIENCE);
try {
  console.log(JSON.stringify(await scenarios[scenario](context, input)));
} finally {
  await context.close();
  await rm(profile, { recursive: true, force: true });
}
