// Sends what is queued: one event after the other, which keeps their order in the log. The batch
// endpoint is not for tracker keys.

import { number, warn } from "./tag.js";
import { cancel, iso, later, parse, stringify } from "./native.js";
import { count } from "./counters.js";
import { emit } from "./events.js";
import { finish, items } from "./queue.js";
import { KEEPALIVE, beacon, post, survives } from "./transport.js";

/** @typedef {import("./queue.js").Item} Item */

const FIRST = number("retry-ms", 500);
const LONGEST = 60000; // ms, of our own; the server may ask for more
const LONGEST_ASKED = 600000;

const gates = { consent: false, ready: false };
let failures = 0;
/** @type {ReturnType<typeof later> | undefined} */
let timer;

/** @param {string} text */
const size = (text) => new TextEncoder().encode(text).length;

/** When it is sent is for the server to measure this clock's error. @param {Item} item */
const bodyOf = (item) => `${item.text.slice(0, -1)},"sent_at":${stringify(iso())}}`;

export const drain = () => {
  const item = items[0];
  if (!item || item.sending || timer || !gates.consent || !gates.ready) return;
  const body = bodyOf(item);
  request(item, body, size(body));
};

/** @param {Item} item @param {string} body @param {number} bytes */
const request = async (item, body, bytes) => {
  item.sending = true;
  if (item.tries) count("retried");
  item.tries = (item.tries || 0) + 1;
  const a = await post(body, bytes);
  item.sending = false;
  if (!items.includes(item)) return;
  if (a.ok) {
    failures = 0;
    finish(item, { ok: true, status: a.status });
  } else if (a.status >= 400 && a.status < 500 && a.status !== 408 && a.status !== 429) {
    finish(item, { ok: false, status: a.status, reason: "http_" + a.status });
  } else {
    back(item, a);
  }
  drain();
};

/** Full jitter would let some try at once; half of it spreads them as well. @param {Item} item @param {{status: number, wait: number}} a */
const back = (item, a) => {
  if (timer) return; // of requests that went out together, one has failed already
  const own = Math.min(LONGEST, FIRST * 2 ** failures++) * (0.5 + Math.random() / 2);
  const wait = Math.max(own, Math.min(a.wait, LONGEST_ASKED));
  warn(a.status ? `the server answered ${a.status}` : "no answer: offline, or this key is not for this origin", "- again in", wait, "ms");
  emit("retry", { message_id: item.id, status: a.status, wait_ms: wait });
  timer = later(kick, wait);
};

/** Tries now. */
export const kick = () => {
  cancel(timer);
  timer = undefined;
  drain();
};

/** @param {keyof typeof gates} gate @param {boolean} open */
export const setGate = (gate, open) => {
  gates[gate] = open;
  drain();
};

/**
 * The page is hidden and may never be seen again: all that fits goes out at once. What is not
 * confirmed stays in storage and is sent again, under the same message id.
 */
export const leave = () => {
  if (!gates.consent) return;
  let budget = KEEPALIVE;
  for (const item of items) if (item.sending) budget -= size(item.text);
  for (const item of items.slice()) {
    if (item.sending || item.left) continue;
    const body = bodyOf(item);
    const bytes = size(body);
    if (bytes > budget) continue;
    if (survives) request(item, body, bytes);
    else if (!beacon(body)) break;
    item.left = true;
    budget -= bytes;
  }
};

/** The page is seen again: what has had no answer may go out at its next hiding. */
export const resume = () => {
  for (const item of items) item.left = false;
  failures = 0;
  kick();
};

/** @returns {import("../tracker").KeystoneEvent[]} */
export const pending = () => items.map((i) => parse(i.text));
