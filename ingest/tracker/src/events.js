// Listeners of keystone.on.

import { warn } from "./tag.js";

/** @type {Map<string, Set<(detail: any) => void>>} */
const listeners = new Map();

/** @param {string} name @param {(detail: any) => void} f */
export const on = (name, f) => {
  if (typeof f !== "function") {
    warn("on: not a function", f);
    return () => {};
  }
  const set = listeners.get(name) || new Set();
  listeners.set(name, set.add(f));
  return () => {
    set.delete(f);
  };
};

/**
 * @template {keyof import("../tracker").Listeners} K
 * @param {K} name
 * @param {import("../tracker").Listeners[K]} detail
 */
export const emit = (name, detail) => {
  for (const f of listeners.get(name) || []) {
    try {
      f(detail);
    } catch (e) {
      warn("a listener of", name, "failed:", e);
    }
  }
};
