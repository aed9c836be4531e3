"""The report's sentences against verdicts spelt out by hand, and its page."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.comparison_cases import Said, default, frame_of, learned
from support.generated_verdicts import LEARNED_FROM, Cell

from personalrm.core.errors import DataError
from personalrm.results.scores import collect_calls
from personalrm.results.table_formats import Block, write_table
from personalrm.results.tables.differences_table import differences_table, read_differences_table
from personalrm.results.tables.main_table import main_table
from personalrm.studies.config_load import parse_config
from personalrm.studies.report.page import report_page
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.make_results import Scores, not_run, summary_of
from personalrm.studies.synthesizeme.report_summary import what_came_out, what_failed, what_was_not_run, what_was_run

N = 199
RIGHT: Said = {f"u{number}": "11" for number in range(3)}
WRONG: Said = dict.fromkeys(RIGHT, "00")
MIXED: Said = dict.fromkeys(RIGHT, "10")


def scores_of(folder: Path, *cells: tuple[Cell, Said]) -> Scores:
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


def test_a_method_that_is_always_right_against_default_always_wrong(tmp_path: Path) -> None:
    wrong, right = ({f"u{number}": said for number in range(12)} for said in ("00", "11"))
    said = came_out(scores_of(tmp_path, (default(), wrong), (learned("both"), right)))
    assert "d: the highest accuracy of 2 ways to judge test pairs is 100.0 %: " in said
    assert re.search(r"persona \+ demonstrations \(95 % interval (7|8)\d\.\d to 100\.0 %\)\.", said)
    assert re.search(
        r"\+100\.0 points \(95 % interval \+(5|6|7)\d\.\d to \+100\.0 points\): the interval lies above 0;", said
    )
    assert "chance" not in said
    assert "With 12 users the interval is rough" in said
    assert (
        "of 1 comparison: 1 above and 0 below it with an interval that excludes 0, 0 without a difference shown" in said
    )
    assert "1 with p < 0.05 after Holm's adjustment." in said


def test_no_difference_is_said_to_be_none(tmp_path: Path) -> None:
    said = came_out(scores_of(tmp_path, (default(), MIXED), (learned("both"), MIXED)))
    assert "is 50.0 %: Default (95 % interval 18.8 to 81.2 %; chance, 50 %, is not excluded) and SynthesizeMe" in said
    assert re.search(r"\+0\.0 points \(95 % interval -(\d+\.\d) to \+\1 points\): the interval holds 0, so that", said)
    assert "0 above and 0 below it" in said


def test_default_on_top_is_said_so_and_what_lies_below_is_counted(tmp_path: Path) -> None:
    right, wrong, mixed = (dict.fromkeys((f"u{number}" for number in range(12)), said) for said in ("11", "00", "10"))
    said = came_out(scores_of(tmp_path, (default(), right), (learned("both"), wrong), (learned("demos"), mixed)))
    assert "Default is the unpersonalised judge itself: nothing that was learned of a user lies above it." in said
    assert "of 2 comparisons: 0 above and 2 below it" in said


def test_the_oracle_and_other_pairs_are_no_candidates(tmp_path: Path) -> None:
    oracle, other = default(method="oracle"), default(method="default@all")
    said = came_out(scores_of(tmp_path, (default(), MIXED), (oracle, RIGHT), (other, RIGHT), (learned(), WRONG)))
    assert "the highest accuracy of 2 ways to judge test pairs, oracle aside, is 50.0 %: Default" in said
    assert "d: Oracle (planted taste) reaches 100.0 % (95 % interval 50.2 to 100.0 %): it is told" in said
    assert "of 1 comparison:" in said


def test_a_doubt_is_said_where_holm_leaves_one(tmp_path: Path) -> None:
    # Half of twelve users gain: p is below 0.05, and there are six comparisons.
    base: Said = {f"u{number:02d}": "10" for number in range(12)}
    gain: Said = {user: "11" if user < "u06" else "10" for user in base}
    cells = [(learned(method, k), gain) for method in ("demos", "persona", "memory") for k in LEARNED_FROM[::-1]]
    said = came_out(scores_of(tmp_path, (default(), base), *cells))
    assert re.search(r"the interval lies above 0; p = 0\.\d+ after Holm's adjustment for all comparisons", said)
    assert "6 above and 0 below it with an interval that excludes 0, 0 without a difference shown; 0 with p" in said


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
    assert "0.0 to 49.8 %; below chance)" in came_out(scores_of(tmp_path, (default(), WRONG)))


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


def page_of(scores: Scores, tables: list[Path], figures: list[Path], captions: dict[str, str]) -> str:
    config = config_of()
    manifest = manifest_of(config)
    return report_page(
        manifest,
        title="Judges",
        summary=summary_of(scores, manifest),
        absent=not_run(config, ["main"]),
        transcripts=True,
        tables=tables,
        figures=figures,
        captions=captions,
    )


@pytest.fixture
def page(tmp_path: Path) -> str:
    scores = scores_of(tmp_path, (default(), RIGHT), (learned(), RIGHT))
    frame = pd.DataFrame({"Method": ["<b>bold</b>"], "n": ["1"]})
    for name in ("main", "later"):
        write_table(frame, tmp_path / name, caption=f"{name} & more", notes=["a <note>"], blocks=[Block("", frame, 1)])
    (tmp_path / "alone.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
    (tmp_path / "alone.txt").write_text("Caption <x>\n")
    (tmp_path / "nothing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "nothing.txt").write_text("Nothing to draw: no user has votes.\n")
    return page_of(
        scores,
        [tmp_path / "main.html", tmp_path / "later.html"],
        [tmp_path / "alone.svg", tmp_path / "nothing.svg"],
        {"table_main": "What the main table shows.", "figure_alone": "What stands <alone>: one panel. Bands: 0.5."},
    )


def test_page_has_every_table_and_figure_that_it_is_given(page: str) -> None:
    # In the declared order of the captions; what is not declared stands last.
    assert re.findall(r'<section id="(.*?)">', page) == ["main", "alone", "later", "nothing"]
    assert page.count("main &amp; more") == 2  # contents and heading
    assert "What the main table shows." in page
    assert page.count("What stands &lt;alone&gt;<") == 2
    assert page.count("&lt;b&gt;bold&lt;/b&gt;") == 2
    assert page.count("<li>a &lt;note&gt;</li>") == 2
    image = re.search(r'src="data:image/svg\+xml;base64,(.*?)"', page)
    assert image is not None
    assert b"<script>" in base64.b64decode(image[1])
    assert "<figcaption>Caption &lt;x&gt;</figcaption>" in page
    # A figure of which the run has nothing is a sentence.
    assert page.count("<figure>") == 1
    assert "<p>Nothing to draw: no user has votes.</p>" in page


def test_page_fetches_nothing_runs_nothing_and_holds_no_login(page: str) -> None:
    assert not re.findall(r"<(?:script|link|iframe|object)\b", page)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert set(re.findall(r'(?:src|href)="(#|data:|[^#]*?)[^"]*"', page)) <= {"#", "data:", ""}
    assert page.count("<style>") == 1
    assert "me:pass" not in page
    assert "https://host/m" in page
    assert "&lt;i&gt;MIT&lt;/i&gt;" in page


def test_page_has_the_manifest_in_tables_with_the_names_of_the_file(page: str) -> None:
    part = page.partition('id="manifest"')[2].partition("<details>")[0]
    cells = dict(re.findall(r"<th>(\w+)</th><td>\s*([^<]*?)\s*</td>", part))
    assert (cells["tokens_in"], cells["calls"], cells["wall_time_s"]) == ("4,800", "12", "1,234.5")
    assert (cells["version"], cells["pandas"], cells["config_sha256"]) == ("2", "3", "c0ffee")
    assert not re.findall("<th>(gone|git|paid|cost_usd_list|source_sha256|config)</th>", part)


def test_a_table_of_another_program_is_refused(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, (default(), RIGHT), (learned(), RIGHT))
    (tmp_path / "main.html").write_text("<p>hello</p>")
    with pytest.raises(DataError, match=r"main\.html: not a table that this package wrote"):
        page_of(scores, [tmp_path / "main.html"], [], {})


def test_differences_are_read_as_they_were_written(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, (default(), RIGHT), (learned(), {**RIGHT, "u0": "ee"}))
    scores.differences.to_csv(tmp_path / "differences.csv", index=False)
    pd.testing.assert_frame_equal(read_differences_table(tmp_path / "differences.csv"), scores.differences)
