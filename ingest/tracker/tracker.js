// Keystone's browser tracker.
//
//   <script async src="https://cdp.example/v1/js/tracker.js" data-key="ks_trk_…"></script>
//
// Pages may call before it has loaded: window.keystone = window.keystone || [];
// keystone.push(["track", "Added to Cart", { product_id: "P-1" }]).
(function () {
  "use strict";
  var script = document.currentScript;
  var early = window.keystone;
  if (!script || (early && early.track)) return; // loaded twice

  var key = script.getAttribute("data-key") || "";
  var endpoint = script.getAttribute("data-endpoint") || new URL("../../api/ingest", script.src).href;
  var auto = script.getAttribute("data-page") !== "off";
  var MAX_QUEUE = 1000; // events; the oldest go first
  var MAX_WAIT = 60000; // ms between attempts
  var MAX_BODY = 60000; // characters; browsers refuse keepalive requests beyond 64 kB

  function uuid() {
    if (window.crypto && crypto.randomUUID) return crypto.randomUUID();
    return "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, function () {
      return ((Math.random() * 16) | 0).toString(16);
    });
  }

  // Storage may be blocked or full: then the value lives as long as the page.
  var memory = {};
  function load(name) {
    try {
      return localStorage.getItem("keystone." + name) || memory[name];
    } catch (e) {
      return memory[name];
    }
  }
  function save(name, value) {
    memory[name] = value;
    try {
      if (value) localStorage.setItem("keystone." + name, value);
      else localStorage.removeItem("keystone." + name);
    } catch (e) {}
  }

  function anonymousId() {
    var id = load("anonymous_id");
    if (!id) save("anonymous_id", (id = uuid()));
    return id;
  }

  var queue = []; // {event, done}; the first may be under way
  var busy = false;
  var failures = 0;

  function finish(item, ok) {
    var i = queue.indexOf(item);
    if (i >= 0) queue.splice(i, 1);
    item.done(ok);
  }

  function body(item) {
    item.event.sent_at = new Date().toISOString();
    return JSON.stringify(item.event);
  }

  function again(seconds) {
    failures++;
    var wait = Math.min(MAX_WAIT, 500 * Math.pow(2, failures)) * (0.5 + Math.random() / 2);
    setTimeout(function () {
      busy = false;
      drain();
    }, Math.max(wait, seconds * 1000 || 0));
  }

  // One request at a time keeps the order. A message id never changes, so a repetition counts once.
  function drain() {
    var item = queue[0];
    if (busy || !item) return;
    busy = true;
    var text = body(item);
    fetch(endpoint, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-API-Key": key },
      body: text,
      keepalive: text.length < MAX_BODY,
      credentials: "omit",
    }).then(
      function (answer) {
        var s = answer.status;
        if (s === 408 || s === 429 || s >= 500) return again(+answer.headers.get("Retry-After"));
        failures = 0;
        finish(item, answer.ok);
        busy = false;
        drain();
      },
      function () {
        again(0);
      }
    );
  }

  function leave() {
    queue.slice().forEach(function (item) {
      var text = body(item);
      try {
        // A beacon has no headers: the key goes into the query, the body is plain text. Its answer is
        // never seen, so the item stays queued in case the page comes back.
        if (navigator.sendBeacon) navigator.sendBeacon(endpoint + "?key=" + encodeURIComponent(key), text);
      } catch (e) {}
    });
  }

  function send(type, fields) {
    var event = {
      message_id: uuid(),
      anonymous_id: anonymousId(),
      event_type: type,
      timestamp: new Date().toISOString(),
      context: {
        page: { url: location.href, referrer: document.referrer, title: document.title },
        user_agent: navigator.userAgent,
        locale: navigator.language,
        library: { name: "keystone.js", version: "0.1.0" },
      },
    };
    var identity = load("identity");
    if (identity) event.identity = JSON.parse(identity);
    for (var name in fields) if (fields[name] !== undefined) event[name] = fields[name];
    return new Promise(function (resolve) {
      while (queue.length >= MAX_QUEUE) finish(queue[busy ? 1 : 0], false);
      queue.push({ event: event, done: resolve });
      drain();
    });
  }

  // Each call returns a promise of whether the server has taken the event.
  var api = {
    track: function (name, payload) {
      return send("track", { event_name: String(name), payload: payload });
    },
    page: function (name, payload) {
      return send("page", { event_name: name === undefined ? undefined : String(name), payload: payload });
    },
    identify: function (identity, traits) {
      save("identity", JSON.stringify(identity));
      return send("identify", { payload: traits });
    },
    reset: function () {
      save("identity", "");
      save("anonymous_id", "");
    },
    anonymousId: anonymousId,
    push: function (call) {
      var f = api[call[0]];
      if (f) return f.apply(api, [].slice.call(call, 1));
    },
  };

  window.keystone = api;
  window.addEventListener("pagehide", leave);
  if (auto) api.page();
  if (Array.isArray(early)) early.forEach(api.push);
})();
