// Not run: tsc checks that the declarations say what docs/tracker.md promises.
import type { Keystone, Result } from "../tracker";

export async function page(keystone: Keystone): Promise<string> {
  const taken: Result = await keystone.track("Added to Cart", { product_id: "P-1", price: 9.5, tags: ["new", null] });
  await keystone.page();
  await keystone.identify({ email: "ann@example.com", crm_id: 7 }, { city: "Rome" });
  const off: () => void = keystone.on("retry", (r) => r.wait_ms.toFixed());
  off();
  window.keystone.push(["track", "Early"], (k) => k.flush());
  // @ts-expect-error an event needs a name
  keystone.track();
  // @ts-expect-error not a state
  keystone.consent("maybe");
  // @ts-expect-error a function is no JSON
  keystone.track("x", { f: () => 1 });
  return taken.reason ?? window.keystoneData[0]?.message_id ?? keystone.anonymousId();
}
