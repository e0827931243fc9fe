// What became of the events of this browser, since the tracker first ran in it: totals, not
// differences, so that a report that is lost loses nothing. Two tabs that count in the same
// instant may lose a count; the numbers tell of loss in percent, not of single events.

import { guard, parse, stringify } from "./native.js";
import { get, lasting, set } from "./store.js";

const NAME = "keystone.counters";

/** @returns {import("../tracker").Counters} */
export const counters = () => ({
  queued: 0,
  sent: 0,
  retried: 0,
  dropped: {},
  ...guard(() => parse(get(NAME))),
  storage: lasting() ? "local" : "memory",
});

/** @param {"queued" | "sent" | "retried"} what */
export const count = (what) => {
  const all = counters();
  all[what]++;
  set(NAME, stringify(all));
};

/** @param {string} reason */
export const countDropped = (reason) => {
  const all = counters();
  all.dropped[reason] = (all.dropped[reason] || 0) + 1;
  set(NAME, stringify(all));
};
