"""The transcripts in a browser: texts are shown and never run; a reader can search, filter, step, link and download."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from support.browser import DARK, NARROW, after, needs_axe, needs_browser, of_an_old_browser, opened, violations
from support.packed import damaged, data_in, with_data

from personalrm.studies.report.shown import Person

from .transcript_cases import Made, make_run, user_of

pytestmark = needs_browser
BAR_MS = 3000
EVIL = "<script>document.title='run'</script></script><img src=x onerror=\"document.title='run'\">"
ALL = "method=all"
HELPERS = """
const at = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const key = (name, target = document.activeElement) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
const current = () => document.querySelector("#items button[aria-current]");
const position = () => at("position").textContent;
const choose = (id, value) => { at(id).value = value; at(id).dispatchEvent(new Event("change")); };
"""


def file_of(made: Made) -> Path:
    return made.config_file.with_name("transcripts.html")


def counts(page: Path, *views: str) -> list[str]:
    """How many judged pairs each view has."""
    script = f"""
        const found = [];
        for (const view of {json.dumps(views)}) {{
          location.hash = view;
          await new Promise((done) => setTimeout(done, 50));
          found.push(document.getElementById("count").textContent.replace(/ judged.*/, ""));
        }}
        return found;
    """
    return list(after(page, script))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two users with five test pairs, whose judge always says First: right once and wrong once on each."""
    made = make_run(tmp_path_factory.mktemp("two"), [user_of("ann", 2), user_of("bob", 3)], persona="Likes thrift.")
    made.page()
    return file_of(made)


def test_texts_of_users_and_models_are_shown_and_not_run(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of(f"ann{EVIL}", text=EVIL), user_of("bob")], answer=EVIL, persona=EVIL)
    made.page()
    view = urlencode({"unfold": 1, "user": f"people/ann{EVIL}", "method": "both"}, quote_via=quote)
    shown = opened(file_of(made), view)
    assert shown.texts["title"] == "Transcripts of run made"
    assert shown.tags.count("script") == 2
    assert "img" not in shown.tags
    detail = shown.texts["detail"]
    # The user, both answers, and the comparison in a region of its own.
    for text in (f"user ann{EVIL}", f"good 1 {EVIL}", f"bad 1 {EVIL}"):
        assert text in detail
    # The persona, the prompts with all of them, and the raw answers.
    for text in (f"persona{EVIL}", f"Raw answer{EVIL} "):
        assert text in shown.texts["compared"]
    assert shown.texts["compared"].count("Prompt as sent (4 messages)") == 2
    assert "Prompt as sent (2 messages)" in shown.texts["compared"]
    # Four rows of ann: default, persona, both, and random without a verdict.
    everything = urlencode({"user": f"people/ann{EVIL}", "method": "all"}, quote_via=quote)
    assert counts(file_of(made), everything) == ["4"]


def test_links_of_the_report_lead_to_the_user_and_the_pair_whatever_their_ids(tmp_path: Path) -> None:
    names = ["a\"b'c&amp;", "x</script>", "h#a%41", "s/l+a sh", "emo😀", "עברית\u202eabc", "*st*ar*", "__proto__"]
    made = make_run(tmp_path, [user_of(name) for name in names], methods=["default"])
    made.page()
    people = [Person(dataset="people", user=name, pair=pair) for name in names for pair in ("", f"{name}-1")]
    script = f"""
        const found = [];
        for (const view of {json.dumps([person.anchor for person in people])}) {{
          location.hash = view;
          await pause(20);
          found.push(at("detail").querySelector("p.small").textContent);
        }}
        return found;
    """
    found = after(file_of(made), HELPERS + script)
    assert found == [f"people, user {one.user}, pair {one.user}-1, m · Link to this judgment" for one in people]


@pytest.mark.parametrize("change", [of_an_old_browser, damaged])
def test_a_page_that_cannot_be_unpacked_says_so(two: Path, tmp_path: Path, change: Callable[[str], str]) -> None:
    page = tmp_path / "page.html"
    page.write_text(change(two.read_text(encoding="utf-8")), encoding="utf-8")
    shown = opened(page)
    assert "a browser of 2023 or later" in shown.texts["detail"]
    assert "noscript" not in shown.tags
    assert not shown.texts["items"].strip()


