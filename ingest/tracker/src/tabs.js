// Who owns which pending events. A tab owns those it made and holds a Web Lock for as long as it
// lives; the browser gives the lock back when the tab ends, however it ends. Whoever then gets it takes
// over what that tab has left. So an event is one tab's at any time, and no two send it.
//
// Where there are no locks (http pages), a tab writes the time every few seconds while it lives.

import { key } from "./tag.js";
import { guard, later, now } from "./native.js";
import { get, lasting, names, put, remove } from "./store.js";
import { PREFIX, reconcile, tab, take } from "./queue.js";

const BEAT = 5000; // ms
const DEAD = 150000; // ms; browsers let a hidden tab's timers run once a minute
const CLAIM = 100; // ms in which two tabs that claim the same events see each other
const SWEEP = 15000; // ms

const ALIVE = `keystone.alive.${key}.`;
const locks = guard(() => navigator.locks);

/** @param {string} of */
const lockName = (of) => `keystone.${key}.${of}`;

let release = () => {};
let alive = false;

const hold = async () => {
  alive = true;
  try {
    if (locks) await locks.request(lockName(tab), () => new Promise((r) => (release = () => r(0))));
  } catch (e) {} // a document without an origin has none, and no storage either
};

/**
 * Ends with the page's life, also when that only pauses: a page in the back/forward cache may never wake, and the
 * next one shall not wait for it.
 */
export const retire = () => {
  alive = false;
  release();
  remove(ALIVE + tab);
};

export const revive = () => {
  if (alive) return;
  hold();
  if (lasting()) reconcile();
};

/** @param {string} other */
const claim = async (other) => {
  const [seen] = get(ALIVE + other).split(" ");
  if (seen && Math.abs(now() - +seen) < DEAD) return;
  const mine = `${now()} ${tab}`;
  put(ALIVE + other, mine);
  await new Promise((r) => later(r, CLAIM));
  if (get(ALIVE + other) !== mine) return;
  take(other);
  remove(ALIVE + other);
};

/** Takes over what tabs that are gone have left. Never rejects. */
export const adopt = async () => {
  const others = new Set(names(PREFIX).map((n) => n.slice(PREFIX.length).split(".")[0]));
  others.delete(tab);
  for (const other of others) {
    try {
      if (!locks) await claim(other);
      else await locks.request(lockName(other), { ifAvailable: true }, (l) => void (l && alive && take(other)));
    } catch (e) {}
  }
};

/** @param {() => void} found */
const sweep = (found) =>
  later(async () => {
    if (alive) {
      await adopt();
      found();
    }
    sweep(found);
  }, SWEEP);

const beat = () => {
  if (alive) put(ALIVE + tab, `${now()} ${tab}`);
  later(beat, BEAT);
};

/** @param {() => void} found is called when there may be something to send */
export const start = (found) => {
  hold();
  if (!locks) beat();
  sweep(found);
};
