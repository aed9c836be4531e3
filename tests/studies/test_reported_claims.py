"""Slope, first better k, fidelity, settings won and a distilled Theta beside the reported ones, by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from results.test_fidelity import row, verdicts
from support.comparison_cases import Said, default, frame_of, learned, row_of
from support.generated_verdicts import Cell
from support.reported_cases import LLAMA, MISSING, MODELS, NUMBERS, SMALL, number, run, tables_of

from personalrm.core.conditions import K
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.results.reported_matching import (
    OWN_THETA,
    RunIdentity,
    ThetaOrigin,
    identities,
    theta_origins,
)
from personalrm.studies.synthesizeme.results.reported_numbers import (
    ReportedNumber,
    read_not_recovered,
    read_numbers,
    read_served,
)
from personalrm.studies.synthesizeme.results.reported_table import reported_blocks, reported_notes, reported_table

Cells = list[tuple[Cell, Said]]
EIGHT = [f"u{n}" for n in range(8)]
REPORTED = {(one.statistic, one.label): one for one in read_numbers(NUMBERS)}
SLOPE = REPORTED["points_per_pair", "Gain for each context pair"]
FIRST_K = REPORTED["context_pairs", "Fewest context pairs above Default"]
WON = REPORTED["settings_won", "A variant with demonstrations is best"]
DISTILLED = REPORTED["accuracy_percent", "SynthesizeMe: Personas + Demos, distilled Theta"]
OWN, OTHER, LESS = (
    REPORTED[f"match_{name}", label]
    for name, label in (
        ("own_percent", "Persona matches own user's statements"),
        ("other_percent", "Persona matches a random user's statements"),
        ("difference_points", "Own less a random user's statements"),
    )
)


def published(
    method: str = "both", k: K = "all", judge: str = "m", variant: str = "as_published", dataset: str = "d"
) -> Cell:
    return learned(method, k, judge, judge, dataset)._replace(variant=variant)


def right(count: int) -> dict[str, str]:
    """Two users who have so many of ten right."""
    return dict.fromkeys("uv", "1" * count + "0" * (10 - count))


def growing(judge: str = "m", variant: str = "as_published", step: int = 1) -> Cells:
    """30 % without a pair, and ten times `step` points more with each."""
    return [(published(k=k, judge=judge, variant=variant), right(3 + step * k)) for k in (1, 2, 5)]


def beside(folder: Path, one: ReportedNumber, cells: Cells, identity: RunIdentity | None = None) -> pd.DataFrame:
    frame = frame_of(folder, cells)
    return reported_table([one], frame, identity or run(), tables_of(frame), seed=1, n_resamples=99)


def test_the_slope_of_the_table_of_scaling_stands_beside_the_reported_one(tmp_path: Path) -> None:
    found = row_of(beside(tmp_path, SLOPE, growing()))
    assert (found["reported"], found["ours"], found["difference"]) == (0.8, 10, pytest.approx(9.2))
    assert found["status"] == "set beside"
    assert (found["our_data_set"], found["our_model"], found["our_method"]) == ("d", "m", "both")
    assert (found["our_variant"], found["our_users"]) == ("as_published", 2)
    # As in the table of scaling; 0.8 lies below both bounds.
    mine = tables_of(frame_of(tmp_path, growing())).scaling.iloc[0]
    assert 0.8 < mine["slope_low"] < 10 < mine["slope_high"] < 17
    assert (found["ours_low"], found["ours_high"]) == (mine["slope_low"], mine["slope_high"])
    assert (found["reported_in_ours"], found["ours_in_reported"]) == ("no", "")
    assert "names neither data set nor model" in str(found["reason"])


def test_a_claim_about_no_named_model_has_a_row_for_each_that_it_may_mean(tmp_path: Path) -> None:
    flat = [(published(k=k, judge="s"), right(4)) for k in (1, 2)]
    identity = run()._replace(models={"m": (LLAMA, ""), "s": (SMALL, ""), "x": ("smollm2-135m", "")})
    table = beside(tmp_path, SLOPE, [*growing(), *flat, *growing("x")], identity)
    assert table[["our_model", "ours"]].to_numpy().tolist() == [["s", 0], ["m", 10]]
    shown = reported_blocks(table)[0].texts
    assert list(shown["Reported"]) == ["0.80", "0.80"]
    assert shown["Why, or note"].str.startswith(("d, s: ", "d, m: ")).all()
    assert reported_notes(table)[0] == "1 reported numbers in 2 rows: 2 set beside."


@pytest.mark.parametrize("one", [SLOPE, FIRST_K])
def test_other_conditions_are_not_set_beside(tmp_path: Path, one: ReportedNumber) -> None:
    def told(name: str, cells: Cells, identity: RunIdentity | None = None) -> tuple[str, str]:
        found = row_of(beside(tmp_path / name, one, cells, identity))
        assert pd.isna(found["ours"])
        return str(found["status"]), str(found["reason"])

    cells: Cells = [(default(), right(1)), *growing()]
    assert told("set", cells, run(answer="other")) == ("not run", "no data set of this run answers to arena or prism")
    status, reason = told("model", cells, run(model="smollm2-135m"))
    assert status == "not run"
    assert reason.startswith("no model of this run is meta-llama/Llama-3.2-3B-Instruct or ")
    assert told("method", [(default(), right(1))]) == ("not run", "both was not run with this model on this data")
    assert told("built", cells, run(("rebuilt benchmark",))) == ("not comparable", "rebuilt benchmark")
    other = told("variant", [(default(), right(1)), *growing(variant="corrected")])
    assert other == ("not comparable", "variant corrected, not as_published")
    alone = "k = 1 alone was run" if one is FIRST_K else "no slope: there are not two k with answers"
    status, reason = told("k", cells[:2])
    assert (status, reason[: len(alone)]) == ("not comparable", alone)
    lost = told("lost", [*cells[:-1], (cells[-1][0], {"u": "e1111", "v": "11111"})])
    assert lost[0] == "not comparable"
    assert "lost to provider errors" in lost[1]


def test_the_first_k_better_than_default_stands_beside_the_reported_one(tmp_path: Path) -> None:
    half = {user: "1010" * 3 if n % 2 else "0101" * 3 for n, user in enumerate(EIGHT)}
    cells: Cells = [(default(), half), (published(k=1), half), (published(k=4), dict.fromkeys(EIGHT, "1111" * 3))]
    found = row_of(beside(tmp_path / "four", FIRST_K, cells))
    assert (found["reported"], found["ours"], found["difference"]) == (5, 4, -1)
    assert (found["status"], found["our_users"]) == ("set beside", 8)
    assert "k = 1, 4 were run; both at k = 4 predicts these votes better than Default" in str(found["reason"])
    # Eight pairs carry no claim, though all users gain.
    few = [(cell, {user: text[:2] for user, text in said.items()}) for cell, said in cells]
    found = row_of(beside(tmp_path / "few", FIRST_K, few))
    assert (found["status"], pd.isna(found["ours"])) == ("set beside", True)
    assert "there are too few pairs to tell whether both at k = 4 predicts better" in str(found["reason"])
    table = beside(tmp_path / "none", FIRST_K, [*cells[:2], (published(k=4), half)])
    assert reported_blocks(table)[0].texts["Ours [95 % CI]"].tolist() == ["none"]
    found = row_of(table)
    assert (found["status"], found["reported_in_ours"]) == ("set beside", "")
    assert pd.isna(found["ours"])
    assert pd.isna(found["difference"])
    assert "both at k = 4 and Default predict about equally well: any difference is below 5 points" in found["reason"]


def test_matches_of_personas_stand_beside_the_reported_shares_and_their_difference(tmp_path: Path) -> None:
    frame = frame_of(tmp_path, [(default(), right(1))])
    given = {"variant": "as_published", "judge_model": "m"}
    users = [
        row("a", "oo", matches=verdicts("oo", "a") + verdicts("ox"), **given),
        row("b", "oo", matches=verdicts("ox", "b") + verdicts("xx"), **given),
    ]
    tables = tables_of(frame, users)
    table = reported_table([OWN, OTHER, LESS], frame, run(), tables, seed=1, n_resamples=99)
    # Own: 2 of 2 and 1 of 2; another's: 1 of 2 and 0 of 2.
    assert table[["reported", "ours"]].to_numpy().tolist() == [[56.1, 75], [47, 25], [9.1, 50]]
    assert list(table["difference"].round(4)) == [18.9, -22, 40.9]
    assert set(table["status"]) == {"set beside"}
    assert set(table["our_users"]) == {2}
    assert table["ours_low"].notna().tolist() == [False, False, True]
    assert table["reason"].str.contains("prompt, judge and users of the paper's check are not published").all()
    for changes, reason in (
        ({"variant": "corrected"}, "variant corrected, k all, judged by m"),
        ({"judge_model": "j"}, "variant as_published, k all, judged by j"),
    ):
        others = tables_of(frame, [user.model_copy(update=changes) for user in users])
        found = row_of(reported_table([OWN], frame, run(), others, seed=1, n_resamples=9))
        assert (found["status"], found["reason"]) == ("not comparable", reason)
    unasked = tables_of(frame, [user.model_copy(update={"matches": ()}) for user in users])
    assert row_of(reported_table([OWN], frame, run(), unasked, seed=1, n_resamples=9))["status"] == "not run"


def paper_settings(best: str = "demos") -> tuple[Cells, RunIdentity]:
    """The paper's six settings; in that of the large model on Arena, `best` alone is right more often than half."""
    cells: Cells = []
    for dataset in ("a", "p"):
        for judge in ("t", "s", "m"):
            here = best if (dataset, judge) == ("a", "m") else "both"
            cells.append((default(judge, dataset=dataset), right(5 + 2 * (here == "default"))))
            for method in ("demos", "persona", "both"):
                cells.append((published(method, 0, judge, dataset=dataset), right(5 + 2 * (here == method))))
    models = {"t": ("meta-llama/Llama-3.2-3B-Instruct", ""), "s": (SMALL, ""), "m": (LLAMA, "")}
    return cells, RunIdentity({"a": "arena", "p": "prism"}, {"a": (), "p": ()}, models, read_served(MODELS))


