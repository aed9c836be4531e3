"""Reported numbers beside ours: when ours may stand there, by hand; and how both states are drawn."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.comparison_cases import default, frame_of, learned, row_of
from support.generated_verdicts import Cell, outage, write_cells
from support.reported_cases import LLAMA, NO_TABLES, number, run

from personalrm.data.settings import ArenaDataset, Dataset, HubSource, LocalDataset, PrismDataset, ProcessedDataset
from personalrm.results.comparisons import seed_of
from personalrm.results.scores import collect_verdicts
from personalrm.results.stats.statistics import share_interval
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.results.reported_matching import (
    RunIdentity,
    answering_sets,
    how_sets_differ,
    identities,
)
from personalrm.studies.synthesizeme.results.reported_numbers import ReportedNumber
from personalrm.studies.synthesizeme.results.reported_table import (
    REPORTED_COLUMNS,
    reported_table,
)

ALL_RIGHT = {"u": "11", "v": "10"}
"""75 % right."""


def compared(
    tmp_path: Path, one: ReportedNumber, identity: RunIdentity | None = None, cells: list[Cell] | None = None
) -> dict[str, object]:
    frame = frame_of(tmp_path, [(cell, ALL_RIGHT) for cell in cells or [default()]])
    table = reported_table([one], frame, identity or run(), NO_TABLES, seed=1, n_resamples=99)
    assert tuple(table.columns) == REPORTED_COLUMNS
    return row_of(table)


def assert_empty(row: dict[str, object], status: str, reason: str) -> None:
    assert row["status"] == status
    assert reason in str(row["reason"])
    assert all(pd.isna(row[name]) for name in ("ours", "ours_low", "ours_high", "difference", "our_users"))
    assert row["ours_in_reported"] == row["reported_in_ours"] == row["our_model"] == ""


def test_ours_beside_a_number_that_matches_in_everything(tmp_path: Path) -> None:
    row = compared(tmp_path, number())
    assert (row["status"], row["ours"], row["our_data_set"], row["our_model"]) == ("comparable", 75, "d", "m")
    assert row["difference"] == pytest.approx(75 - 54.35)
    assert (row["reported_low"], row["reported_high"]) == (pytest.approx(53.11), pytest.approx(55.59))
    # u has 2 of 2 and v 1 of 2.
    found = share_interval([2, 1], [2, 2], seed=seed_of(1, "d", "baseline", "-", "m", "default", "-"), n_resamples=99)
    assert [row["ours_low"], row["ours_high"]] == pytest.approx([100 * found.low, 100 * found.high], abs=1e-3)
    assert (row["ours_in_reported"], row["reported_in_ours"]) == ("no", "yes")
    assert (row["our_users"], row["our_judgments"]) == (2, 4)


def test_inside_is_asked_of_each_interval_alone(tmp_path: Path) -> None:
    assert compared(tmp_path, number(value=74.0))["ours_in_reported"] == "yes"
    bare = compared(tmp_path, number(value=1.0, half_width=None, interval=""))
    assert (bare["ours_in_reported"], bare["reported_in_ours"]) == ("", "no")
    alone = frame_of(tmp_path / "alone", [(default(), {"u": "10"})])
    one_user = row_of(reported_table([number()], alone, run(), NO_TABLES, seed=1, n_resamples=9))
    assert (one_user["ours"], one_user["reported_in_ours"], one_user["ours_in_reported"]) == (50, "", "no")


@pytest.mark.parametrize(
    ("one", "identity", "reason"),
    [
        (number(data_set="arena"), run(), "no data set of this run answers to arena"),
        (number(data_set="LiteraryTaste"), run(), "no data set of this run answers to LiteraryTaste"),
        (number(), RunIdentity({}, {}, run().models, run().served), "no data set of this run answers to prism"),
        (number(model="meta-llama/Llama-3.1-8B-Instruct"), run(), "no model of this run is"),
        (number(), run(model="smollm2-135m"), "no model of this run is"),
        (number(), run(model=f"{LLAMA}-Guard"), "no model of this run is"),
        (number(), run(model=f"not{LLAMA}"), "no model of this run is"),
        (number(model="not stated"), run(), "does not name the model"),
        (number(method="demographics"), run(), "demographics was not run"),
        (number(method="demos", variant="as_published"), run(), "demos was not run"),
        (number(method=""), run(), "no such method here"),
        (number(statistic="rouge_l"), run(), "no such statistic"),
        (
            number(method="default", against="memory", statistic="difference_points", half_width=None, interval=""),
            run(),
            "memory was not run",
        ),
    ],
)
def test_what_the_run_has_not_is_not_run(
    tmp_path: Path, one: ReportedNumber, identity: RunIdentity, reason: str
) -> None:
    assert_empty(compared(tmp_path, one, identity), "not run", reason)


@pytest.mark.parametrize(
    ("one", "identity", "reason"),
    [
        (number(), run(("rebuilt benchmark", "users of all parts are judged")), "rebuilt benchmark; users of all"),
        (number(), run(snapshot="2024-12-06"), "snapshot '2024-12-06' is not listed"),
        (number(revision="not stated"), run(), "does not state the release"),
        (number(model="Llama-3.1-70B"), run(model="x/Llama-3.1-70B"), ""),
        (
            number(model="Llama-3.1-8B", revision="not stated"),
            run(model="meta-llama/Llama-3.1-8B-Instruct"),
            "does not state the release of the data; the source does not say which Llama-3.1-8B",
        ),
    ],
)
def test_what_the_run_has_otherwise_is_not_comparable(
    tmp_path: Path, one: ReportedNumber, identity: RunIdentity, reason: str
) -> None:
    # An id that merely ends like a reported model's short name is another model.
    status = "not comparable" if reason else "not run"
    assert_empty(compared(tmp_path, one, identity), status, reason)


DEMOS = number(method="demos", variant="as_published")


@pytest.mark.parametrize(
    ("one", "cell", "reason"),
    [
        (DEMOS, learned("demos"), "variant corrected, not as_published"),
        (DEMOS, learned("demos", k=2)._replace(variant="as_published"), "k = 2, not all"),
        (DEMOS, learned("demos.logprob")._replace(variant="as_published"), "judged as demos.logprob"),
        (number(), default(method="default@all"), "judged as default@all"),
        (number(), default(method="default.logprob_both"), "judged as default.logprob_both"),
    ],
)
def test_variant_k_and_kind_of_verdict_must_match(tmp_path: Path, one: ReportedNumber, cell: Cell, reason: str) -> None:
    assert_empty(compared(tmp_path, one, cells=[cell]), "not comparable", reason)
    if cell.profile_model is not None:
        exact = learned("demos")._replace(variant="as_published")
        assert compared(tmp_path, one, cells=[cell, exact])["ours"] == 75
        transferred = exact._replace(profile_model="other")
        assert_empty(compared(tmp_path, one, cells=[transferred]), "not run", "demos was not run")


def test_a_trained_model_is_set_beside_what_was_trained_otherwise(tmp_path: Path) -> None:
    tuned = learned("bt_persona")._replace(variant="as_published", judge_model="rm (unseen)", profile_model="m")
    plain = default(method="bt")._replace(judge_model="rm (unseen)")
    identity = run()._replace(models={"m": (LLAMA, ""), "rm (unseen)": (LLAMA, "")})
    cells = [plain, tuned]
    for one in (number(method="bt"), number(method="bt_persona", variant="as_published")):
        row = compared(tmp_path, one, identity, cells)
        assert (row["status"], row["ours"], row["our_model"]) == ("set beside", 75, "rm (unseen)")
        assert row["reason"] == (
            "users, pairs, features and settings with which the reported model was trained are not all published"
        )
    difference = number(method="bt_persona", variant="as_published", against="bt", statistic="difference_points")
    assert compared(tmp_path, difference, identity, cells)["our_method"] == "bt_persona - bt"
    other = [plain, tuned._replace(k=2)]
    assert_empty(compared(tmp_path, difference, identity, other), "not comparable", "k = 2, not all context pairs")
    mended = [plain, tuned._replace(variant="corrected")]
    assert_empty(compared(tmp_path, difference, identity, mended), "not comparable", "variant corrected, not as")


def test_an_outage_is_no_number_to_compare(tmp_path: Path) -> None:
    paths = write_cells(tmp_path, [default()], [2, 2], rule=outage)
    table = reported_table([number()], collect_verdicts(paths), run(), NO_TABLES, seed=1, n_resamples=9)
    assert_empty(row_of(table), "not comparable", "no answers")
    frame = frame_of(tmp_path / "some", [(default(), {"u": "1111e", "v": "10"})])
    table = reported_table([number()], frame, run(), NO_TABLES, seed=1, n_resamples=9)
    assert_empty(
        row_of(table), "not comparable", "more than 1 % of the judgments were lost to provider errors. Not a result."
    )


def test_a_difference_is_paired_on_the_same_judgments(tmp_path: Path) -> None:
    demos = learned("demos")._replace(variant="as_published")
    frame = frame_of(tmp_path, [(default(), {"u": "10", "v": "0."}), (demos, {"u": "11", "v": "11"})])
    claim = number(method="demos", variant="as_published", against="default", statistic="difference_points", value=3.41)
    row = row_of(reported_table([claim], frame, run(), NO_TABLES, seed=1, n_resamples=99))
    # u: 2 of 2 against 1 of 2; v: 1 of 1 against 0 of 1.
    assert row["ours"] == pytest.approx(66.6667)
    assert (row["our_judgments"], row["our_method"]) == (3, "demos - default")


def test_the_provider_may_quantise_but_the_reader_is_told(tmp_path: Path) -> None:
    row = compared(tmp_path, number(), run(model=f"together_ai/{LLAMA}-Turbo"))
    assert row["status"] == "comparable"
    assert "quantised" in str(row["reason"])


def test_random_needs_no_model(tmp_path: Path) -> None:
    cell = Cell("random", 0.5, None, variant="baseline", dataset="d")
    one = number(model="none", method="random", value=50.0, half_width=None, interval="")
    assert compared(tmp_path, one, run(model="smollm2-135m"), [cell])["ours"] == 75


def test_of_several_models_the_one_that_matches_counts(tmp_path: Path) -> None:
    identity = run()._replace(models={"a": (LLAMA, "pinned"), "m": (LLAMA, "")})
    assert compared(tmp_path, number(), identity, [default("a"), default("m")])["our_model"] == "m"
    # Where both match, the number has one row, of the first.
    alike = identity._replace(models={"a": (LLAMA, ""), "m": (LLAMA, "")})
    assert compared(tmp_path, number(), alike, [default("a"), default("m")])["our_model"] == "a"


def hub(name: str) -> HubSource:
    return HubSource(repo=f"MichaelR207/{name}", revision="main", files=["x.parquet"])


def config(entry: Dataset) -> Config:
    """A run of the test users, as the paper's tables are."""
    return Config.model_validate({"run": "r", "evaluate_users": "test", "datasets": {"p": entry.model_dump()}})


