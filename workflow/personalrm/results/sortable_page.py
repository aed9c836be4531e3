"""A long table as a page: sorted by a click on a heading, filtered by its columns, drawn a part at a time.

The page opens alone and fetches nothing. Texts reach it as JSON and are set as text, never read as HTML.
"""

from __future__ import annotations

import json

from personalrm.results.html_tables import CLOSE_FRAME, html_page, open_frame
from personalrm.results.table_formats import Block

SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const STEP = 300, CHOICES = 40, head = document.getElementById("head"), body = document.getElementById("body");
const filters = data.heads.map(() => null), kind = i => i < data.names ? "name" : "number";
let sorted = -1, down = false, rows = data.rows, shown = STEP;
// Numbers before texts, missing ones last whichever way the column is sorted.
const number = text => { const found = /^[+\\u2212-]?[\\d,]+(\\.\\d+)?/.exec(text);
  return found ? Number(found[0].replace(/,/g, "").replace("\\u2212", "-")) : null; };
const compare = (a, b) => { const x = number(a[sorted]), y = number(b[sorted]);
  const names = sorted < data.names;
  if (names || x === null && y === null)
    return (a[sorted] < b[sorted] ? -1 : a[sorted] > b[sorted] ? 1 : 0) * (down ? -1 : 1);
  if (x === null || y === null) return x === null ? 1 : -1;
  return (x - y) * (down ? -1 : 1); };
function update() {
  const used = filters.map((keep, i) => [keep, i]).filter(pair => pair[0]);
  rows = data.rows.filter(row => used.every(([keep, i]) => keep(row[i])));
  if (sorted >= 0) rows = rows.slice().sort(compare);
  shown = STEP; draw();
}
function draw() {
  const part = document.createDocumentFragment();
  for (const row of rows.slice(0, shown)) {
    const line = document.createElement("tr");
    row.forEach((text, i) => { const cell = document.createElement(i ? "td" : "th"); cell.textContent = text;
      cell.className = kind(i); if (!i) cell.scope = "row"; line.append(cell); });
    part.append(line);
  }
  body.replaceChildren(part);
  document.getElementById("count").textContent =
    `${Math.min(shown, rows.length)} of ${rows.length} rows shown (${data.rows.length} in all)`;
  document.getElementById("more").hidden = shown >= rows.length;
}
function filter(i) {
  const texts = [...new Set(data.rows.map(row => row[i]))];
  const few = texts.length <= CHOICES, box = document.createElement(few ? "select" : "input");
  box.setAttribute("aria-label", "filter " + data.heads[i]);
  if (few) for (const text of ["", ...texts]) {
    const choice = document.createElement("option"); choice.value = text; choice.textContent = text || "all";
    box.append(choice);
  } else box.placeholder = "contains";
  box.addEventListener("input", () => { const wanted = box.value;
    filters[i] = wanted ? (few ? text => text === wanted : text => text.includes(wanted)) : null; update(); });
  return box;
}
data.heads.forEach((text, i) => {
  const cell = document.createElement("th"), button = document.createElement("button");
  button.textContent = text; cell.className = kind(i); cell.scope = "col";
  button.addEventListener("click", () => { down = sorted === i && !down; sorted = i;
    for (const other of head.children) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", down ? "descending" : "ascending"); update(); });
  cell.append(button); if (i < data.names) cell.append(filter(i)); head.append(cell);
});
document.getElementById("more").addEventListener("click", () => { shown += STEP; draw(); });
update();
"""


def sortable_page(block: Block, caption: str, notes: list[str]) -> str:
    """The page of one block: its columns that name a row can be filtered, all can be sorted."""
    data = {
        "heads": [str(head) for head in block.texts.columns],
        "names": block.n_names,
        "rows": block.texts.to_numpy().tolist(),
    }
    # "<" is the one sign that could end the script's element.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = [
        '<p id="count">This page needs JavaScript; the csv beside it holds the same rows.</p>',
        open_frame(caption),
        '<thead><tr id="head"></tr></thead><tbody id="body">',
        CLOSE_FRAME,
        '<button id="more">show more rows</button>',
        f'<script type="application/json" id="data">{text}</script>',
        f"<script>{SCRIPT}</script>",
    ]
    return html_page(caption, notes, parts)