@pytest.mark.parametrize(("best", "won"), [("demos", 6), ("persona", 5), ("default", 5), ("nothing", 5)])
def test_settings_won_are_those_of_the_paper(tmp_path: Path, best: str, won: int) -> None:
    cells, identity = paper_settings(best)
    found = row_of(beside(tmp_path, WON, cells, identity))
    assert (found["status"], found["reported"], found["ours"], found["difference"]) == ("comparable", 6, won, won - 6)
    assert found["reason"] == "of 6 of the paper's 6 settings, by accuracy alone, whatever the intervals"


def test_of_fewer_settings_the_count_has_no_difference(tmp_path: Path) -> None:
    cells, identity = paper_settings()
    fewer = identity._replace(models={"m": (LLAMA, ""), "s": (SMALL, "other")})
    table = beside(tmp_path / "fewer", WON, cells, fewer)
    found = row_of(table)
    assert (found["status"], found["ours"]) == ("set beside", 2)
    assert pd.isna(found["difference"])
    assert found["reason"] == "of 2 of the paper's 6 settings, by accuracy alone, whatever the intervals"
    assert reported_blocks(table)[0].texts["Ours [95 % CI]"].tolist() == ["2"]
    rebuilt = identity._replace(differs={"a": ("rebuilt benchmark",), "p": ("rebuilt benchmark",)})
    found = row_of(beside(tmp_path / "rebuilt", WON, cells, rebuilt))
    assert (found["status"], found["reason"]) == ("not comparable", "rebuilt benchmark")
    alone = [(cell, said) for cell, said in cells if cell.method in ("default", "persona")]
    assert row_of(beside(tmp_path / "alone", WON, alone, identity))["status"] == "not run"


