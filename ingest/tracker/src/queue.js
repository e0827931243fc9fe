// The events that wait for an answer, oldest first. Each has a record of its own in localStorage,
// because two tabs that wrote one list would overwrite each other. A record's name has the tab that
// owns it and a stamp that orders it; see tabs.js for what becomes of a dead tab's.

import { key, number, warn } from "./tag.js";
import { guard, now, parse } from "./native.js";
import { names, put, remove } from "./store.js";
import { count, countDropped } from "./counters.js";
import { emit } from "./events.js";

/**
 * @typedef {import("../tracker").Result} Result
 * @typedef {object} Item
 * @property {string} id message id
 * @property {string} text the event as JSON
 * @property {string} stamp
 * @property {string} name of its record
 * @property {boolean} stored
 * @property {(r: Result) => void} settle
 * @property {boolean} [sending] a request of it is on its way
 * @property {boolean} [left] it went out when the page was hidden, and no answer will be seen
 * @property {number} [tries]
 */

const MAX_EVENTS = number("max-events", 2000);
const MAX_CHARS = number("max-chars", 1500000); // a site has some 5 million in all

export const PREFIX = `keystone.q.${key}.`;

let last = 0;

/** Times as text that sorts, never the same twice in a tab, also where the clock goes back. */
export const stamp = () => {
  last = Math.max(last + 1, now() * 1000);
  return last.toString(36).padStart(11, "0");
};

/** The name of this page's life; a reload is another. */
export const tab = stamp() + Math.random().toString(36).slice(2, 8);

/** @type {Item[]} */
export const items = [];
let chars = 0;

/** @param {Item} item @param {Result} result */
export const finish = (item, result) => {
  const at = items.indexOf(item);
  if (at < 0) return;
  items.splice(at, 1);
  chars -= item.text.length;
  remove(item.name);
  result = { ...result, message_id: item.id };
  if (result.ok) count("sent");
  else if (result.reason !== "moved") drop(/** @type {string} */ (result.reason));
  emit(result.ok ? "sent" : "dropped", result);
  item.settle(result);
};

/** @param {string} reason */
const drop = (reason) => {
  countDropped(reason);
  warn("an event is dropped:", reason);
};

/** Too many: the oldest go, but for one that is on its way. */
const bound = () => {
  while (items.length > MAX_EVENTS || chars > MAX_CHARS) {
    const oldest = items.find((i) => !i.sending);
    if (!oldest) return;
    finish(oldest, { ok: false, reason: "overflow" });
  }
};

/** @param {Item} item */
export const persist = (item) => {
  item.stored = put(item.name, item.text);
};

/** @param {string} id @param {string} text @param {(r: Result) => void} settle */
export const append = (id, text, settle) => {
  const s = stamp();
  const item = { id, text, stamp: s, name: `${PREFIX}${tab}.${s}.${id}`, stored: false, settle };
  items.push(item);
  chars += text.length;
  persist(item);
  bound();
};

/** Takes over what a tab that is gone has left. @param {string} other */
export const take = (other) => {
  for (const name of names(`${PREFIX}${other}.`)) {
    const rest = name.slice(PREFIX.length + other.length + 1);
    const dot = rest.indexOf(".");
    const id = rest.slice(dot + 1);
    const text = guard(() => localStorage.getItem(name)) || "";
    if (text && guard(() => parse(text)) && !items.some((i) => i.id === id)) {
      const own = `${PREFIX}${tab}.${rest}`;
      // Where storage is full the record stays where it is; it is ours all the same.
      const moved = put(own, text);
      items.push({ id, text, stamp: rest.slice(0, dot), name: moved ? own : name, stored: true, settle: () => {}, tries: 1 });
      chars += text.length;
      if (!moved) continue;
    }
    remove(name);
  }
  items.sort((a, b) => (a.stamp < b.stamp ? -1 : 1));
  bound();
};

/** After a time in the back/forward cache: what another tab has taken over is not ours any more. */
export const reconcile = () => {
  const mine = new Set(names(`${PREFIX}${tab}.`));
  for (const item of items.slice()) {
    if (item.stored && !mine.has(item.name)) finish(item, { ok: false, reason: "moved" });
  }
};
