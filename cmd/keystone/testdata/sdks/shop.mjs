// A shop's page with the SDK that the query names, loaded as its users load it: the bundle of its
// package, a host and a key. The driver calls it through window.shop.
const query = new URLSearchParams(location.search);
const [name, host, key] = ["sdk", "host", "key"].map((q) => query.get(q));

const loaders = {
  "segment-next": () => segment({}),
  // Keeps its events and sends them with keepalive when the page goes.
  "segment-batching": () =>
    segment({ integrations: { "Segment.io": { deliveryStrategy: { strategy: "batching", config: { size: 50, timeout: 60_000 } } } } }),
  "rudder-js": () => rudder({}),
  // Keeps its events and hands them to navigator.sendBeacon when the page goes.
  "rudder-beacon": () => rudder({ useBeacon: true }),
  "jitsu-js": jitsu,
  none: () => ({}),
};

function script(src) {
  return new Promise((done, fail) => {
    const tag = Object.assign(document.createElement("script"), { src, onload: done, onerror: fail });
    document.head.append(tag);
  });
}

async function segment(options) {
  await script("node_modules/@segment/analytics-next/dist/umd/index.js");
  const [analytics] = await AnalyticsNext.AnalyticsBrowser.load({ writeKey: key, cdnURL: host }, options);
  return {
    device: () => analytics.user().anonymousId(),
    page: (name) => analytics.page(name),
    track: (event, properties) => analytics.track(event, properties),
    identify: (id, traits) => analytics.identify(id, traits),
    group: (id, traits) => analytics.group(id, traits),
    alias: (id, previous) => analytics.alias(id, previous),
  };
}

async function rudder(options) {
  await script("node_modules/@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js");
  const analytics = new rudderanalytics.RudderAnalytics();
  await new Promise((ready) => {
    analytics.load(key, host, { configUrl: host, onLoaded: ready, ...options });
  });
  return {
    device: () => analytics.getAnonymousId(),
    page: (name) => analytics.page(name),
    track: (event, properties) => analytics.track(event, properties),
    identify: (id, traits) => analytics.identify(id, traits),
    group: (id, traits) => analytics.group(id, traits),
    alias: (id, previous) => analytics.alias(id, previous),
  };
}

async function jitsu() {
  const { jitsuAnalytics } = await import("./node_modules/@jitsu/js/dist/jitsu.es.js");
  const analytics = jitsuAnalytics({ host, writeKey: `keystone:${key}` });
  return {
    device: () => analytics.user().anonymousId,
    page: (name) => analytics.page({ name }),
    track: (event, properties) => analytics.track(event, properties),
    identify: (id, traits) => analytics.identify(id, traits),
    group: (id, traits) => analytics.group(id, traits),
  };
}

window.shop = Promise.resolve(loaders[name]());