def distilled(**thetas: ThetaOrigin) -> RunIdentity:
    models = {"s": (SMALL, ""), "m": (LLAMA, "")}
    named = {f"as_published+{name}": origin for name, origin in thetas.items()}
    return RunIdentity({"d": "arena"}, {"d": ()}, models, read_served(MODELS), named)


FOUND, FILE = ThetaOrigin("as_published", "m", ""), ThetaOrigin("as_published", "", "llama70b.json")


@pytest.mark.parametrize(
    ("identity", "variant", "status", "reason"),
    [
        (distilled(mine=FOUND), "as_published+mine", "set beside", OWN_THETA),
        (distilled(mine=FILE), "as_published+mine", "comparable", ""),
        (
            distilled(mine=ThetaOrigin("as_published", "s", "")),
            "as_published+mine",
            "not comparable",
            "as_published with",
        ),
        (
            distilled(mine=ThetaOrigin("as_published", "", "llama8b.json")),
            "as_published+mine",
            "not comparable",
            "with",
        ),
        (distilled(mine=ThetaOrigin("corrected", "m", "")), "as_published+mine", "not comparable", "as_published with"),
        (distilled(), "as_published", "not comparable", "not as_published with the Theta of the 70B model"),
    ],
)
def test_a_distilled_theta_is_the_large_models_given_to_a_smaller_one(
    tmp_path: Path, identity: RunIdentity, variant: str, status: str, reason: str
) -> None:
    found = row_of(beside(tmp_path, DISTILLED, [(published(judge="s", variant=variant), right(6))], identity))
    assert found["status"] == status
    assert reason in str(found["reason"])
    if status != "not comparable":
        assert (found["ours"], found["our_variant"]) == (60, variant)
        assert found["difference"] == pytest.approx(60 - 61.62)


