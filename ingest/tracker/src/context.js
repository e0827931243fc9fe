// What an event says of the page and the browser.

import { guard } from "./native.js";
import { counters } from "./counters.js";
import { sessionId } from "./visitor.js";

/** @type {string | undefined} In an application of one page: the address before this one. */
let before;

/** @param {string} url */
export const setReferrer = (url) => {
  before = url;
};

// Asked once: it takes longer than all the rest.
const timezone = guard(() => Intl.DateTimeFormat().resolvedOptions().timeZone);

const campaign = () => {
  /** @type {{[name: string]: string}} */
  const found = {};
  new URLSearchParams(location.search).forEach((value, name) => {
    if (value && /^utm_/.test(name)) found[name === "utm_campaign" ? "name" : name.slice(4)] = value;
  });
  return Object.keys(found).length ? found : undefined;
};

/** @returns {any} */
export const context = () => ({
  page: {
    url: location.href,
    path: location.pathname,
    referrer: before === undefined ? document.referrer : before,
    title: document.title,
  },
  campaign: guard(campaign),
  screen: { width: screen.width, height: screen.height, density: devicePixelRatio },
  locale: navigator.language,
  timezone,
  user_agent: navigator.userAgent,
  session_id: sessionId(),
  library: { name: "keystone.js", version: "0.2.0" },
  tracker: counters(),
});
