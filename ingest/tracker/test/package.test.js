// What `npm pack` makes is what a site's own project can install: the script, and its types under strict tsc.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const HERE = new URL("..", import.meta.url).pathname;

const PAGE = `/// <reference types="keystone-tracker" />
import type { Keystone, Result } from "keystone-tracker";
const k: Keystone = window.keystone;
export const r: Promise<Result> = k.track("Added to Cart", { price: 9.5 });
// @ts-expect-error an event needs a name
k.track();
`;

test("the package", () => {
  const dir = mkdtempSync(join(tmpdir(), "keystone-package-"));
  try {
    const [packed] = JSON.parse(execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", dir], { cwd: HERE, encoding: "utf8" }));
    assert.deepEqual(packed.files.map((f) => f.path).sort(), ["package.json", "tracker.d.ts", "tracker.js"]);
    assert.equal(packed.name, "keystone-tracker");

    const installed = join(dir, "node_modules", packed.name);
    mkdirSync(installed, { recursive: true });
    execFileSync("tar", ["-xzf", join(dir, packed.filename), "-C", installed, "--strip-components=1"]);
    assert.deepEqual(readFileSync(join(installed, "tracker.js")), readFileSync(join(HERE, "tracker.js")));
    writeFileSync(join(dir, "page.ts"), PAGE);
    const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom", "--types", ""];
    execFileSync(process.execPath, [join(HERE, "node_modules/typescript/bin/tsc"), ...options, join(dir, "page.ts")], { cwd: dir, stdio: "pipe" });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
