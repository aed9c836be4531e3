"""The report in a real browser: no violation of WCAG A or AA, tables that are sorted and filtered, folds that open, and
the number asked for in sight."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.browser import DARK, after, axe_script, needs_axe, needs_browser, of_an_old_browser
from support.comparison_cases import default, learned
from support.packed import damaged

from personalrm.results.sortable_page import sortable_page
from personalrm.results.table_formats import Block, write_table
from personalrm.studies.report.page_tables import MOST_ROWS
from personalrm.studies.report.shown import Demonstration, Dots, People, Person, PersonaText, Weight

from .test_report import page_of, scores_of

pytestmark = [needs_browser, needs_axe]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="600" height="300"><circle r="99" fill="#ddd"/></svg>'
PROBE = """
  const first = ({ tBodies: [body] }) =>
    [...body.rows].filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
  const table = document.querySelector("#main table"), found = {}, users = document.getElementById("users");
  found.opened = [users.open];
  users.open = false;
  found.unfolded = document.querySelectorAll("details[open]").length;
  const press = (place) => { table.tHead.rows[0].cells[place].querySelector("button").click(); return first(table); };
  found.up = press(4); found.down = press(4); found.sort = table.tHead.rows[0].cells[4].getAttribute("aria-sort");
  const box = document.querySelector("#main input");
  box.value = "METHOD [3.0"; box.dispatchEvent(new Event("input"));
  found.filtered = first(table); found.count = document.querySelector("#main output").textContent;
  box.value = ""; box.dispatchEvent(new Event("input"));
  found.screens = document.documentElement.scrollHeight / 800;
  found.figure = document.querySelector("figure img").getBoundingClientRect().bottom + scrollY;
  found.numbers = document.querySelector(".numbers").getBoundingClientRect().bottom + scrollY;
  found.wide = document.documentElement.scrollWidth - innerWidth;
  location.hash = "#later";
  await new Promise((done) => setTimeout(done, 50));
  found.opened.push(document.getElementById("later").open, users.open);
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  const cell = table.tBodies[0].rows[0].cells[5].getBoundingClientRect();
  found.asked = [cell.left >= 0, cell.right <= innerWidth];
  found.violations = await violations();
  return found;
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with every part that a page can have."""
    folder = tmp_path_factory.mktemp("report")
    users = {f"u{number}": "10" for number in range(4)}
    frame = pd.DataFrame(
        {
            "Method": [
                f"SynthesizeMe: persona + demonstrations · log-prob, both orders, method {n}" for n in range(12)
            ],
            "k": ["all"] * 12,
            "Variant": ["corrected"] * 12,
            "Profile by": [f"qwen2.5-coder-{n % 2}.5b" for n in range(12)],
            "Judge": [f"qwen2.5-coder-{n % 3}.5b" for n in range(12)],
            "Users": [f"{n % 2 + 4:,}" for n in range(12)],
            "Pairs": [f"{n * 110:,}" for n in range(12)],
            "Accuracy % [95 % CI]": [f"{(n * 7) % 12 + 50}.00 [{n}.0, 99.0]" for n in range(12)],
            "Mean of users": ["50.0"] * 11 + ["51.0"],
        }
    )
    stems = [folder / name for name in ("main", "later")]
    for stem in stems:
        write_table(frame, stem, caption=f"Table {stem.name}", notes=["a note"], blocks=[Block("Accuracy", frame, 5)])
    page = sortable_page(Block("", frame, 5), "Every user", ["a note"])
    write_table(frame, folder / "users", caption="Every user", page=page)
    for name in ("main", "alone"):
        (folder / f"{name}.svg").write_text(SVG)
        (folder / f"{name}.txt").write_text(f"Figure {name}: what it shows.\n")
    person = Person(
        dataset="d",
        user="ann",
        planted="likes warmth",
        personas=[
            PersonaText("Measured from the votes", "This person prefers warmth. " * 20),
            PersonaText("By m", "Warm."),
        ],
        weights=[Weight("warm answers", 2.0, 0.5, 3.5), Weight("long answers", 0.5, -1.0, 2.0)],
        demonstrations=[Demonstration("asked?", "yes", "no", "because")],
        dots=[Dots("Default", ["wrong", "split", "none", "right"]), Dots("Ours", ["right"] * 70)],
    )
    tables = [*(stem.with_suffix(".html") for stem in stems), folder / "users.html"]
    return page_of(
        scores_of(folder / "scores", (default(), users), (learned(), users)),
        tables,
        [folder / "main.svg", folder / "alone.svg"],
        {f"table_{name}": f"What {name} shows." for name in ("main", "later", "users")},
        People([person] * 14, 3000),
    )


def probed(page: str, folder: Path, width: int, *flags: str) -> dict[str, Any]:
    """What the probe finds on the page, in a window so wide and 800 high."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    script = f"{axe_script()}\n{PROBE}"
    found: dict[str, Any] = after(folder / "page.html", script, "users", f"--window-size={width},800", *flags)
    return found


