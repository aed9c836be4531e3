"use strict";
// What both pages hold compressed: zlib, in base64.

// The text; rejects what is damaged, and where the browser has no DecompressionStream (those before 2023).
async function unpacked(packed) {
  const signs = atob(packed);
  const bytes = new Uint8Array(signs.length);
  for (let at = 0; at < signs.length; at += 1) bytes[at] = signs.charCodeAt(at);
  return new Response(new Response(bytes).body.pipeThrough(new DecompressionStream("deflate"))).text();
}

// What a page says where no script runs holds where nothing can be unpacked, too.
function unreadable() {
  for (const note of document.querySelectorAll("noscript")) note.replaceWith(note.textContent);
}
