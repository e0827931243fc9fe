// Nothing is stored and nothing is sent before consent is there. It is there from the start, unless the tag
// says that it is required, or the browser says Global Privacy Control (Do Not Track, where the tag asks for it).

import { attribute } from "./tag.js";
import { peek, put } from "./store.js";

/** @typedef {import("../tracker").Consent} Consent */

const NAME = "keystone.consent";

/** @returns {Consent} */
export const initialConsent = () => {
  if (peek(NAME) === "granted") return "granted"; // asked and answered, on an earlier page
  const n = /** @type {any} */ (navigator);
  if (n.globalPrivacyControl && attribute("gpc") !== "ignore") return "denied";
  if (n.doNotTrack === "1" && attribute("dnt") === "respect") return "denied";
  return attribute("consent") === "required" ? "pending" : "granted";
};

/** Only a yes is kept: a no leaves nothing behind. */
export const rememberConsent = () => put(NAME, "granted");