@pytest.fixture(scope="module")
def wide(report: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return probed(report, tmp_path_factory.mktemp("wide"), 1400)


def assert_sound(found: dict[str, Any]) -> None:
    assert found["violations"] == []
    # Nothing but tables scrolls sideways.
    assert found["wide"] <= 0


def assert_first_screen(found: dict[str, Any]) -> None:
    assert found["unfolded"] == 0
    assert found["screens"] < 8
    assert max(found["figure"], found["numbers"]) <= 800
    assert found["asked"] == [True, True]


def test_the_page_is_accessible_and_the_number_asked_for_in_sight(wide: dict[str, Any]) -> None:
    assert_sound(wide)
    assert_first_screen(wide)


def test_the_page_is_accessible_in_dark_colours_on_a_small_laptop(report: str, tmp_path: Path) -> None:
    found = probed(report, tmp_path, 1280, DARK)
    assert_sound(found)
    assert_first_screen(found)


def test_the_page_is_accessible_where_it_is_narrow(report: str, tmp_path: Path) -> None:
    found = probed(report, tmp_path, 500)
    assert_sound(found)
    assert found["figure"] < found["numbers"]


PICTURES = """
  const seen = (image) => [image.alt, image.naturalWidth, image.naturalHeight, image.checkVisibility()];
  document.querySelector("table.data button").click();
  const sorted = document.querySelectorAll("[aria-sort]").length;
  const note = document.querySelector("figcaption").innerText;
  return { images: [...document.images].map(seen), note, sorted, violations: await violations() };
"""


def pictures(page: str, folder: Path) -> dict[str, Any]:
    (folder / "page.html").write_text(page, encoding="utf-8")
    found: dict[str, Any] = after(folder / "page.html", f"{axe_script()}\n{PICTURES}")
    return found


def test_figures_are_drawn_from_the_page_alone(report: str, tmp_path: Path) -> None:
    found = pictures(report, tmp_path)
    assert found["images"] == [["Figure main", 600, 300, True], ["Figure alone", 600, 300, True]]
    assert found["note"] == "What the figure shows"
    assert found["violations"] == []


@pytest.mark.parametrize("change", [of_an_old_browser, damaged])
def test_where_figures_cannot_be_drawn_it_is_said_and_the_rest_works(
    report: str, tmp_path: Path, change: Callable[[str], str]
) -> None:
    found = pictures(change(report), tmp_path)
    assert found["images"] == [["Figure main", 0, 0, True], ["Figure alone", 0, 0, True]]
    assert "a browser of 2023 or later" in found["note"]
    assert found["sorted"] == 1
    assert found["violations"] == []


def test_tables_are_sorted_and_filtered_and_folds_open_where_an_address_points(wide: dict[str, Any]) -> None:
    found = wide
    ends = [[int(name.rpartition(" ")[2]) for name in found[way]] for way in ("up", "down")]
    # By number and not by text: 990 pairs before 1,100.
    assert ends == [list(range(12)), list(range(11, -1, -1))]
    assert found["sort"] == "descending"
    assert [name[-8:] for name in found["filtered"]] == ["method 3"]
    assert found["count"] == " 1 of 12"
    # The one that the address named at first, and the one that it named then, alone.
    assert found["opened"] == [True, True, False]


def test_a_small_p_comes_before_larger_ones_and_an_odd_address_stops_nothing(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Method": ["a", "b", "c"], "p": ["0.020", "–", "< 0.001"]})
    write_table(frame, tmp_path / "p", caption="Table p", blocks=[Block("", frame, 1)])
    users = {"u1": "10"}
    scores = scores_of(tmp_path / "scores", (default(), users), (learned(), users))
    page = tmp_path / "report.html"
    page.write_text(page_of(scores, [tmp_path / "p.html"], [], {}), encoding="utf-8")
    script = """
        document.querySelectorAll("table.data button")[1].click();
        const rows = [...document.querySelectorAll("table.data tbody tr")];
        return [document.documentElement.dataset.ready, ...rows.map((row) => row.cells[0].textContent)];
    """
    assert after(page, script, "%") == ["yes", "c", "a", "b"]


def test_texts_of_users_and_models_are_shown_and_not_run(tmp_path: Path) -> None:
    evil = "</script><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">{{ 7 * 7 }}"
    shown = [Demonstration(evil, evil, evil, evil)]
    person = Person(dataset=evil, user=evil, planted=evil, personas=[PersonaText(evil, evil)], demonstrations=shown)
    users = {"u1": "10"}
    scores = scores_of(tmp_path / "scores", (default(), users), (learned(), users))
    page = tmp_path / "report.html"
    page.write_text(page_of(scores, [], [], {}, People([person], 1)), encoding="utf-8")
    script = """
        const tags = ["script", "img"].map((tag) => document.querySelectorAll(tag).length);
        return [document.title, ...tags, document.querySelector(".card h3").textContent];
    """
    # Two scripts: the page's own, and this one.
    assert after(page, script) == ["Report of run made", 2, 0, evil]


def test_people_are_capped_and_more_than_twelve_are_folded(report: str) -> None:
    part = report.partition('id="people"')[2].partition('id="summary"')[0]
    assert "14 of 3,000 users, chosen by a hash of their ids" in part
    assert part.count('<li class="card">') == 14
    assert part.partition('<details class="fold">')[0].count('<li class="card">') == 12
    assert "<summary>2 more users</summary>" in part
    assert 'href="transcripts.html#user=d/ann"' in part
    assert 'aria-label="Ours: 70 of 70 pairs right"' in part
    assert "+10" in part
    assert 'aria-label="+0.5, 95 % interval -1.0 to +2.0"' in part


def test_constant_columns_go_into_the_note_and_a_long_table_is_linked(report: str, tmp_path: Path) -> None:
    part = report.partition('<section id="main">')[2].partition("</section>")[0]
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', part) == [
        *("Method", "Profile by", "Judge", "Users", "Pairs", "Accuracy % [95 % CI]", "Mean of users"),
    ]
    assert "The same in all rows: k all; Variant corrected." in part
    # A table that draws itself is shown whole where it is short, and linked where it is long.
    assert report.partition('id="users"')[2].partition("</details>")[0].count("<tr>") == 13
    rows = pd.DataFrame({"User": [f"u{n}" for n in range(MOST_ROWS + 1)], "n": ["1"] * (MOST_ROWS + 1)})
    write_table(rows, tmp_path / "users", caption="All", page=sortable_page(Block("", rows, 1), "All", []))
    users = {"u": "10"}
    page = page_of(scores_of(tmp_path / "s", (default(), users)), [tmp_path / "users.html"], [], {})
    assert '<a href="tables/users.html">tables/users.html</a>, beside this file, has all 501 rows' in page
    assert "u499" not in page
