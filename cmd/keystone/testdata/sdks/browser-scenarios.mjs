// What browser.mjs can do. A scenario gets a browser and its input, and answers what it saw.

// journey drives a visitor through an SDK over some pages. A page is left when its events are
// answered; with "hurry" as soon as its calls are made; with "leave" the first one as soon as its
// requests are under way, never to see an answer: the SDK has to bring them home from the next.
export async function journey(context, { shop, bye, sdk, run, host, key, hurry, leave }) {
  const page = await context.newPage();
  const problems = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && problems.push(m.text()));
  page.on("pageerror", (err) => problems.push(String(err)));
  let [requested, answered] = [0, 0];
  page.on("request", (r) => {
    if (r.method() === "POST") requested++;
  });
  page.on("response", (r) => {
    if (r.request().method() === "POST" && r.ok()) answered++;
  });
  const url = `${shop}?${new URLSearchParams({ sdk, host, key })}`;
  let sent = 0;
  const visit = async (n, calls, arg) => {
    await page.goto(url);
    const out = await page.evaluate(calls, arg);
    sent += n;
    if (leave && sent === n) {
      while (requested < sent) await page.waitForEvent("request");
      return out;
    }
    while (!hurry && answered < sent) await page.waitForEvent("response");
    return out;
  };

  const device = await visit(
    2,
    async (run) => {
      const shop = await window.shop;
      shop.page("Home");
      shop.track("Product Added", { cart_id: `cart-${run}`, product_id: "P-1", name: "Shoe", price: 100.5, quantity: 2 });
      return shop.device();
    },
    run,
  );
  await visit(1, async () => void (await window.shop).page("Shoes"));
  await visit(
    4,
    async (run) => {
      const shop = await window.shop;
      shop.page("Checkout");
      shop.identify(`user-${run}`, { email: `${run}@shop.example`, name: "Ann", plan: "gold" });
      shop.track("Order Completed", {
        order_id: `order-${run}`,
        total: 219.98,
        currency: "USD",
        products: [
          { product_id: "P-1", name: "Shoe", price: 100.5, quantity: 2 },
          { product_id: "P-2", name: "Lace", price: 18.98, quantity: 1 },
        ],
      });
      shop.group("acme", { seats: 7 });
    },
    run,
  );
  if (await page.evaluate(async () => "alias" in (await window.shop))) {
    await visit(1, async (run) => void (await window.shop).alias(`user-${run}`, `tablet-${run}`), run);
  }
  await page.goto(bye);
  return { device, problems, cookies: (await context.cookies(host)).length };
}

// fetches makes requests from a page of the shop, and answers what the page could read of each.
export async function fetches(context, { shop, requests }) {
  const page = await context.newPage();
  await page.goto(`${shop}?sdk=none`);
  const answers = {};
  for (const { name, url, init, sandboxed } of requests) {
    answers[name] = await page.evaluate(sandboxed ? fetchSandboxed : fetchHere, { url, init });
  }
  return answers;
}

async function fetchHere({ url, init }) {
  try {
    const r = await fetch(url, init);
    return { status: r.status, retryAfter: r.headers.get("Retry-After"), requestID: r.headers.get("X-Request-Id") };
  } catch (err) {
    return { error: String(err) };
  }
}

// A sandboxed frame has no origin: it says "null".
function fetchSandboxed({ url, init }) {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  frame.srcdoc = `<script>
    fetch(${JSON.stringify(url)}, ${JSON.stringify(init)}).then(
      (r) => parent.postMessage({ status: r.status }, "*"),
      (err) => parent.postMessage({ error: String(err) }, "*"));
  </script>`;
  return new Promise((done) => {
    addEventListener("message", (m) => done(m.data), { once: true });
    document.body.append(frame);
  });
}

// leave makes requests while the page is being left, in the ways that outlive it.
export async function leave(context, { shop, bye, host, key, device }) {
  const page = await context.newPage();
  await page.goto(`${shop}?sdk=none`);
  await page.evaluate(
    ({ host, key, device }) => {
      const event = (name) => JSON.stringify({ message_id: `${device}-${name}`, anonymous_id: device, event_type: "track", event_name: name });
      addEventListener("pagehide", () => {
        navigator.sendBeacon(`${host}/ingest?key=${key}`, event("beacon"));
        navigator.sendBeacon(`${host}/ingest?key=${key}`, new Blob([event("beacon-json")], { type: "application/json" }));
        const headers = { "X-API-Key": key, "Content-Type": "application/json" };
        fetch(`${host}/ingest`, { method: "POST", keepalive: true, headers, body: event("keepalive") });
      });
    },
    { host, key, device },
  );
  await page.goto(bye);
  return {};
}
