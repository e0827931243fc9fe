// localStorage that never throws. Values are kept in memory too, so that a page without storage, or
// without consent, has what it wrote for as long as it lives.

import { guard } from "./native.js";

/** @type {Map<string, string>} */
const memory = new Map();

// Touching the property throws where storage is blocked: sandboxed frames, third parties, a setting.
const area = guard(() => {
  localStorage.getItem("keystone");
  return localStorage;
});

let open = false;

/** Whether anything may be stored, here or in a cookie. */
export const allowed = () => open;

/** Whether what is written outlives the page. */
export const lasting = () => open && !!area;

/** @param {string} name */
export const get = (name) => {
  // Another tab may have written since, so storage goes before memory.
  const stored = open && area ? guard(() => area.getItem(name)) : null;
  return stored == null ? memory.get(name) || "" : stored;
};

/**
 * Answers whether it is in storage now. A full one is no reason to fail.
 * @param {string} name
 * @param {string} value
 */
export const set = (name, value) => {
  memory.set(name, value);
  return open && put(name, value);
};

/**
 * A value that is in storage or nowhere: pending events, which have a place in memory of their own.
 * @param {string} name
 * @param {string} value
 */
export const put = (name, value) =>
  lasting() && !!guard(() => (/** @type {Storage} */ (area).setItem(name, value), true));

/** @param {string} name */
export const remove = (name) => {
  memory.delete(name);
  if (area) guard(() => area.removeItem(name));
};

/**
 * @param {string} prefix
 * @returns {string[]}
 */
export const names = (prefix) => {
  const found = [];
  for (let i = 0; area && open && i < area.length; i++) {
    const name = area.key(i);
    if (name && name.startsWith(prefix)) found.push(name);
  }
  return found.sort();
};

/** Consent is there: from now on values are stored, those of before too. */
export const unlock = () => {
  open = true;
  for (const [name, value] of memory) put(name, value);
};

/** Consent is not there: nothing is stored from now on. */
export const lock = () => {
  open = false;
};

/** @param {string} prefix */
export const wipe = (prefix) => {
  open = true;
  names(prefix).forEach(remove);
  open = false;
};

/** Whether something was stored earlier, without asking for consent to look: only for consent itself. @param {string} name */
export const peek = (name) => (area && guard(() => area.getItem(name))) || "";
