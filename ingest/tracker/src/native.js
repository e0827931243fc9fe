// What a page may override later is taken once, when the script runs.

export const later = setTimeout.bind(window);
export const cancel = clearTimeout.bind(window);
export const stringify = JSON.stringify;
export const parse = JSON.parse;
export const now = Date.now;

/** @param {number} [t] */
export const iso = (t) => new Date(t === undefined ? now() : t).toISOString();

/**
 * Runs something of ours on the page's behalf: what it throws must not reach the page.
 * @template T
 * @param {() => T} f
 * @returns {T | undefined}
 */
export const guard = (f) => {
  try {
    return f();
  } catch (e) {
    return undefined;
  }
};

/**
 * @param {EventTarget} target
 * @param {string} name
 * @param {(e: any) => void} f
 * @param {boolean} [capture]
 */
export const listen = (target, name, f, capture) => target.addEventListener(name, (e) => guard(() => f(e)), capture);

/** A UUID, also where crypto.randomUUID is missing: that needs https. */
export const uuid = () => {
  const bytes = new Uint8Array(16);
  if (!guard(() => crypto.getRandomValues(bytes))) bytes.forEach((_, i) => (bytes[i] = Math.random() * 256));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = Array.from(bytes, (b) => (b + 256).toString(16).slice(1)).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
};
