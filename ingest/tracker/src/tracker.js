// window.keystone.

import { warn } from "./tag.js";
import { guard, iso, stringify, uuid } from "./native.js";
import { anonymousId, forgetVisitor, identity, rememberVisitor, setIdentity } from "./visitor.js";
import { context } from "./context.js";
import { count, countDropped, counters } from "./counters.js";
import { initialConsent, rememberConsent } from "./consent.js";
import { emit, on } from "./events.js";
import { append, finish, items, persist } from "./queue.js";
import { drain, kick, setGate } from "./send.js";
import * as store from "./store.js";
import { adopt } from "./tabs.js";

/**
 * @typedef {import("../tracker").Result} Result
 * @typedef {import("../tracker").Consent} Consent
 * @typedef {import("../tracker").Keystone} Keystone
 */

const MAX_EVENT = 900 * 1024; // characters; the edge's limit is as many bytes

let state = initialConsent();

/** @param {unknown} o */
const isObject = (o) => typeof o === "object" && !!o && !Array.isArray(o);

/**
 * Counted as queued too, so that queued = sent + dropped + pending.
 * @param {string} reason @param {unknown} why @param {boolean} [counted]
 */
const refuse = (reason, why, counted) => {
  warn(why);
  if (!counted) count("queued");
  countDropped(reason);
  const result = { ok: false, reason };
  emit("dropped", result);
  return Promise.resolve(result);
};

/**
 * @param {"track" | "page" | "identify"} type
 * @param {string | null | undefined} name
 * @param {unknown} payload
 * @returns {Promise<Result>}
 */
const send = (type, name, payload) => {
  if (state === "denied") return refuse("consent", "no consent: " + type + " is not sent");
  if (payload != null && !isObject(payload)) return refuse("invalid", type + ": properties must be an object");
  count("queued");
  try {
    const who = identity();
    /** @type {any} */
    const event = { message_id: uuid(), anonymous_id: anonymousId(), event_type: type, timestamp: iso(), context: context() };
    if (name) event.event_name = name;
    if (who != null) event.identity = who;
    if (payload) event.payload = payload;
    const text = stringify(event);
    if (text.length > MAX_EVENT) return refuse("too_large", type + ": more than 900 KiB", true);
    const done = new Promise((/** @type {(r: Result) => void} */ settle) => append(event.message_id, text, settle));
    emit("queued", event);
    drain();
    return done;
  } catch (e) {
    return refuse("invalid", e, true); // a cycle, a BigInt, a toJSON that throws
  }
};

/** @param {unknown} who */
const isIdentity = (who) =>
  (typeof who === "string" && !!who.trim()) || (typeof who === "number" && isFinite(who)) || isObject(who);

/** @param {Consent} next */
const consent = (next) => {
  state = next;
  const granted = next === "granted";
  if (granted) {
    store.unlock();
    rememberConsent();
    rememberVisitor();
    items.forEach(persist);
  } else if (next === "denied") {
    store.wipe("keystone.");
    forgetVisitor();
    for (const item of items.slice()) finish(item, { ok: false, reason: "consent" });
  } else {
    store.lock();
  }
  setGate("consent", granted);
  emit("consent", next);
};

/** @type {Keystone} */
export const api = {
  track: (name, properties) =>
    typeof name === "string" && name.trim() ? send("track", name, properties) : refuse("invalid", "track: the event needs a name"),
  page: (name, properties) =>
    name == null || typeof name === "string" ? send("page", name, properties) : refuse("invalid", "page: the name must be a text"),
  identify: (who, traits) => {
    if (who != null) {
      if (!isIdentity(who)) return refuse("invalid", "identify: the identity must be a text, a number or an object of them");
      setIdentity(who);
    }
    return send("identify", null, traits);
  },
  reset: async () => {
    forgetVisitor();
    return { ok: true };
  },
  anonymousId,
  flush: () => {
    const all = items.map((item) => {
      const settle = item.settle;
      return new Promise((/** @type {(r: Result) => void} */ done) => (item.settle = (r) => (settle(r), done(r))));
    });
    kick();
    return Promise.all(all);
  },
  consent: async (next) => {
    if (next !== "granted" && next !== "denied" && next !== "pending") {
      warn("consent: granted, denied or pending, not", next);
      return { ok: false, reason: "invalid" };
    }
    consent(next);
    return { ok: true };
  },
  on,
  counters,
  push: (...calls) => {
    for (const call of calls) {
      guard(() => {
        if (typeof call === "function") return call(api);
        const f = /** @type {any} */ (api)[call[0]];
        return f ? f(...call.slice(1)) : warn("no such call:", call[0]);
      });
    }
    return 0;
  },
};

/** Begins to send, once what earlier pages have left is in the queue: it goes first. */
export const begin = () => {
  if (state === "granted") store.unlock();
  setGate("consent", state === "granted");
  const open = () => setGate("ready", true);
  return adopt().then(open, open);
};
