"""The report's sentences against verdicts spelt out by hand, and its page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.comparison_cases import Said, default, frame_of, learned
from support.generated_verdicts import LEARNED_FROM, Cell
from support.packed import unpacked

from personalrm.core.errors import DataError
from personalrm.results.labels import method_label
from personalrm.results.scores import collect_calls
from personalrm.results.table_formats import Block, write_table
from personalrm.results.tables.differences_table import differences_table, read_differences_table
from personalrm.results.tables.main_table import main_table
from personalrm.studies.config_load import parse_config
from personalrm.studies.report.page import Said as StudySaid
from personalrm.studies.report.page import report_page
from personalrm.studies.report.page_parts import script_hash
from personalrm.studies.report.shown import Headline, People
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.make_results import Scores, not_run, summary_of
from personalrm.studies.synthesizeme.report_summary import (
    headline,
    what_came_out,
    what_failed,
    what_was_not_run,
    what_was_run,
)
from personalrm.studies.synthesizeme.summary import summarise

N = 1999
"""Resamples: with 199, no p-value is below 0.02."""
RIGHT: Said = {f"u{number}": "11" for number in range(3)}
WRONG: Said = dict.fromkeys(RIGHT, "00")
MIXED: Said = dict.fromkeys(RIGHT, "10")


def scores_of(folder: Path, *cells: tuple[Cell, Said]) -> Scores:
    folder.mkdir(exist_ok=True)
    verdicts = frame_of(folder, cells)
    calls = collect_calls(sorted(folder.glob("*.jsonl")))
    return Scores(
        main_table(verdicts, calls, seed=1, n_resamples=N), differences_table(verdicts, seed=1, n_resamples=N), verdicts
    )


def test_the_pool_came_out_and_its_folds_were_judged(tmp_path: Path) -> None:
    pools = {"d": ["d-fold1", "d-fold2"]}
    cells = [(default(dataset=fold), {"u": text, "v": text}) for fold, text in (("d-fold1", "11"), ("d-fold2", "0"))]
    folds = scores_of(tmp_path, *cells)
    pool = folds.main.iloc[:1].assign(dataset="d")
    scores = replace(folds, main=pd.concat([pool, folds.main]), pools=pools)
    assert list(scores.judged["dataset"]) == ["d-fold1", "d-fold2"]
    assert list(scores.compared["dataset"]) == ["d"]


def came_out(scores: Scores) -> str:
    return "\n".join(what_came_out(scores.main, scores.differences))


def of_users(number: int, said: str) -> Said:
    return {f"u{user:02d}": said for user in range(number)}


def test_a_method_that_is_always_right_against_default_always_wrong(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, (default(), of_users(12, "000")), (learned("both"), of_users(12, "111")))
    said = came_out(scores)
    assert "d: the highest accuracy of 2 ways to judge test pairs is 100.0 %: " in said
    assert re.search(r"persona \+ demonstrations \(95 % interval (7|8)\d\.\d to 100\.0 %\)\.", said)
    assert "SynthesizeMe: persona + demonstrations predicts these votes better than Default. The difference on" in said
    assert re.search(
        r"on 36 pairs of 12 users is \+100\.0 points \(95 % interval \+(5|6|7)\d\.\d to \+100\.0 points\); p", said
    )
    assert "chance" not in said
    assert "With 12 users the interval is rough" in said
    assert "of 1 comparison: 1 better, 0 worse, 0 about equal, 0 with too few pairs to tell." in said
    verdict, numbers, others = headline_of(scores)
    assert verdict == (
        "SynthesizeMe: persona + demonstrations predicts these votes better than Default, the same judge without the "
        "user."
    )
    assert [number.value for number in numbers] == ["+100.0 points", "100.0 %", "36 pairs"]
    assert numbers[0].detail.startswith("95 % interval +")
    assert "Default: 0.0 %." in numbers[1].detail
    assert (numbers[2].label, list(others)) == ("of 12 users", [])


@pytest.mark.parametrize("better", ["111", "000"])
@pytest.mark.parametrize("users", [5, 9])
def test_no_effect_is_claimed_that_the_pairs_cannot_carry(tmp_path: Path, users: int, better: str) -> None:
    # Five users never have p < 0.05; nine with three pairs are 27 pairs, though their interval excludes 0.
    worse = "000" if better == "111" else "111"
    scores = scores_of(tmp_path, (default(), of_users(users, worse)), (learned("both"), of_users(users, better)))
    low, high = scores.differences["ci_low"].iloc[0], scores.differences["ci_high"].iloc[0]
    assert (low > 0 or high < 0) == (users == 9)
    for said in (came_out(scores), headline_of(scores).verdict):
        assert "too few pairs to tell" in said
        assert not re.search(r"these votes (better|worse)|above 0|below 0|excludes 0,? so|below chance", said)


def test_a_run_ends_with_the_verdict_of_its_report(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, (default(), of_users(3, "00")), (learned("both"), of_users(3, "11")))
    (tmp_path / "tables").mkdir()
    scores.main.to_csv(tmp_path / "tables" / "main.csv", index=False)
    assert "Default, the same judge" not in summarise(tmp_path)
    scores.differences.to_csv(tmp_path / "tables" / "differences.csv", index=False)
    verdict = headline_of(scores).verdict
    assert "too few pairs to tell" in verdict
    assert f"\n\n{verdict}\n\nMain table " in summarise(tmp_path)


def headline_of(scores: Scores) -> Headline:
    found = headline(scores.main, scores.differences)
    assert found is not None
    return found


def test_the_largest_difference_of_the_first_set_is_shown_and_others_have_a_sentence(tmp_path: Path) -> None:
    half, most = of_users(16, "1100"), of_users(16, "1111")
    scores = scores_of(
        tmp_path,
        (default(dataset="b"), half),
        (learned("both", dataset="b"), half),
        (default(dataset="a"), half),
        (learned("demos", dataset="a"), half),
        (learned("both", dataset="a"), most),
    )
    found = headline_of(scores)
    assert found.verdict.startswith("a: SynthesizeMe: persona + demonstrations predicts these votes better")
    assert "The largest of 3 differences to Default." in found.numbers[0].detail
    assert [number.value for number in found.numbers] == ["+50.0 points", "100.0 %", "64 pairs"]
    assert "Default: 50.0 %." in found.numbers[1].detail
    assert [sentence[:3] for sentence in found.others] == ["b: "]


def test_the_default_beside_a_method_is_the_one_that_it_is_compared_with(tmp_path: Path) -> None:
    right, wrong = of_users(3, "11"), of_users(3, "00")
    cells = [(default(), right), (default(method="default.logprob"), wrong), (learned("both.logprob"), right)]
    assert "Default: 0.0 %." in headline_of(scores_of(tmp_path, *cells)).numbers[1].detail


def test_a_run_without_a_comparison_has_no_headline(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, (default(), MIXED))
    assert headline(scores.main, scores.differences) is None


def test_no_difference_is_said_to_be_none(tmp_path: Path) -> None:
    said = came_out(scores_of(tmp_path, (default(), MIXED), (learned("both"), MIXED)))
    assert "is 50.0 %: Default (95 % interval 18.8 to 81.2 %; chance, 50 %, is not excluded) and SynthesizeMe" in said
    assert re.search(
        r"There are too few pairs to tell whether .*\+0\.0 points \(95 % interval -(\d+\.\d) to \+\1 points\)", said
    )
    assert "0 better, 0 worse, 0 about equal, 1 with too few pairs to tell" in said


def test_default_on_top_is_said_so_and_what_lies_below_is_counted(tmp_path: Path) -> None:
    right, wrong, mixed = (of_users(16, said) for said in ("1111", "0000", "1100"))
    said = came_out(scores_of(tmp_path, (default(), right), (learned("both"), wrong), (learned("demos"), mixed)))
    assert "Default is the unpersonalised judge itself: no method has a higher accuracy here." in said
    assert "of 2 comparisons: 0 better, 2 worse, 0 about equal, 0 with too few pairs to tell." in said


def test_the_oracle_and_other_pairs_are_no_candidates(tmp_path: Path) -> None:
    oracle, other = default(method="oracle"), default(method="default@all")
    said = came_out(scores_of(tmp_path, (default(), MIXED), (oracle, RIGHT), (other, RIGHT), (learned(), WRONG)))
    assert "the highest accuracy of 2 ways to judge test pairs, oracle aside, is 50.0 %: Default" in said
    assert "d: Oracle (planted taste) reaches 100.0 % (95 % interval 50.2 to 100.0 %): it is told" in said
    assert "of 1 comparison:" in said


@pytest.mark.parametrize("name", ["bt_oracle", "fspo_oracle"])
def test_a_reward_model_that_is_told_the_taste_is_no_candidate(tmp_path: Path, name: str) -> None:
    told = default(judge="-", method=name)
    said = came_out(scores_of(tmp_path, (default(), MIXED), (told, RIGHT), (learned(), WRONG)))
    assert "the highest accuracy of 2 ways to judge test pairs, oracle aside, is 50.0 %: Default" in said
    assert f"d: {method_label(name)} reaches 100.0 % (95 % interval 50.2 to 100.0 %): it is told" in said


def test_a_doubt_is_said_where_holm_leaves_one(tmp_path: Path) -> None:
    # Half of twelve users gain: p is below 0.05, and there are six comparisons.
    base = of_users(12, "100")
    gain: Said = {user: "111" if user < "u06" else "100" for user in base}
    cells = [(learned(method, k), gain) for method in ("demos", "persona", "memory") for k in LEARNED_FROM[::-1]]
    said = came_out(scores_of(tmp_path, (default(), base), *cells))
    assert "too few pairs to tell" in said
    assert re.search(r"points\); p = 0\.\d+ after Holm's adjustment for all comparisons", said)
    assert "0 better, 0 worse, 0 about equal, 6 with too few pairs to tell" in said


def test_judges_are_named_where_they_differ(tmp_path: Path) -> None:
    cells = [(default(judge), MIXED) for judge in ("m", "n")] + [(learned(judge="n", profile="n"), RIGHT)]
    assert "is 100.0 %: SynthesizeMe: persona + demonstrations (judge n) (95 %" in came_out(scores_of(tmp_path, *cells))


def test_failures_and_gaps_are_counted(tmp_path: Path) -> None:
    spoilt: Said = {**MIXED, "u0": "ee"}
    missing: Said = {**MIXED, "u1": ""}
    scores = scores_of(tmp_path, (default(), spoilt), (learned(), missing), (learned("demos"), {"u9": "1t"}))
    said = "\n".join(what_failed(scores.main, scores.differences, scores.verdicts))
    assert "Of 10 judgments: 1 × tie; each counts as not right." in said
    assert "2 more judgments lost to provider errors: in no accuracy" in said
    assert "personalrm retry" in said
    assert "d: Default is no result: 2 of 6 judgments were lost to provider errors." in said
    assert "no verdict for 1 failed of 3 users" in said
    assert "paired comparison without a number" in said or "paired comparisons without a number" in said
    # A row that an outage spoils is never the best one.
    assert "%: Default" not in came_out(scores)
    assert "demonstrations against Default: no result: provider errors." in came_out(scores)
    assert "Against Default, of" not in came_out(scores)


def test_below_chance_is_said(tmp_path: Path) -> None:
    assert "; below chance)" in came_out(scores_of(tmp_path, (default(), of_users(12, "0000"))))
    # Six pairs of three users do not carry it, though the interval lies below 50.
    assert "0.0 to 49.8 %)." in came_out(scores_of(tmp_path / "few", (default(), WRONG)))


def test_clean_runs_say_so(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, (default(), RIGHT), (learned("demos"), RIGHT))
    assert what_failed(scores.main, scores.differences, scores.verdicts) == [
        "All 12 judgments named one of the two answers."
    ]


def config_of(**changes: object) -> Config:
    models = {name: {"backend": "openai", "model": name, "api_base": "http://x/v1"} for name in "mn"}
    base: dict[str, object] = {
        "run": "made",
        "datasets": {"d": {"path": "votes.jsonl"}},
        "models": models,
        "learn": {"models": ["m"]},
        "methods": ["default", "both"],
    }
    return parse_config({**base, **changes})


def test_what_was_not_run_has_its_reason() -> None:
    absent = dict(what_was_not_run(config_of(), ["main"], ["main", "transfer", "axes", "fidelity", "families"]))
    assert absent["Table or figure transfer"] == "transfer.pairs lists no pair of models"
    assert absent["Table or figure axes"] == "analysis.axes is not set"
    assert absent["Table or figure fidelity"] == "analysis.fidelity is not set"
    assert absent["Table or figure families"] == "this run's config does not ask for it"
    assert "Table or figure main" not in absent
    assert absent["Scaling with the number of context pairs"] == "k has one value"
    assert absent["Other model families"] == "learn.models has fewer than two models"
    assert "The paper's data: PRISM and Chatbot Arena" in absent
    (methods,) = [what for what in absent if what.startswith("Methods: ")]
    assert "Random" in methods
    assert "Default" not in methods
    full = config_of(
        datasets={"d": {"path": "votes.jsonl", "max_users": 3}}, k=[1, "all"], learn={"models": ["m", "n"]}
    )
    absent = dict(what_was_not_run(full, [], []))
    assert absent["The rest of d"] == "limited by max_users 3"
    assert not {"Scaling with the number of context pairs", "Other model families"} & set(absent)


def manifest_of(config: Config) -> dict[str, Any]:
    return {
        "run": config.run,
        "git": None,
        "config": config.model_dump(mode="json"),
        "config_sha256": "c0ffee",
        "prompts": {"judge": {"version": 2, "sha256": "abc"}},
        "packages": {"pandas": "3", "gone": None},
        "python": "3.11",
        "platform": "Linux",
        "models": {"m": {"backend": "openai", "model": "https://me:pass@host/m", "snapshot": ""}},
        "seeds": {"run": 0},
        "data": {
            "d": {
                "source": "local",
                "source_sha256": {},
                "licence": "<i>MIT</i>",
                "funnel": {"users_written": 3, "split_pairs": {"context": 5, "test": 6}},
            }
        },
        "usage": {"calls": 12, "tokens_in": 4800, "tokens_out": 240, "cost_usd_list": None},
        "paid": {},
        "wall_time_s": 1234.5,
    }


def test_what_was_run_counts_users_pairs_models_and_calls(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, (default(), RIGHT), (learned(), RIGHT))
    assert what_was_run(manifest_of(config_of()), scores.main) == [
        "d: 3 users with 11 pairs; 3 judged, on 6 test pairs.",
        "Models: m (openai).",
        "2 ways of judging gave 12 judgments. All results rest on 12 stored answers: 4,800 tokens in, 240 out, "
        "list cost not known.",
    ]


def page_of(
    scores: Scores, tables: list[Path], figures: list[Path], captions: dict[str, str], people: People | None = None
) -> str:
    config = config_of()
    manifest = manifest_of(config)
    said = StudySaid(
        title="Judges",
        summary=summary_of(scores, manifest),
        absent=not_run(config, ["main"]),
        transcripts=True,
        headline=headline(scores.main, scores.differences),
        people=people,
    )
    return report_page(manifest, said, tables=tables, figures=figures, captions=captions)


@pytest.fixture
def page(tmp_path: Path) -> str:
    scores = scores_of(tmp_path, (default(), RIGHT), (learned(), RIGHT))
    frame = pd.DataFrame({"Method": ["<b>bold</b>"], "n": ["1"]})
    for name in ("main", "later"):
        write_table(frame, tmp_path / name, caption=f"{name} & more", notes=["a <note>"], blocks=[Block("", frame, 1)])
    for name in ("main", "alone"):
        (tmp_path / f"{name}.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
        (tmp_path / f"{name}.txt").write_text("Caption <x>: all of it\n")
    (tmp_path / "nothing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "nothing.txt").write_text("Nothing to draw: no user has votes.\n")
    return page_of(
        scores,
        [tmp_path / "main.html", tmp_path / "later.html"],
        [tmp_path / "main.svg", tmp_path / "alone.svg", tmp_path / "nothing.svg"],
        {"table_main": "What the main table shows.", "figure_alone": "What stands <alone>: one panel. Bands: 0.5."},
    )


def test_page_has_every_table_and_figure_that_it_is_given(page: str) -> None:
    # The first figure opens the page, and its table the results; all others are folded, figures before tables alone.
    assert re.findall(r'<(?:section|details class="result") id="(.*?)">', page) == ["main", "alone", "later", "nothing"]
    assert page.index("<figure") < page.index("<nav") < page.index('<section id="main">')
    assert page.count("main &amp; more") == 2  # heading, and name of the table
    assert "What the main table shows." in page
    assert page.count("What stands &lt;alone&gt;<") == 1
    assert page.count("&lt;b&gt;bold&lt;/b&gt;") == 2
    assert page.count("<li>a &lt;note&gt;</li>") == 2
    images = re.findall(r'<img data-packed="(.*?)" alt="Caption &lt;x&gt;">', page)
    assert len(images) == 2
    assert b"<script>" in unpacked(images[0])
    assert page.count("Caption &lt;x&gt;: all of it<") == 2
    # A figure of which the run has nothing is a sentence.
    assert '<p class="caption">Nothing to draw: no user has votes.</p>' in page


def test_page_fetches_nothing_runs_its_own_script_alone_and_holds_no_login(page: str) -> None:
    assert re.findall(r"<(script|link|iframe|object)\b", page) == ["script"]
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '{script_hash(script)}'" in page
    links = set(re.findall(r'(?:src|href)="(#|data:|[^#]*?)[^"]*"', page)) | set(re.findall(r'href="([^#"]+)', page))
    assert links <= {"#", "data:", "", "transcripts.html"}
    assert page.count("<style>") == 1
    assert "me:pass" not in page
    assert "https://host/m" in page
    assert "&lt;i&gt;MIT&lt;/i&gt;" in page


def test_page_has_the_manifest_in_tables_with_the_names_of_the_file(page: str) -> None:
    part = page.partition('id="manifest"')[2].partition("<details>")[0]
    cells = dict(re.findall(r'<th scope="row">(\w+)</th><td>\s*([^<]*?)\s*</td>', part))
    assert (cells["tokens_in"], cells["calls"], cells["wall_time_s"]) == ("4,800", "12", "1,234.5")
    assert (cells["version"], cells["pandas"], cells["config_sha256"]) == ("2", "3", "c0ffee")
    assert not re.findall('<th scope="row">(gone|git|paid|cost_usd_list|source_sha256|config)</th>', part)


def test_a_table_of_another_program_is_refused(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, (default(), RIGHT), (learned(), RIGHT))
    (tmp_path / "main.html").write_text("<p>hello</p>")
    with pytest.raises(DataError, match=r"main\.html: not a table that this version wrote"):
        page_of(scores, [tmp_path / "main.html"], [], {})


def test_differences_are_read_as_they_were_written(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, (default(), RIGHT), (learned(), {**RIGHT, "u0": "ee"}))
    scores.differences.to_csv(tmp_path / "differences.csv", index=False)
    pd.testing.assert_frame_equal(read_differences_table(tmp_path / "differences.csv"), scores.differences)
