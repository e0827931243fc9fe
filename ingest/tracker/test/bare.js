// Browsers without playwright, in processes of their own: it attaches to each page before that runs, which
// ends a prerendering, it has no handle to kill a browser with, and it does not drive Debian's Firefox.
// Chromium speaks the DevTools protocol here, Firefox WebDriver BiDi; both are JSON over a WebSocket.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { findChromium } from "./browser.js";

const START = 90_000; // ms
const PATIENCE = 90_000;

class Bare {
  /** Starts the program and connects to the address it says. */
  async start(program, flags, says, path = "") {
    this.process = spawn(program, flags, { detached: true, stdio: ["ignore", "ignore", "pipe"] }); // a group of its own
    this.ended = once(this.process, "exit");
    let text = "";
    const address = await new Promise((found, failed) => {
      setTimeout(() => failed(new Error(`${program} does not start:\n${text}`)), START).unref();
      this.process.stderr.on("data", (chunk) => {
        const match = (text += chunk).match(says);
        if (match) found(match[1]);
      });
    });
    this.waiting = new Map();
    this.socket = new WebSocket(address + path);
    this.socket.onmessage = ({ data }) => {
      const { id, error, result, message } = JSON.parse(data);
      const w = this.waiting.get(id);
      if (!w) return;
      this.waiting.delete(id);
      if (error) w.failed(new Error(`${w.method}: ${message || JSON.stringify(error)}`));
      else w.done(result);
    };
    await new Promise((open, failed) => {
      this.socket.onopen = open;
      this.socket.onerror = () => failed(new Error(`${program}: no connection to ${address}`));
    });
    return this;
  }

  send(method, params = {}, sessionId = undefined) {
    const id = (this.last = (this.last || 0) + 1);
    this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    return new Promise((done, failed) => this.waiting.set(id, { method, done, failed }));
  }

  /** Until f answers something in the page; one that is being left has no answer. */
  async until(page, f, ...args) {
    for (const end = Date.now() + PATIENCE; ; await pause(20)) {
      const answer = await this.evaluate(page, f, ...args).catch((e) => (Date.now() > end ? Promise.reject(e) : undefined));
      if (answer) return answer;
      if (Date.now() > end) throw new Error(`never: ${f}`);
    }
  }

  /** All its processes at once, as the kernel does where memory is short. */
  async kill() {
    process.kill(-this.process.pid, "SIGKILL");
    await this.ended;
    this.socket.close();
  }
}

const call = (f, args) => `(${f})(...${JSON.stringify(args)})`;

export class Chrome extends Bare {
  static launch(profile) {
    const flags = ["--headless", "--remote-debugging-port=0", `--user-data-dir=${profile}`, "--no-first-run", "--disable-gpu", "--disable-quic"];
    if (process.getuid() === 0) flags.push("--no-sandbox");
    return new Chrome().start(findChromium(), [...flags, "about:blank"], /DevTools listening on (\S+)/);
  }

  async open(url) {
    const { targetId } = await this.send("Target.createTarget", { url });
    return this.attach(targetId);
  }

  async attach(targetId) {
    return { targetId, session: (await this.send("Target.attachToTarget", { targetId, flatten: true })).sessionId };
  }

  /** A page that is seen by now: what was prerendered is a target of its own, and stays one. */
  async find(url) {
    for (const end = Date.now() + PATIENCE; Date.now() < end; await pause(20)) {
      const found = (await this.send("Target.getTargets")).targetInfos.find((t) => t.type === "page" && !t.subtype && t.url === url);
      if (found) return this.attach(found.targetId);
    }
    throw new Error(`no page has ${url}`);
  }

  async evaluate(page, f, ...args) {
    const params = { expression: call(f, args), awaitPromise: true, returnByValue: true, userGesture: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", params, page.session);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
    return result.value;
  }

  close(page) {
    return this.send("Target.closeTarget", { targetId: page.targetId });
  }
}

const FIREFOX = process.env.FIREFOX || "/usr/bin/firefox-esr";

export const findFirefox = () => {
  try {
    accessSync(FIREFOX, 1);
    return true;
  } catch {
    return false;
  }
};

export class Firefox extends Bare {
  static async launch(profile) {
    const flags = ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile, "about:blank"];
    const f = await new Firefox().start(FIREFOX, flags, /WebDriver BiDi listening on (\S+)/, "/session");
    await f.send("session.new", { capabilities: {} });
    return f;
  }

  async open(url) {
    const { context } = await this.send("browsingContext.create", { type: "tab" });
    return this.go({ context }, url);
  }

  async go(page, url) {
    await this.send("browsingContext.navigate", { context: page.context, url, wait: "complete" });
    return page;
  }

  async evaluate(page, f, ...args) {
    const expression = `(async () => JSON.stringify(await ${call(f, args)}))()`;
    const answer = await this.send("script.evaluate", { expression, target: { context: page.context }, awaitPromise: true });
    if (answer.type !== "success") throw new Error(answer.exceptionDetails.text);
    return answer.result.value && JSON.parse(answer.result.value);
  }

  close(page) {
    return this.send("browsingContext.close", { context: page.context });
  }
}
