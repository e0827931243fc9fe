// The customer's site: pages on another origin than the edge's; and the network between the two.

import { createServer, request as send } from "node:http";

export class Site {
  static async start() {
    const s = new Site();
    s.pages = new Map();
    s.waiting = new Map();
    s.server = createServer((request, response) => {
      if (request.url === "/favicon.ico") return response.writeHead(204).end();
      const waiting = s.waiting.get(request.url);
      if (waiting && s.waiting.delete(request.url)) return waiting(() => response.writeHead(204).end());
      const page = s.pages.get(new URL(request.url, "http://x").pathname);
      response.writeHead(page ? 200 : 404, { "Content-Type": "text/html; charset=utf-8", ...(page && page.headers) });
      response.end(page ? page.html : "");
    });
    await new Promise((listening) => s.server.listen(0, "127.0.0.1", listening));
    // Pages are secure contexts on localhost, and have Web Locks; the edge is 127.0.0.1: another site.
    s.origin = `http://localhost:${s.server.address().port}`;
    return s;
  }

  /** Answers the address of a new page with the HTML. */
  add(html, headers = {}) {
    const path = `/page/${this.pages.size}`;
    this.pages.set(path, { html: `<!doctype html><title>Shop</title>${html}`, headers });
    return this.origin + path;
  }

  /** The next request to an address: a function that answers it. */
  once(path) {
    return new Promise((asked) => this.waiting.set(path, asked));
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** The way to the edge, in the hands of a test: "open", or "down", where nothing gets through. */
export class Way {
  static async start(edge) {
    const w = new Way();
    w.state = "open";
    w.held = [];
    w.passed = 0; // POSTs
    w.server = createServer((request, response) => w.pass(new URL(edge), request, response));
    await new Promise((listening) => w.server.listen(0, "127.0.0.1", listening));
    w.port = w.server.address().port;
    return w;
  }

  pass(edge, request, response) {
    if (this.state === "down") return request.socket.destroy();
    if (request.method === "POST") this.passed++;
    const onward = send({ host: edge.hostname, port: edge.port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      const back = () => {
        response.writeHead(answer.statusCode, answer.rawHeaders);
        answer.pipe(response);
      };
      if (!this.holding || !request.url.startsWith(this.holding)) return back();
      this.held.push(back);
      this.onheld?.();
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  }

  /** The edge takes requests of a path, but its answers wait until the way is open again. */
  hold(path) {
    this.holding = path;
  }

  /** Until an answer is held back. */
  async holds() {
    if (!this.held.length) await new Promise((held) => (this.onheld = held));
  }

  open() {
    this.state = "open";
    this.holding = undefined;
    for (const back of this.held.splice(0)) back();
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** The one tag. @param {{edge_url: string, tracker_key: string}} pipeline */
export const tag = (pipeline, attributes = "") =>
  `<script async src="${pipeline.edge_url}/v1/js/tracker.js" data-key="${pipeline.tracker_key}" ${attributes}></script>`;
