// Page views: the first, and those of an application that changes its address without loading a page.

import { guard, later, listen } from "./native.js";
import { setReferrer } from "./context.js";

/** A fragment is a page only where an application routes by it: #/cart, #!cart. */
const place = () => location.pathname + location.search + (/^#[/!]/.test(location.hash) ? location.hash : "");

/** @type {(() => void) | undefined} */
let waiting;

/** A page view that waits for its title goes now: the page is going away. */
export const hurry = () => {
  const f = waiting;
  waiting = undefined;
  if (f) f();
};

/** @param {() => void} view */
export const watch = (view) => {
  let current = place();
  let path = location.pathname;
  let url = location.href;

  /** @param {boolean} replaced */
  const moved = (replaced) => {
    const before = place() === current ? undefined : url;
    // An address that is only rewritten is a page if its path is another; filters rewrite the query.
    const counts = before !== undefined && !(replaced && location.pathname === path);
    current = place();
    path = location.pathname;
    url = location.href;
    if (!counts) return;
    hurry();
    waiting = () => {
      setReferrer(/** @type {string} */ (before));
      view();
    };
    later(() => guard(hurry), 0); // applications set the title after the address
  };

  const navigation = /** @type {any} */ (window).navigation;
  if (navigation) {
    listen(navigation, "currententrychange", (e) => moved(e.navigationType === "replace"));
  } else {
    for (const name of /** @type {const} */ (["pushState", "replaceState"])) {
      const original = history[name];
      // Defined, not assigned: with a frozen prototype an assignment throws.
      guard(() =>
        Object.defineProperty(history, name, {
          configurable: true,
          writable: true,
          /** @this {History} @param {Parameters<History["pushState"]>} args */
          value: function (...args) {
            original.apply(this, args);
            guard(() => moved(name === "replaceState"));
          },
        }),
      );
    }
    listen(window, "popstate", () => moved(false));
  }
  listen(window, "pageshow", (e) => e.persisted && view());

  if (document.title || document.readyState !== "loading") return view();
  waiting = view; // a script at the top of the head is there before the title
  listen(document, "DOMContentLoaded", hurry);
};
