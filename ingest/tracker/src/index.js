// The order in which a page becomes one that is tracked.

import { attribute, endpoint, key, warn } from "./tag.js";
import { guard, later, listen } from "./native.js";
import { capture } from "./autocapture.js";
import { hurry, watch } from "./pages.js";
import { kick, leave, pending, resume, setGate } from "./send.js";
import { adopt, retire, revive, start } from "./tabs.js";
import { api, begin } from "./tracker.js";

const PATIENCE = 2000; // ms for what earlier pages have left; then this page's events go

const early = /** @type {any} */ (window.keystone);

const life = () => {
  listen(document, "visibilitychange", () => {
    if (document.visibilityState === "hidden") leave();
    else resume();
  });
  // Not unload: it keeps a page out of the back/forward cache, and phones never fire it.
  listen(window, "pagehide", () => {
    guard(hurry);
    leave();
    retire();
  });
  listen(window, "pageshow", (e) => {
    if (!e.persisted) return;
    revive();
    resume();
  });
  listen(window, "online", () => adopt().then(kick));
};

const run = () => {
  begin();
  start(kick);
  later(() => setGate("ready", true), PATIENCE);
  life();
  if (attribute("page") !== "off") watch(() => void api.page());
  const auto = attribute("autocapture");
  if (auto !== null && auto !== "off") capture(auto, api.track);
  if (Array.isArray(early)) api.push(...early);
};

guard(() => {
  if (early && early.track) return warn("the script is on this page twice");
  if (!key || !endpoint) return warn(key ? "data-endpoint is no address" : "data-key is missing");
  Object.defineProperty(window, "keystone", { value: api, writable: true, configurable: true, enumerable: true });
  guard(() => Object.defineProperty(window, "keystoneData", { get: pending, configurable: true }));
  // A page that a browser renders ahead may never be seen.
  const d = /** @type {any} */ (document);
  if (d.prerendering) listen(document, "prerenderingchange", run);
  else run();
});
