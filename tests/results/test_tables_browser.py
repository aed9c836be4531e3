"""The page of a table in a real browser: no violation of WCAG A or AA in light and in dark colours."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.browser import DARK, after, axe_script, needs_axe, needs_browser

from personalrm.results.sortable_page import sortable_page
from personalrm.results.table_formats import Block, write_table

pytestmark = [needs_browser, needs_axe]
FRAME = pd.DataFrame({"User": [f"u{n:02d}" for n in range(50)], "Method": ["Default", "Words"] * 25})
BLOCK = Block("Users", FRAME.assign(Accuracy=[f"{n % 7}0.0" for n in range(50)]), 2)


@pytest.mark.parametrize("flags", [(), (DARK,)])
@pytest.mark.parametrize("drawn", [False, True])
def test_the_page_of_a_table_is_accessible_and_as_dark_as_the_reader_asks(
    tmp_path: Path, drawn: bool, flags: tuple[str, ...]
) -> None:
    page = sortable_page(BLOCK, "Every user", ["a note"]) if drawn else None
    write_table(FRAME, tmp_path / "users", caption="Every user", notes=["a note"], blocks=[BLOCK], page=page)
    script = f"""{axe_script()}
        for (const times of [1, 2]) document.querySelectorAll("th button")[2]?.click();
        const colours = ["body", "tbody td", "tbody th", "thead th", ".notes", "select"].map((place) => {{
          const look = getComputedStyle(document.querySelector(place) ?? document.body);
          return [look.color, look.backgroundColor].map((text) => text.match(/[\\d.]+/g).map(Number));
        }});
        return [await violations(), colours, document.querySelector("tbody tr").textContent];
    """
    found, colours, first = after(tmp_path / "users.html", script, "", *flags)
    assert found == []
    for ink, paper in colours:
        assert (min(ink) > 150) == bool(flags)
        # Where it has a colour of its own.
        assert paper[3:] == [0] or (max(paper) < 60) == bool(flags)
    assert first == ("u06Default60.0" if drawn else "u00Default00.0")