def test_search_and_filters_keep_what_they_name(two: Path) -> None:
    found = {
        ALL: "17",
        "user=people/bob&method=all": "10",
        "result=none&method=all": "2",
        "result=mixed&user=people/ann&method=default": "2",
        "result=wrong&method=all": "0",
        "result=tie&method=all": "0",
        "q=QUESTION%202%20of%20bob&method=all": "3",
        # In the persona; in the instruction, which is searched on request alone; in raw answers.
        "q=likes%20thrift&method=all": "10",
        "q=judge&method=all": "0",
        "q=preference&method=default&prompts=1": "5",
        "q=because&method=persona": "5",
        "q=nowhere&method=all": "0",
        # As the report links to a user.
        "user=people/ann": "7",
    }
    assert counts(two, *found) == list(found.values())


def test_what_is_searched_for_is_marked_and_never_markup(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of("ann", text=EVIL)])
    made.page()
    marked = after(
        file_of(made),
        "return [...document.querySelectorAll('#detail mark')].map((node) => node.textContent);",
        f"method=default&q={quote(EVIL[:8].upper())}",
    )
    assert set(marked) == {"<script>"}
    # In the question and both answers; folds are filled when they are opened.
    assert len(marked) == 3


def test_the_page_opens_with_the_method_that_differs_most_from_default_and_says_so(tmp_path: Path) -> None:
    made = made_with_a_better_persona(tmp_path)
    shown = opened(file_of(made))
    assert (
        "Opens with SynthesizeMe: persona, the method that differs from Default most often: on 2 of 2 pairs."
        in (shown.texts["opens"])
    )
    assert shown.texts["detail"].startswith("SynthesizeMe: persona")
    views = ("sort=", "versus=better&method=all", "versus=same&method=all")
    assert counts(file_of(made), *views) == ["2", "2", "0"]
    # What the method does not have is shown with all methods.
    assert counts(file_of(made), "result=none") == ["1"]


def made_with_a_better_persona(folder: Path) -> Made:
    """A run of Default, which is wrong in one order, and personas, which are right in both."""
    made = make_run(folder, [user_of("ann", 2)], methods=["random", "default", "persona"])
    for path in (folder / "results").rglob("*-to-*/**/*.jsonl"):
        path.write_text(path.read_text(encoding="utf-8").replace('"wrong"', '"correct"'), encoding="utf-8")
    made.page()
    return made


def test_keys_step_through_the_list_and_the_focus_stays(two: Path) -> None:
    said = after(
        two,
        HELPERS
        + """
        const seen = [position()];
        key("ArrowRight", document.body); seen.push(position());
        current().focus();
        key("ArrowDown"); seen.push(position(), document.activeElement === current());
        key("End"); seen.push(position(), document.activeElement === current());
        key("ArrowDown"); seen.push(position());
        at("previous").focus();
        key("ArrowLeft"); seen.push(position(), document.activeElement.id);
        at("previous").click(); seen.push(position(), document.activeElement.id);
        at("search").focus(); key("ArrowLeft"); seen.push(position());
        document.querySelector("#detail a").focus();
        key("ArrowLeft"); seen.push(position(), document.activeElement.id);
        return seen;
        """,
        "method=default",
    )
    assert said == [
        *("1 of 5", "2 of 5", "3 of 5", True, "5 of 5", True, "5 of 5"),
        *("4 of 5", "previous", "3 of 5", "previous", "3 of 5", "2 of 5", "detail"),
    ]


def test_one_pair_stands_under_all_methods_and_each_is_one_click_away(two: Path) -> None:
    said = after(
        two,
        HELPERS
        + """
        const rows = [...document.querySelectorAll("#compared tbody tr")];
        const lines = rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim()));
        rows[2].querySelector("a").click();
        await pause(50);
        return [lines, document.querySelector("#detail h2").textContent, at("filter-method").value];
        """,
        "pair=people/bob-2&method=default",
    )
    lines, heading, method = said
    assert [line[0].splitlines()[0] for line in lines] == [
        *("Default", "SynthesizeMe: persona", "SynthesizeMe: persona + demonstrations"),
    ]
    assert [line[1:3] for line in lines] == [["✓ right", "✗ wrong"]] * 3
    assert [line[3] for line in lines] == ["", "equal", "equal"]
    assert (heading, method) == ("SynthesizeMe: persona + demonstrations", "both")


