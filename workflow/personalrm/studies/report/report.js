// Figures are unpacked; folds open where an address points into them; tables are sorted by a click on a heading, and
// filtered.
(() => {
  const FEW = 8;

  function open() {
    // Ids are names of results, so that nothing in them is encoded.
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  }

  // Numbers before texts, missing ones last whichever way the column is sorted. "< 0.001" stands with 0.001.
  function number(text) {
    const found = /^[<+\u2212\u00b1-]?\s*[\d,]*\.?\d+/.exec(text.trim());
    return found ? Number(found[0].replace(/[<,\u00b1\s]/g, "").replace("\u2212", "-")) : null;
  }

  function compared(one, two, down) {
    const [x, y] = [number(one), number(two)];
    if (x === null && y === null) return one.localeCompare(two) * (down ? -1 : 1);
    if (x === null || y === null) return x === null ? 1 : -1;
    return (x - y) * (down ? -1 : 1);
  }

  function sortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((cell, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const down = cell.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", down ? "descending" : "ascending");
        const text = (row) => row.cells[place].textContent;
        body.append(...[...body.rows].sort((one, two) => compared(text(one), text(two), down)));
      });
    });
  }

  function filterable(table) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < FEW) return;
    const label = document.createElement("label");
    const box = document.createElement("input");
    const count = document.createElement("output");
    label.className = "filter";
    box.type = "search";
    label.append("Rows that contain ", box);
    box.addEventListener("input", () => {
      const wanted = box.value.toLowerCase().split(/\s+/);
      for (const row of rows) row.hidden = !wanted.every((word) => row.textContent.toLowerCase().includes(word));
      count.textContent = ` ${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
    });
    label.append(count);
    table.parentElement.before(label);
  }

  // Ends when the figure has its size, so that what an address points to stays in sight.
  async function draw(image) {
    image.src = `data:image/svg+xml,${encodeURIComponent(await unpacked(image.dataset.packed))}`;
    await image.decode().catch(() => {});
  }

  for (const table of document.querySelectorAll("table.data")) {
    sortable(table);
    filterable(table);
  }
  addEventListener("hashchange", open);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
  Promise.all([...document.querySelectorAll("img")].map(draw)).catch(unreadable).then(() => {
    open();
    document.documentElement.dataset.ready = "yes";
  });
})();