def test_the_authors_theta_comes_before_one_of_ours(tmp_path: Path) -> None:
    cells: Cells = [
        (published(judge="s", variant=f"as_published+{name}"), right(n)) for name, n in (("a", 5), ("b", 6))
    ]
    found = row_of(beside(tmp_path, DISTILLED, cells, distilled(a=FOUND, b=FILE)))
    assert (found["status"], found["ours"]) == ("comparable", 60)
    # The large model's own Theta is not handed on to it.
    large = number(data_set="arena", method="both", variant="as_published+distilled")
    cells = [(published(variant="as_published+a"), right(5))]
    assert row_of(beside(tmp_path / "m", large, cells, distilled(a=FOUND)))["status"] == "not comparable"


def test_where_a_theta_is_from_is_what_the_config_says() -> None:
    thetas = {"own": {"optimise": {}}, "handed": {"optimise": {"model": "b"}}, "file": {"path": "x/llama70b.json"}}
    variants = ["as_published", "corrected+json", *(f"as_published+{name}" for name in thetas), "corrected+handed"]
    models = {"b": {"model": LLAMA}}
    fields = {"run": "r", "datasets": {"d": {"path": "x"}}, "models": models, "thetas": thetas, "variants": variants}
    assert theta_origins(Config.model_validate(fields | {"learn": {"models": ["b"]}})) == {
        "as_published+handed": ("as_published", "b", ""),
        "as_published+file": ("as_published", "", "llama70b.json"),
        "corrected+handed": ("corrected", "b", ""),
    }


def test_what_could_not_be_read_of_the_paper_is_listed_without_a_number(tmp_path: Path) -> None:
    missing = read_not_recovered(MISSING)
    assert any("distilled Theta" in each.item for each in missing)
    table = beside(tmp_path, SLOPE, growing())
    assert [block.title for block in reported_blocks(table)] == ["Context size"]
    shown = reported_blocks(table, missing)[-1]
    assert (shown.title, len(shown.texts)) == ("Not recovered", len(missing))


def test_an_outage_of_default_spoils_the_first_k_and_not_the_slope(tmp_path: Path) -> None:
    cells: Cells = [(default(), {"u": "e1111", "v": "11111"}), *growing()]
    assert row_of(beside(tmp_path / "slope", SLOPE, cells))["ours"] == 10
    found = row_of(beside(tmp_path / "first", FIRST_K, cells))
    assert found["status"] == "not comparable"
    assert "lost to provider errors" in str(found["reason"])


def test_a_trained_reward_model_is_set_beside_a_reported_one_of_the_same_base(tmp_path: Path) -> None:
    """Never comparable: on what the reported model was trained is not published."""
    config = parse_config(
        {
            "run": "r",
            "datasets": {"d": {"path": "votes.jsonl"}},
            "methods": ["longer"],
            "reward_models": {"large": {"base": LLAMA, "methods": ["gpo", "frozen_bt"]}},
        }
    )
    (judge,) = identities(config)
    assert identities(config) == {judge: [LLAMA, ""]}
    gpo = next(one for one in read_numbers(NUMBERS) if (one.label, one.table) == ("GPO", "main results"))
    cells = [
        (Cell("gpo", 0.5, judge, None, k, variant="baseline", dataset="d"), right(n)) for k, n in ((2, 5), ("all", 7))
    ]
    identity = run(answer="arena")._replace(models=identities(config))
    found = row_of(beside(tmp_path, gpo, cells, identity))  # type: ignore[arg-type]
    assert (found["reported"], found["ours"], found["status"]) == (58.1, 70, "set beside")
    assert "with which the reported model was trained are not all published" in str(found["reason"])
    # Not with fewer context pairs, and not on another base.
    few = row_of(beside(tmp_path, gpo, cells[:1], identity))  # type: ignore[arg-type]
    assert (few["status"], few["reason"]) == ("not comparable", "k = 2, not all context pairs")
    other = identity._replace(models={judge: ["smollm2-135m", ""]})
    assert row_of(beside(tmp_path, gpo, cells, other))["status"] == "not run"  # type: ignore[arg-type]
    labels = {"GPO": "gpo", "VPL": "vpl", "PAL": "pal_a"}
    assert all(one.method == labels[one.label] for one in read_numbers(NUMBERS) if one.label in labels)
