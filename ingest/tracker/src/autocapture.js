// Clicks on links that lead out of the site or to a file, and forms that are sent. Never what is in a
// form's fields.

import { listen } from "./native.js";

const FILE = /\.(pdf|docx?|xlsx?|pptx?|csv|txt|zip|rar|7z|gz|dmg|pkg|exe|msi|apk|mp3|mp4|mov|avi|epub)$/i;

/**
 * @param {string} what is wanted: links, downloads, forms; all where empty
 * @param {(name: string, properties: {[name: string]: any}) => void} track
 */
export const capture = (what, track) => {
  /** @param {string} name */
  const wants = (name) => !what.trim() || what.includes(name);

  /** @param {MouseEvent} e */
  const click = (e) => {
    if (e.button > 1) return; // a menu
    const from = /** @type {Element} */ (e.composedPath()[0] || e.target);
    const a = from.closest && /** @type {HTMLAnchorElement | null} */ (from.closest("a[href]"));
    if (!a || !/^https?:$/.test(a.protocol)) return;
    const properties = { url: a.href, text: (a.textContent || "").trim().slice(0, 200) };
    const file = a.pathname.match(FILE);
    if (file || a.hasAttribute("download")) {
      if (wants("downloads")) track("File Downloaded", { ...properties, extension: file ? file[1].toLowerCase() : "" });
    } else if (a.hostname !== location.hostname && wants("links")) {
      track("Outbound Link Clicked", properties);
    }
  };
  listen(document, "click", click, true);
  listen(document, "auxclick", click, true);
  if (!wants("forms")) return;
  listen(document, "submit", (e) => {
    // A field named "action" or "id" hides the form's own property, so attributes are read.
    const form = /** @type {Element} */ (e.target);
    track("Form Submitted", {
      form_id: form.getAttribute("id") || "",
      form_name: form.getAttribute("name") || "",
      action: form.getAttribute("action") || "",
    });
  }, true);
};
