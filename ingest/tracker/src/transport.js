// One request. Its form is one that needs no preflight, because a preflight that fails loses events
// and a page that is going away cannot wait for one: the key is in the query, the body text/plain.
// The key is public by nature (spec 1.4).

import { endpoint, key } from "./tag.js";
import { cancel, guard, later, now, parse } from "./native.js";

/** @typedef {{status: number, ok: boolean, wait: number}} Answer status 0: none */

const url = `${endpoint}${endpoint.includes("?") ? "&" : "?"}key=${encodeURIComponent(key)}`;
const TIMEOUT = 15000; // ms; the edge answers within 5 s
export const KEEPALIVE = 60000; // bytes; browsers refuse more than 64 KiB on the way at once

/** @param {unknown} f */
const native = (f) => !!f && /\[native code\]/.test(Function.prototype.toString.call(f));

// A page may have put its own fetch in the place, for a good reason or a bad one. XMLHttpRequest is
// as good, and rarely touched; where both are, the page's fetch is what is left.
const take = guard(() => fetch.bind(window));
const Request = window.XMLHttpRequest;
const useFetch = native(window.fetch) || !guard(() => native(Request.prototype.send));
export const survives = useFetch && !!guard(() => "keepalive" in window.Request.prototype);

/** @param {string | null} after seconds or a date, in ms from now */
const delay = (after) => {
  if (!after) return 0;
  const ms = /^\d+$/.test(after) ? +after * 1000 : Date.parse(after) - now();
  return ms > 0 ? ms : 0;
};

/**
 * A 200 counts only with the edge's own words in it: hotel networks answer 200 to anything.
 * @param {number} status @param {string | null} after @param {string} text
 * @returns {Answer}
 */
const answer = (status, after, text) => ({
  status,
  ok: status >= 200 && status < 300 && !!guard(() => parse(text).status === "ok"),
  wait: delay(after),
});

/** @param {string} body @param {boolean} keepalive @returns {Promise<Answer>} */
const byFetch = (body, keepalive) => {
  const abort = new AbortController();
  const timer = later(() => abort.abort(), TIMEOUT);
  const options = { method: "POST", body, keepalive, credentials: "omit", redirect: "error", signal: abort.signal };
  return /** @type {typeof fetch} */ (take)(url, /** @type {RequestInit} */ (options))
    .then((r) => r.text().then((text) => answer(r.status, r.headers.get("Retry-After"), text)))
    .finally(() => cancel(timer));
};

/** @param {string} body @returns {Promise<Answer>} */
const byRequest = (body) =>
  new Promise((resolve) => {
    const r = new Request();
    r.open("POST", url);
    r.timeout = TIMEOUT;
    r.onloadend = () => resolve(answer(r.status, r.status ? r.getResponseHeader("Retry-After") : null, r.responseText));
    r.send(body);
  });

/** Never rejects. @param {string} body @param {number} size in bytes */
export const post = async (body, size) => {
  try {
    return await (useFetch ? byFetch(body, survives && size < KEEPALIVE) : byRequest(body));
  } catch (e) {
    return answer(0, null, "");
  }
};

/**
 * Asks the edge to set the cookie again, as a server's own. It can be taken back, unlike the request of an event, which
 * survives the page. Answers how.
 * @param {string} domain @param {() => void} done
 */
export const renew = (domain, done) => {
  const abort = new AbortController();
  const target = new URL("../v1/js/cookie?domain=" + domain, endpoint);
  const options = { method: "POST", credentials: "include", signal: abort.signal };
  /** @type {typeof fetch} */ (take)(target, /** @type {RequestInit} */ (options)).then((r) => r.ok && done(), () => {});
  return () => abort.abort();
};

/** Hands a request to the browser, which tells nothing of its answer. @param {string} body */
export const beacon = (body) => !!guard(() => navigator.sendBeacon(url, body));
