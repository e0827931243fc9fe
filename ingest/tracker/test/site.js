// The customer's site: pages on another origin than the edge's.

import { createServer } from "node:http";

export class Site {
  static async start() {
    const s = new Site();
    s.pages = new Map();
    s.server = createServer((request, response) => {
      if (request.url === "/favicon.ico") return response.writeHead(204).end();
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

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** The one tag. @param {{edge_url: string, tracker_key: string}} pipeline */
export const tag = (pipeline, attributes = "") =>
  `<script async src="${pipeline.edge_url}/v1/js/tracker.js" data-key="${pipeline.tracker_key}" ${attributes}></script>`;
