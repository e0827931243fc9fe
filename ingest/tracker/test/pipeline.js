// The real pipeline: `keystone dev` in a process of its own, asked through the command line and ClickHouse.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, chmod } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
export const BINARY = new URL("../../../bin/keystone", import.meta.url).pathname;
const ENGINES = process.env.KEYSTONE_ENGINES_DIR || new URL("../../../deploy/engines/node_modules", import.meta.url).pathname;
const env = { ...process.env, KEYSTONE_ENGINES_DIR: ENGINES };
const START = 180_000; // ms; generous: tests of others share the machine

export class Pipeline {
  static async start() {
    const p = new Pipeline();
    // The state store's account, which is not root, must be able to pass through.
    p.dir = await mkdtemp(join(tmpdir(), "keystone-tracker-"));
    await chmod(p.dir, 0o711);
    await p.launch("127.0.0.1:0");
    return p;
  }

  async launch(listen) {
    const flags = ["--log-level", "warn", "--data-dir", this.dir, "--listen", listen, "--admin-listen", "127.0.0.1:0", "--renew-cookie"];
    this.log = "";
    this.process = spawn(BINARY, ["dev", ...flags], { env, stdio: ["ignore", "pipe", "pipe"] });
    this.ended = once(this.process, "exit");
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on("data", (text) => (this.log += text));
    const deadline = Date.now() + START;
    while (!this.log.includes("keystone is up")) {
      if (this.process.exitCode !== null || Date.now() > deadline) throw new Error(`keystone dev does not start:\n${this.log}`);
      await pause(50);
    }
    Object.assign(this, JSON.parse(await readFile(join(this.dir, "dev.json"), "utf8")));
  }

  async kill() {
    this.process.kill("SIGKILL");
    await this.ended;
  }

  /** On the same port: pages keep the address they have. */
  restart() {
    return this.launch(new URL(this.edge_url).host);
  }

  async stop() {
    this.process.kill("SIGINT");
    await this.ended;
    await rm(this.dir, { recursive: true, force: true });
  }

  /** Until everything that was taken can be queried. */
  async settle() {
    await run(BINARY, ["lag", "--wait", "120s", "--data-dir", this.dir], { env });
  }

  async sql(query) {
    const url = new URL(this.clickhouse_url);
    const authorization = "Basic " + Buffer.from(`${url.username}:${decodeURIComponent(url.password)}`).toString("base64");
    url.username = url.password = "";
    const answer = await fetch(url, { method: "POST", body: query + " FORMAT JSONCompactEachRow", headers: { authorization } });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${query}: ${text}`);
    return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }
}
