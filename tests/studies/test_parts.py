"""The tables of model families and of the ablation against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.comparison_cases import Said, default, frame_of, learned, row_of
from support.generated_verdicts import Cell, write_cells
from support.result_cases import made_twice

from personalrm.core.conditions import MethodId, VariantId
from personalrm.methods.synthesizeme.variants import ALL, NONE, VARIANTS
from personalrm.results.comparisons import Value, with_holm
from personalrm.results.conditions import Condition
from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.stats.statistics import holm, paired_cluster_difference
from personalrm.results.tables.main_table import main_table
from personalrm.studies.synthesizeme.results.ablation_factors import changed_factor, fixed_levels, levels_of
from personalrm.studies.synthesizeme.results.ablation_table import (
    ABLATION_COLUMNS,
    TRAINED,
    ablation_blocks,
    ablation_notes,
    ablation_table,
)
from personalrm.studies.synthesizeme.results.families_table import (
    FAMILY_COLUMNS,
    families_blocks,
    families_notes,
    families_table,
)

N = 99
ZERO: Said = {"u": "0000", "v": "1000"}


def families(frame: pd.DataFrame, *models: str, datasets: Sequence[str] = ()) -> pd.DataFrame:
    return families_table(frame, models=models, datasets=datasets, seed=3, n_resamples=N)


def ablation(frame: pd.DataFrame, datasets: Sequence[str] = ()) -> pd.DataFrame:
    return ablation_table(frame, seed=3, n_resamples=N, datasets=datasets)


def test_each_model_has_default_synthesizeme_and_their_difference(tmp_path: Path) -> None:
    cells = [(default(), ZERO), (learned(), {"u": "1100", "v": "1110"}), (learned(k=2), {"u": "1111", "v": "1111"})]
    cells += [(default("n"), ZERO), (learned(judge="n", profile="m"), ZERO)]
    table = families(frame_of(tmp_path, cells), "z", "n")
    assert table["judge_model"].tolist() == ["z", "n", "m"]
    row = row_of(table, judge_model="m")
    # k = all is larger than 2.
    assert (row["k"], row["default_accuracy"], row["accuracy"], row["difference"]) == ("all", 12.5, 62.5, 50)
    assert (row["n_users"], row["n_pairs"], row["users_left_out"]) == (2, 8, 0)
    row = row_of(table, judge_model="n")
    # Another model's profile is not SynthesizeMe by n.
    assert (row["default_cell"], row["cell"], row["status"], row["default_accuracy"]) == (
        "ok",
        "not run",
        "not run",
        12.5,
    )
    row = row_of(table, judge_model="z")
    assert (row["default_cell"], row["cell"], row["status"]) == ("not run",) * 3
    assert any("not run" in note for note in families_notes(table))


def test_accuracies_of_families_are_those_of_the_main_table(tmp_path: Path) -> None:
    paths = write_cells(
        tmp_path, [default("m"), learned(judge="m"), default("n"), learned(judge="n", profile="n")], [3, 2, 4]
    )
    frame = collect_verdicts(paths)
    main = main_table(frame, collect_calls(paths), seed=3, n_resamples=N)
    table = families(frame)
    for row in table.to_dict(orient="records"):
        for prefix, method in (("", "both"), ("default_", "default")):
            expected = row_of(main, judge_model=str(row["judge_model"]), method=method)
            ours = [row[f"{prefix}{name}"] for name in ("accuracy", "accuracy_low", "accuracy_high")]
            assert ours == [expected[name] for name in ("accuracy", "ci_low", "ci_high")]
    assert list(table["p_holm"]) == pytest.approx(holm(list(table["p_value"])))


def test_kinds_of_verdict_are_rows_and_outages_are_marked(tmp_path: Path) -> None:
    said = {"u": "10"}
    cells = [(default(method=f"default{end}"), said) for end in ("", ".logprob", "@all")]
    cells += [(learned("both"), {"u": "ee"}), (learned("both.logprob"), {"u": "1e"})]
    table = families(frame_of(tmp_path, cells))
    assert table["method"].tolist() == ["both", "both.logprob"]
    texts = families_blocks(table)[0].texts
    assert texts["Verdict"].tolist() == ["text", "logprob"]
    assert texts["Difference, points [95 % CI]"].tolist() == ["no answers", "+0.00 [–] (!)"]


def test_a_data_set_without_verdicts_has_its_rows(tmp_path: Path) -> None:
    frame = frame_of(tmp_path, [(default(), ZERO), (learned(), ZERO)])
    for table in (families(frame, datasets=["d", "e"]), ablation(frame, ["d", "e"])):
        assert set(table.loc[table["dataset"] == "e", "cell"]) <= {"not run", "-"}
        assert (table["dataset"] == "e").any()
    assert list(families(collect_verdicts([])).columns) == list(FAMILY_COLUMNS)
    assert families_blocks(families(collect_verdicts([])))[0].texts.empty


def test_names_become_levels_without_a_change_of_code() -> None:
    def levels(method: str, variant: str) -> dict[str, str]:
        return levels_of(Condition("d", MethodId.parse(method), VariantId.parse(variant), "m", "m", "all")) or {}

    plain = levels("both", "corrected")
    assert list(plain.values()) == ["yes", "yes", "text", "no", "corrected", "none"]
    published = levels("persona.logprob", "as_published-with-ranking+ours")
    assert list(published.values()) == ["no", "yes", "text", "ours", "as_published", "with ranking"]
    assert list(levels("demos", "corrected+ours").values()) == ["yes", "no", "-", "-", "corrected", "none"]
    assert list(levels("default", "baseline").values()) == ["no", "no", "-", "-", "-", "-"]
    assert [levels(name, "corrected") for name in ("memory", "both_other", "longer")] == [{}] * 3
    assert changed_factor(plain, levels("both", "corrected-without-ranking")) == "repair"
    assert changed_factor(plain, levels("both", "corrected+ours")) == "theta"
    assert changed_factor(plain, levels("both", "corrected+json")) == "format"
    assert changed_factor(levels("both", "corrected+ours"), levels("both", "corrected+json")) is None
    assert levels("demos", "corrected+json")["format"] == levels("default", "corrected")["format"] == "-"
    assert changed_factor(levels("both", "as_published"), levels("both", "corrected-without-ranking")) is None
    assert changed_factor(levels("default", "baseline"), levels("demos", "corrected")) == "demonstrations"
    assert fixed_levels(levels("default", "baseline"), levels("demos", "corrected"), "demonstrations") == (
        "Persona: no · Variant: corrected · Single repair: none"
    )


def test_every_variant_is_read() -> None:
    for name, repairs in VARIANTS.items():
        levels = levels_of(Condition("d", MethodId("both"), VariantId.parse(f"{name}+ours"), "m", "m", "all")) or {}
        assert levels["variant_of"] in ("as_published", "corrected")
        assert (levels["repair"] == "none") == (repairs in (ALL, NONE))


def test_combinations_and_effects_by_hand(tmp_path: Path) -> None:
    cells = [(default(), {"u": "0000", "v": "0000"}), (learned("demos"), {"u": "1000", "v": "1000"})]
    cells += [(learned("persona"), {"u": "0100", "v": "0000"}), (learned("both"), {"u": "1110", "v": "1100"})]
    table = ablation(frame_of(tmp_path, cells))
    combinations = table[table["part"] == "combination"]
    assert combinations["method"].tolist() == ["default", "demos", "persona", "both"]
    assert combinations["accuracy"].tolist() == [0, 25, 12.5, 62.5]
    effects = table[table["part"] != "combination"]
    assert list(zip(effects["factor"], effects["part"], effects["difference"], strict=True)) == [
        ("demonstrations", "effect", 25),
        ("demonstrations", "effect", 50),
        ("demonstrations", "mean effect", 37.5),
        ("persona", "effect", 12.5),
        ("persona", "effect", 37.5),
        ("persona", "mean effect", 25),
    ]
    assert set(effects["reference"]) == {"no"}
    mean = row_of(table, part="mean effect", factor="persona")
    assert (mean["n_users"], mean["n_judgments"], mean["fixed"]) == (2, 16, "mean of 2")
    # Gains of u: 1 and 2, of v: 0 and 1, of 4 each: resamples hold u twice, v twice, or both, from 12.5 to 37.5. Two
    # users leave more open.
    assert mean["ci_low"] < 0
    assert mean["ci_high"] > 37.5


def test_the_mean_effect_keeps_users_together_over_draws(tmp_path: Path) -> None:
    cells = [(default(), ZERO), (learned("demos"), {"u": ["1100", "0000"], "v": ["1110", "1000"]})]
    cells += [(learned("persona"), ZERO), (learned("both"), {"u": ["1111", "1110"], "v": ["1000", "1100"]})]
    row = row_of(ablation(frame_of(tmp_path, cells)), part="mean effect", factor="demonstrations")
    # Two draws of demos, and one that both and persona share: gains of u 2, 0 and 4, of v 2, 0 and 0.
    gains, judged = np.array([[2, 0, 4, 4], [2, 0, 0, 0]]), np.full((2, 4), 4)
    found = paired_cluster_difference(gains, np.zeros_like(gains), judged, seed=0, n_resamples=9)
    assert row["difference"] == pytest.approx(100 * found.estimate)
    assert row["difference"] == (25 + 50) / 2
    assert row["n_judgments"] == 24


def test_variants_and_single_repairs_are_factors_of_their_own(tmp_path: Path) -> None:
    variants = ("as_published", "corrected", "corrected-without-fallback", "corrected-without-ranking")
    cells = [(default(), ZERO)]
    for place, variant in enumerate(variants):
        cells.append((learned()._replace(variant=variant), {"u": "1" * place + "0" * (4 - place), "v": "0000"}))
    table = ablation(frame_of(tmp_path, cells))
    effects = table[table["part"] == "effect"]
    found = {
        (row.factor, row.reference, row.level): row.difference for row in effects.itertuples(index=False, name="R")
    }
    assert found == {
        ("variant_of", "as_published", "corrected"): 12.5,
        ("repair", "none", "without fallback"): 12.5,
        ("repair", "none", "without ranking"): 25,
    }
    shown = ablation_blocks(table)[0].texts
    assert list(shown["Single repair"]) == ["–", "none", "none", "without fallback", "without ranking"]
    assert "Θ" not in shown
    assert any("Θ: no" in note for note in ablation_notes(table))


def test_what_is_missing_stays_as_rows_without_numbers(tmp_path: Path) -> None:
    cells = [(default(), ZERO), (learned("demos"), {"u": "eeee", "v": "eeee"}), (learned("both"), ZERO)]
    cells += [(learned("persona", judge="n", profile="n"), {"u": ""})]
    table = ablation(frame_of(tmp_path, cells))
    mine = table[table["judge_model"] == "m"]
    state = dict(zip(mine["method"], mine["cell"], strict=True))
    assert (state["demos"], state["persona"], state["both"]) == ("no answers", "not run", "ok")
    assert row_of(mine, part="mean effect", factor="persona")["status"] == "incomplete"
    assert row_of(mine, part="mean effect", factor="demonstrations")["outage"]
    assert table["difference"].isna().all()
    others = table[(table["judge_model"] == "n") & (table["part"] == "combination")]
    assert sorted(others["cell"]) == ["no verdicts", "not run", "not run", "not run"]
    assert any("incomplete" in note for note in ablation_notes(table))
    shown = ablation_blocks(table)[1].texts["Effect, points [95 % CI]"]
    assert set(shown) == {"no answers", "not run", "incomplete"}


def test_one_user_and_equal_values(tmp_path: Path) -> None:
    alone = ablation(frame_of(tmp_path, [(default(), {"u": "00"}), (learned("demos"), {"u": "10"})]))
    row = row_of(alone, part="effect")
    assert row["difference"] == 50
    assert pd.isna([row["ci_low"], row["p_value"], row["p_holm"]]).all()
    same = ablation(frame_of(tmp_path, [(default(), ZERO), (learned("demos"), ZERO)]))
    row = row_of(same, part="effect")
    assert (row["difference"], row["p_value"]) == (0, 1)
    assert row["ci_low"] == -row["ci_high"] < -10


def test_only_own_profiles_at_the_largest_k_are_compared(tmp_path: Path) -> None:
    cells = [(default(), ZERO), (learned(k=1), ZERO), (learned(k=10), ZERO), (learned(k=10, profile="n"), ZERO)]
    table = ablation(frame_of(tmp_path, cells))
    assert set(table.loc[table["method"] == "both", "k"]) == {"10"}
    assert set(table["profile_model"]) == {"-", "m"}


def test_holm_holds_among_the_effects_and_no_verdicts_give_no_rows(tmp_path: Path) -> None:
    names = ("demos", "persona", "both")
    frame = collect_verdicts(write_cells(tmp_path, [default(), *map(learned, names)], [4] * 9))
    table = ablation(frame)
    effects = table[table["part"] == "effect"]
    assert list(effects["p_holm"]) == pytest.approx(holm(list(effects["p_value"])), rel=1e-5)
    empty = ablation(frame.iloc[:0])
    assert list(empty.columns) == list(ABLATION_COLUMNS)
    assert [block.texts.empty for block in ablation_blocks(empty)] == [True, True]
    assert ablation_notes(empty)


@pytest.mark.parametrize("name", ["families", "ablation"])
def test_the_tables_have_equal_bytes_each_time(tmp_path: Path, name: str) -> None:
    cells = [default(), *(Cell(method, 0.6, "m", "m", 0, dataset="d") for method in ("demos", "persona", "both"))]
    frame = collect_verdicts(write_cells(tmp_path, cells, [2, 3, 1]))
    params = {"n_resamples": N, "model_order": ["m"], "compared": ["d"]}
    csv = made_twice(tmp_path, name, frame, {}, params)
    assert "ok" in set(pd.read_csv(csv)["status"])


def test_p_values_are_adjusted_within_their_part() -> None:
    rows: list[dict[str, Value]] = [
        {"part": "effect", "p_value": 0.01},
        {"part": "mean effect", "p_value": 0.03},
        {"part": "effect", "p_value": 0.04},
        {"part": "combination"},
    ]
    adjusted = [float(str(row["p_holm"])) for row in with_holm(rows, "part")]
    assert adjusted == pytest.approx([0.02, 0.03, 0.04, float("nan")], nan_ok=True)
    whole = [float(str(row["p_holm"])) for row in with_holm(rows)]
    assert whole == pytest.approx([0.03, 0.06, 0.06, float("nan")], nan_ok=True)


def test_the_ablation_has_reward_models_with_the_profiles_that_they_were_trained_with(tmp_path: Path) -> None:
    said = {"u": "1100", "v": "1000"}
    cells = [(default(), said), (learned(), said)]
    bare = Cell("bt", 0.5, "rm", variant="baseline", dataset="d")
    cells += [(bare, said), (learned("bt_persona", judge="rm"), {"u": "1110", "v": "1100"})]
    cells += [(learned("bt_both", judge="rm"), {"u": "1111", "v": "1101"})]
    # Of another data set there is no reward model, which is no combination that is missing.
    cells += [(default(dataset="e"), said), (learned(dataset="e"), said)]
    table = ablation_table(frame_of(tmp_path, cells), seed=0, n_resamples=99)
    mine = table[(table["judge_model"] == "rm") & (table["part"] == "combination")]
    assert set(mine["dataset"]) == {"d"}
    assert dict(zip(mine["method"], mine["accuracy"], strict=True)) == {"bt": 37.5, "bt_persona": 62.5, "bt_both": 87.5}
    effects = table[(table["judge_model"] == "rm") & (table["part"] == "effect")]
    assert list(zip(effects["factor"], effects["difference"], strict=True)) == [("demonstrations", 25), ("persona", 25)]
    judges = table[(table["judge_model"] == "m") & (table["part"] == "combination")]
    assert list(zip(judges["dataset"], judges["method"], strict=True)) == [
        ("d", "default"),
        ("d", "both"),
        ("e", "default"),
        ("e", "both"),
    ]
    assert TRAINED in ablation_notes(table)
    assert TRAINED not in ablation_notes(table[table["judge_model"] == "m"])
