"""A long table as a page: sorted by a click on a heading, filtered by its columns, drawn a part at a time.

The page opens alone and fetches nothing. Texts reach it as JSON and are set as text, never read as HTML.
"""

from __future__ import annotations

import html
import json

from personalrm.results.table_formats import PAGE_STYLE, Block

STYLE = (
    "table{border-collapse:collapse;font-size:14px}th,td{padding:4px 9px;border-bottom:1px solid #ddd;text-align:right}"
    "td{white-space:nowrap}th{position:sticky;top:0;background:#fff;border-bottom:2px solid #222;vertical-align:bottom}"
    "th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid #0173b2}"
    ".name{text-align:left}tbody tr:nth-child(even){background:#f4f4f4}"
    "th select,th input{display:block;max-width:12rem;margin-top:4px;font-size:12px}"
    "#count{color:#444}#more{margin:1rem 0}"
)
SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const STEP = 300, CHOICES = 40, head = document.getElementById("head"), body = document.getElementById("body");
const filters = data.heads.map(() => null);
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
    row.forEach((text, i) => { const cell = document.createElement("td"); cell.textContent = text;
      if (i < data.names) cell.className = "name"; line.append(cell); });
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
  button.textContent = text; if (i < data.names) cell.className = "name";
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
    title = html.escape(caption)
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{PAGE_STYLE}{STYLE}</style></head>",
            f'<body><h1>{title}</h1><ul class="notes">{listed}</ul>',
            '<p id="count">This page needs JavaScript; the csv beside it holds the same rows.</p>',
            '<table><thead><tr id="head"></tr></thead><tbody id="body"></tbody></table>',
            '<button id="more">show more rows</button>',
            f'<script type="application/json" id="data">{text}</script>',
            f"<script>{SCRIPT}</script></body></html>\n",
        ]
    )