def test_a_verdict_of_both_orders_stands_under_neither(two: Path, tmp_path: Path) -> None:
    together = tmp_path / "together.html"
    page = two.read_text("utf-8")
    data = re.sub(r'\[(?:true|false), ("correct"|"wrong")', r"[null, \1", json.dumps(data_in(page)))
    together.write_text(with_data(page, data), "utf-8")
    said = after(
        together,
        """
        const cells = [...document.querySelectorAll("#compared tbody tr")].map((row) => row.cells[1]);
        return cells.map((cell) => [cell.colSpan, cell.innerText.trim().endsWith("both orders")]);
        """,
        "pair=people/bob-2&method=default",
    )
    assert said == [[2, True]] * 3


def test_a_link_leads_to_the_same_judgment_in_a_page_of_other_users(two: Path, tmp_path: Path) -> None:
    link = after(
        two,
        "return document.querySelector('#detail p.small a').getAttribute('href')",
        "user=people/bob&method=both&pair=people/bob-3",
    )
    assert link.startswith("#pair=people%2Fbob-3&method=both&row=both*")
    made = make_run(tmp_path, [user_of("aaron", 4), user_of("bob", 3)], methods=["default", "both"])
    made.page()
    # Without its filter, too, by the row alone.
    detail = opened(file_of(made), link[1:].replace("method=both", "method=all")).texts["detail"]
    assert detail.startswith("SynthesizeMe: persona + demonstrations")
    assert "user bob, pair bob-3" in detail


def test_a_filter_that_the_page_does_not_know_can_be_seen_and_taken_away(two: Path) -> None:
    said = after(
        two,
        HELPERS
        + """
        const before = [at("filter-user").value, position(), at("detail").textContent];
        at("clear").click();
        await pause(50);
        return [...before, position()];
        """,
        "user=people/carol&method=default",
    )
    assert said == ["people/carol", "none", "Nothing matches. Clear the search or a filter.", "1 of 17"]


def test_a_pair_that_the_page_does_not_have_is_said_to_be_absent_and_no_other_is_shown(two: Path) -> None:
    said = after(
        two,
        HELPERS
        + """
        const before = [position(), at("detail").textContent];
        at("clear").click();
        await pause(50);
        return [...before, position()];
        """,
        "pair=people/carol-1",
    )
    assert said == ["none", "The pair people/carol-1 is not on this page.", "1 of 17"]


