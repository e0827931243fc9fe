// Usage: node node.mjs SDK HOST KEY SCENARIO [COUNT [RUN]]
// Drives one server SDK. Exit status 0: the SDK says that everything was delivered.
import { sdks } from "./node-sdks.mjs";

const [name, host, key, scenario, count, run = ""] = process.argv.slice(2);
const anonymousId = `device-${name}${run}`;
const userId = `user-${name}${run}`;
const sdk = sdks[name](host, key);

const scenarios = {
  // A visitor looks around, logs in and buys. Everything a shop sends, each call once.
  journey() {
    sdk.page({ anonymousId, name: "Home", properties: { url: "https://shop.example/" } });
    sdk.page({ anonymousId, name: "Shoes", properties: { url: "https://shop.example/shoes" } });
    sdk.track({
      anonymousId,
      event: "Product Added",
      properties: { cart_id: `cart-${name}`, product_id: "P-1", name: "Shoe", price: 100.5, quantity: 2 },
    });
    sdk.identify({
      anonymousId,
      userId,
      traits: { email: `${name}@shop.example`, name: "Ann", plan: "gold" },
    });
    sdk.track({
      anonymousId,
      userId,
      event: "Order Completed",
      properties: {
        order_id: `order-${name}`,
        total: 219.98,
        currency: "USD",
        products: [
          { product_id: "P-1", name: "Shoe", price: 100.5, quantity: 2 },
          { product_id: "P-2", name: "Lace", price: 18.98, quantity: 1 },
        ],
      },
    });
    sdk.group({ anonymousId, userId, groupId: "acme", traits: { seats: 7 } });
    sdk.screen?.({ anonymousId, userId, name: "Cart", properties: {} });
    if (!sdk.alias) return;
    // Another device of hers, seen before: the alias joins it.
    sdk.page({ anonymousId: `tablet-${name}`, name: "Home", properties: {} });
    sdk.alias({ userId, previousId: `tablet-${name}` });
  },
  // Many events of one visitor, in as many requests as the SDK likes.
  burst() {
    for (let i = 0; i < Number(count); i++) {
      sdk.track({ anonymousId, userId, event: "Tick", properties: { n: i } });
    }
  },
  // One event that is far beyond what an SDK should send, between small ones.
  large() {
    sdk.track({ anonymousId, userId, event: "Tick", properties: { n: 0 } });
    sdk.track({ anonymousId, userId, event: "Tock", properties: { blob: "x".repeat(Number(count)) } });
    sdk.track({ anonymousId, userId, event: "Tick", properties: { n: 1 } });
  },
};

scenarios[scenario]();
await sdk.close();
