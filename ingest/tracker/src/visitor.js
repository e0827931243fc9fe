// Who visits: the anonymous id, in localStorage and in a first-party cookie, and the session. The
// cookie goes before localStorage: it is what the subdomains of a site share.

import { attribute, warn } from "./tag.js";
import { guard, later, now, parse, stringify, uuid } from "./native.js";
import { allowed, get, remove, set } from "./store.js";
import { renew } from "./transport.js";

const ID = "keystone.anonymous_id";
const IDENTITY = "keystone.identity";
const SESSION = "keystone.session";
const RENEWED = "keystone.renewed";
const COOKIE = "keystone_id";
const AGE = 400 * 86400; // seconds; browsers keep no cookie for longer
const DAY = 86400000; // ms
const LATE = 1000; // ms, for an answer on its way through the browser
const PAUSE = 30 * 60000; // ms without an event, after which it is another session

const readCookie = () =>
  guard(() => {
    const found = document.cookie.match("(?:^|; )" + COOKIE + "=([^;]+)");
    return found && decodeURIComponent(found[1]);
  }) || "";

/** @param {string} value @param {string} domain */
const writeCookie = (value, domain) =>
  guard(() => {
    document.cookie =
      `${COOKIE}=${encodeURIComponent(value)};path=/;max-age=${value ? AGE : 0};SameSite=Lax` +
      (location.protocol === "https:" ? ";Secure" : "") +
      (domain ? ";domain=" + domain : "");
  });

const cookieDomain = () => attribute("cookie-domain") || "";

const eraseCookies = () => {
  writeCookie("", cookieDomain());
  writeCookie("", "");
};

let checked = false;
let stop = () => {};

/** @param {string} id */
const keep = (id) => {
  set(ID, id);
  if (!allowed() || attribute("cookie") === "off") return;
  const domain = cookieDomain();
  const server = attribute("cookie") === "server";
  // What the edge has set may live longer than what a script writes: that is left as it is.
  if (!server || readCookie() !== id) writeCookie(id, domain);
  if (server && Math.abs(now() - +get(RENEWED)) > DAY) {
    stop();
    stop = guard(() => renew(domain, () => set(RENEWED, "" + now()))) || stop;
  }
  if (domain && readCookie() !== id) {
    warn("the browser refuses a cookie for", domain);
    writeCookie(id, "");
  }
};

/** An answer that the browser had before it was called off may have set the cookie of the visitor before. */
const putRight = () => {
  const id = (allowed() && get(ID)) || "";
  if (!readCookie() || readCookie() === id) return;
  remove(RENEWED);
  eraseCookies();
  if (id) keep(id);
};

/** The id of this browser. Each page writes both places again: one heals the other, and the cookie's age starts anew. */
export const anonymousId = () => {
  const stored = get(ID);
  const id = (!checked && allowed() && readCookie()) || stored || uuid();
  if (!checked || !stored) {
    keep(id);
    checked = allowed();
  }
  return id;
};

/** Consent has come: what only memory knew goes to the cookie too. */
export const rememberVisitor = () => {
  if (get(ID)) keep(get(ID));
};

/** @returns {any} */
export const identity = () => guard(() => parse(get(IDENTITY)));

/** @param {unknown} value */
export const setIdentity = (value) => set(IDENTITY, stringify(value));

export const forgetVisitor = () => {
  [ID, IDENTITY, SESSION, RENEWED].forEach(remove);
  stop();
  eraseCookies();
  if (attribute("cookie") === "server") later(() => guard(putRight), LATE);
};

export const sessionId = () => {
  const [id, last] = get(SESSION).split(" ");
  // A clock set back by hours is a pause too, else the session would never end.
  const current = id && Math.abs(now() - +last) < PAUSE ? id : uuid();
  set(SESSION, current + " " + now());
  return current;
};