def odds_of(folder: Path) -> Made:
    """A run whose verdicts of Default have log-odds -2, 1 and 0.5, each the mean of two orders."""
    made = make_run(folder, [user_of("ann", 3)], methods=["default"])
    wanted = {"ann-1": -2.0, "ann-2": 1.0, "ann-3": 0.5}
    for path in (folder / "results").rglob("verdicts/**/*.jsonl"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for verdict in (verdict for row in rows for verdict in row["verdicts"]):
            verdict["log_odds"] = wanted[verdict["pair_id"]] + (0.25 if verdict["swapped"] else -0.25)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made.page()
    return made


def test_a_verdict_in_one_order_alone_is_no_verdict_in_every_order(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of("ann", 2)], methods=["default"])
    read = {"ann-1": "correct", "ann-2": "wrong"}
    for path in (tmp_path / "results").rglob("verdicts/**/*.jsonl"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for verdict in (verdict for row in rows for verdict in row["verdicts"]):
            verdict["outcome"] = "unparsed" if verdict["swapped"] else read[verdict["pair_id"]]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made.page()
    found = {"result=right": "0", "result=wrong": "0", "result=mixed": "1", "result=unparsed": "2"}
    assert counts(file_of(made), *found) == list(found.values())


def test_judgments_are_sorted_by_their_margin(tmp_path: Path) -> None:
    made = odds_of(tmp_path)
    script = (
        HELPERS
        + """
        const asked = (button) => button.textContent.match(/question (.)/)[1];
        const listed = () => [...document.querySelectorAll("#items button")].map(asked).join("");
        const seen = [listed()];
        for (const sort of ["wrong", "right", "close"]) {
          choose("sort", sort);
          await pause(50);
          seen.push(listed(), position());
        }
        return seen;
        """
    )
    said = after(file_of(made), script)
    assert said == ["123", *("132", "1 of 3"), *("231", "1 of 3"), *("321", "1 of 3")]


def test_what_is_shown_can_be_downloaded(two: Path) -> None:
    script = (
        HELPERS
        + """
        let blob = null;
        let file = null;
        URL.createObjectURL = (made) => { blob = made; return "blob:x"; };
        HTMLAnchorElement.prototype.click = function () { file = this.download; };
        at("save").click();
        return [file, at("save").textContent, await blob.text()];
        """
    )
    file, button, text = after(two, script, "user=people/bob&method=both")
    saved: dict[str, Any] = json.loads(text)
    assert (file, button) == ("made-transcripts.json", "Download these 3 (JSON)")
    assert (saved["run"], saved["view"]["user"]) == ("made", "people/bob")
    first, *_ = saved["judgments"]
    assert [one["pair"]["id"] for one in saved["judgments"]] == ["bob-1", "bob-2", "bob-3"]
    assert (first["method"], first["user"], first["persona"]) == ("both", "bob", "Likes thrift.")
    assert first["pair"]["chosen"] == "good 1 "
    for verdict, shown in zip(first["verdicts"], ("chosen", "rejected"), strict=True):
        assert verdict["shown_first"] == shown
        (call,) = verdict["calls"]
        assert "bob" in call["prompt"][-1]["content"]
        assert call["answer"]["text"].startswith(f"Because. {call['key'][:6]}")


def test_on_a_phone_list_and_filters_are_one_button_away(two: Path) -> None:
    script = (
        HELPERS
        + """
        const shown = (id) => at(id).getBoundingClientRect().height > 0;
        const seen = [shown("filters"), shown("list"), shown("detail"), shown("next")];
        at("show-filters").click(); at("show-list").click();
        seen.push(shown("filters"), shown("list"), at("show-list").getAttribute("aria-expanded"));
        document.querySelectorAll("#items button")[1].click();
        await pause(50);
        seen.push(shown("list"), position(), document.documentElement.scrollWidth <= innerWidth);
        return seen;
        """
    )
    said = after(two, script, "method=default", NARROW)
    assert said == [False, False, True, True, True, True, "true", False, "2 of 5", True]


@needs_axe
@pytest.mark.parametrize("flags", [(), (NARROW, DARK)], ids=["wide", "narrow and dark"])
def test_nothing_violates_wcag_a_and_aa(two: Path, flags: tuple[str, ...]) -> None:
    assert violations(two, "unfold=1&method=both&q=good", *flags) == []


@pytest.mark.full
def test_ten_thousand_judgments_open_within_three_seconds(tmp_path: Path) -> None:
    users = [user_of(f"user {number}", 20, n_context=3, text=f"{number} and more words " * 20) for number in range(84)]
    made = make_run(tmp_path, users, answer="A reason of some length. " * 20)
    page = made.page()
    assert sum(len(verdicts) for _, _, verdicts in data_in(page)["items"]) == 84 * 20 * 2 * 3
    shown = opened(file_of(made), ALL)
    assert shown.texts["count"].startswith("5,124 judged pairs")
    ready = int(shown.root["data-ready"])
    assert ready < BAR_MS, f"{ready} ms for {len(page) / 1e6:.1f} MB"
    # A search looks through all texts, and a step redraws one judgment.
    script = (
        HELPERS
        + """
        const timed = (work) => { const from = Date.now(); work(); return Date.now() - from; };
        const search = () => {
          history.replaceState(null, "", "#method=all&q=user%2011%20&prompts=1");
          dispatchEvent(new HashChangeEvent("hashchange"));
        };
        return [timed(search), timed(() => key("ArrowRight", document.body)), position()];
        """
    )
    searched, stepped, position = after(file_of(made), script, ALL)
    assert position == "2 of 60"
    assert searched < BAR_MS
    assert stepped < BAR_MS / 10
