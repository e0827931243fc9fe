// The script tag is the configuration. It is read while the script runs: later, currentScript is gone.

const script = /** @type {HTMLScriptElement | null} */ (
  document.currentScript || document.querySelector('script[data-key][src*="tracker.js"]')
);

/** @param {string} name */
export const attribute = (name) => (script ? script.getAttribute("data-" + name) : null);

export const key = attribute("key") || "";

/** @param {unknown[]} what */
export const warn = (...what) => {
  // A page that sells nothing of ours should not find us in its console, unless it asked.
  if (attribute("debug") !== null) console.warn("keystone:", ...what);
};

/** The address of the ingest endpoint, without the key; empty where none can be told. */
export const endpoint = (() => {
  try {
    const own = attribute("endpoint");
    return own ? new URL(own, document.baseURI).href : new URL("../../api/ingest", script ? script.src : "").href;
  } catch (e) {
    return "";
  }
})();

/**
 * A number from the tag, or its default where it is absent or nonsense.
 * @param {string} name
 * @param {number} otherwise
 */
export const number = (name, otherwise) => {
  const n = Number(attribute(name));
  return n > 0 ? n : otherwise;
};
