"use strict";
// Data in both pages are compressed with zlib and encoded in base64 (`page_parts.packed`).

// Returns the text. Rejects if the data are damaged or the browser has no DecompressionStream (before 2023).
async function unpacked(packed) {
  const signs = atob(packed);
  const bytes = new Uint8Array(signs.length);
  for (let at = 0; at < signs.length; at += 1) bytes[at] = signs.charCodeAt(at);
  return new Response(new Response(bytes).body.pipeThrough(new DecompressionStream("deflate"))).text();
}

// Shows the texts of <noscript>: they also apply if data cannot be unpacked.
function unreadable() {
  for (const note of document.querySelectorAll("noscript")) note.replaceWith(note.textContent);
}
