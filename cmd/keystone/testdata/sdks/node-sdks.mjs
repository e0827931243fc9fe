// The server SDKs under one set of calls. Each is made with a host and a key only, as its users do:
// what else it needs to reach Keystone would be our bug.
import { Analytics } from "@segment/analytics-node";
import { Analytics as Analytics2 } from "@segment/analytics-node-2";
import Legacy from "analytics-node";
import Rudder from "@rudderstack/rudder-sdk-node";
import { jitsuAnalytics } from "@jitsu/js";

export const sdks = {
  "segment-3": (host, key) => segment(new Analytics({ host, writeKey: key })),
  "segment-2": (host, key) => segment(new Analytics2({ host, writeKey: key })),
  "segment-legacy": (host, key) => callbacks(new Legacy(key, { host })),
  rudder: (host, key) => callbacks(new Rudder(key, { dataPlaneUrl: host })),
  jitsu,
};

function segment(client) {
  const failures = [];
  client.on("error", (err) => failures.push(err));
  const call = (name) => (message) => client[name](message);
  return {
    ...Object.fromEntries(["page", "track", "identify", "group", "alias", "screen"].map((n) => [n, call(n)])),
    async close() {
      await client.closeAndFlush();
      if (failures.length > 0) throw failures[0];
    },
  };
}

// The legacy SDK and RudderStack's, its fork, tell a message's fate to its callback, and to nobody else.
function callbacks(client) {
  const fates = [];
  const call = (name) => (message) =>
    fates.push(new Promise((done, fail) => client[name](message, (err) => (err ? fail(err) : done()))));
  return {
    ...Object.fromEntries(["page", "track", "identify", "group", "alias", "screen"].map((n) => [n, call(n)])),
    async close() {
      await client.flush();
      await Promise.all(fates);
    },
  };
}

// Jitsu's calls are those of a browser: who is meant is kept between them, and there is no alias and
// no screen. Each call is a request, whose promise says how it went. It takes keys of the form
// "id:secret" only; the id can be anything.
function jitsu(host, key) {
  const client = jitsuAnalytics({ host, writeKey: `keystone:${key}`, s2s: true, errorPolicy: "rethrow" });
  let last = Promise.resolve();
  const next = (f) => (last = last.then(f));
  const options = ({ anonymousId, userId }) => ({ anonymousId, userId });
  return {
    page: (m) => next(() => client.page({ ...m.properties, name: m.name }, options(m))),
    track: (m) => next(() => client.track(m.event, m.properties, options(m))),
    identify: (m) => next(() => client.identify(m.userId, m.traits, options(m))),
    group: (m) => next(() => client.group(m.groupId, m.traits, options(m))),
    close: () => last,
  };
}