def processed(repo: str = "prism_personalized_0125", **more: object) -> ProcessedDataset:
    fields = {"name": "p", "source": "personalrewardbench", "hub": hub(repo)}
    return ProcessedDataset.model_validate(fields | more)


@pytest.mark.parametrize(
    ("entry", "answers", "differs"),
    [
        (processed(), "prism", []),
        (processed(repo="chatbot_arena_personalized_0125"), "arena", []),
        (processed(repo="prism_personalized_1023"), "prism", ["prism_personalized_1023 is not the release"]),
        (processed(keep_splits=False), "prism", ["splits made anew"]),
        (processed(max_users=9), "prism", ["only part of the data (max_users 9)"]),
        (processed(filters={"personalizable": {"model": "m"}}), "prism", ["filtered again"]),
        (ProcessedDataset(name="p", source="personalrewardbench", path=Path("prism_0125")), "prism", ["local folder"]),
        (PrismDataset(name="p", source="prism", path=Path("x")), "prism", ["rebuilt benchmark"]),
        (ArenaDataset(name="p", source="arena", path=Path("x")), "arena", ["rebuilt benchmark"]),
        (LocalDataset(name="p", path=Path("x")), None, None),
    ],
)
def test_how_a_data_set_differs_from_the_papers(entry: Dataset, answers: str | None, differs: list[str] | None) -> None:
    of_run = config(entry)
    assert answering_sets(of_run) == ({"p": answers} if answers else {})
    found = how_sets_differ(of_run).get("p")
    assert (found is None) == (differs is None)
    assert [text for text, part in zip(found or [], differs or [], strict=True) if part not in text] == []


def test_users_of_all_parts_are_not_those_of_the_paper() -> None:
    everyone = config(processed()).model_copy(update={"evaluate_users": "all"})
    assert how_sets_differ(everyone) == {"p": ["users of all parts are judged"]}


def test_identity_is_what_the_config_says() -> None:
    models = {"a": {"model": f"together_ai/{LLAMA}"}, "b": {"backend": "embedded", "model": "x", "snapshot": "s"}}
    of_run = Config.model_validate({"run": "r", "datasets": {"d": {"path": "x"}}, "models": models})
    assert identities(of_run) == {"a": [f"together_ai/{LLAMA}", ""], "b": ["x", "s"]}
    assert answering_sets(of_run) == {}
    # Of a reward model: its base.
    entry = {"base": LLAMA, "regime": "all-but-test"}
    rewards = {"rm": {**entry, "methods": ["bt"]}, "frozen": {**entry, "methods": ["lore"]}}
    trained = Config.model_validate({"run": "r", "datasets": {"d": {"path": "x"}}, "reward_models": rewards})
    assert identities(trained) == {f"{name} (all-but-test)": [LLAMA, ""] for name in rewards}
