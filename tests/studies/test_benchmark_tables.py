"""The tables of the benchmark: counts by hand, the paper's counts beside them, and the funnel."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.result_cases import written_twice

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, Split, Turn, UserData, UserPart, write_records
from personalrm.data.filters.funnel import Funnel, FunnelStep
from personalrm.data.settings import ArenaDataset, Dataset, HubSource, LocalDataset, PrismDataset, ProcessedDataset
from personalrm.methods.baselines import prefer_longer
from personalrm.studies.run_results import REPORTED
from personalrm.studies.synthesizeme.results.benchmark_reported import limits_of, read_reported, reported_set
from personalrm.studies.synthesizeme.results.benchmark_table import (
    BENCHMARK_COLUMNS,
    benchmark_blocks,
    benchmark_notes,
    benchmark_table,
)
from personalrm.studies.synthesizeme.results.funnel_table import (
    FUNNEL_COLUMNS,
    funnel_blocks,
    funnel_table,
    read_funnel_table,
    read_funnels,
)

COUNTS = REPORTED / "benchmark.csv"
PARTS: tuple[Split, Split, Split] = ("context", "validation", "test")


def pair(
    number: int, split: Split | None = "context", *, turns: int = 1, chosen: str = "ab", rejected: str = "a"
) -> PreferencePair:
    """A pair whose context has `turns` user turns of two words and answers of one word between them."""
    context = [
        Turn(role="assistant", content="Sure.") if n % 2 else Turn(role="user", content="two words")
        for n in range(2 * turns - 1)
    ]
    return PreferencePair(
        user_id="u", pair_id=str(number), context=tuple(context), chosen=chosen, rejected=rejected, split=split
    )


def user(
    name: str,
    *pairs: PreferencePair,
    dataset: str = "data",
    user_split: UserPart | None = None,
    excluded: str | None = None,
) -> UserData:
    return UserData(dataset=dataset, user_id=name, pairs=pairs, user_split=user_split, excluded=excluded)


def written(path: Path, *users: UserData) -> Path:
    write_records(path, users)
    return path


def rows(table: pd.DataFrame) -> dict[tuple[str, str, str], pd.Series]:
    return {(row["dataset"], row["level"], row["split"]): row for _, row in table.iterrows()}


def test_every_number_of_a_data_set_by_hand(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.jsonl",
        user("a", pair(0), pair(1, turns=3), pair(2, "validation", chosen="b", rejected="b"), pair(3, "test")),
        user("b", pair(4, chosen="one two three", rejected="much longer than that is"), pair(5, "test")),
        user("c", excluded="1 pair, fewer than 5"),
    )
    table = benchmark_table([path], ["data"])
    assert tuple(table.columns) == BENCHMARK_COLUMNS
    assert list(rows(table)) == [("data", "all", "all"), *(("data", "B", part) for part in PARTS)]
    whole = rows(table)["data", "all", "all"]
    assert (whole["users"], whole["excluded_users"], whole["pairs"]) == (2, 1, 6)
    assert (whole["q1_pairs"], whole["median_pairs"], whole["q3_pairs"]) == (2.5, 3, 3.5)
    assert whole["turns"] == round(8 / 6, 4)
    assert whole["multi_turn_share"] == round(100 / 6, 4)
    assert whole["context_words"] == round((5 * 2 + 8) / 6, 4)
    assert whole["answer_words"] == round((5 * 2 + 3 + 5) / 12, 4)
    assert whole["longer_chosen_share"] == 75  # four longer, one shorter, one equal: 4.5 of 6
    context = rows(table)["data", "B", "context"]
    assert (context["users"], context["pairs"], context["median_pairs"]) == (2, 3, 1.5)
    assert pd.isna(context["excluded_users"])
    assert rows(table)["data", "B", "validation"]["users"] == 1


def test_level_a_has_rows_where_users_carry_a_part(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.jsonl",
        user("a", pair(0), pair(1, "test"), user_split="train"),
        user("b", pair(2), user_split="test"),
        user("c", excluded="too few", user_split="test"),
        user("d", pair(3), dataset="other"),
    )
    table = rows(benchmark_table([path], ["other", "data"]))
    assert [key[:2] for key in table if key[1] == "A"] == [("data", "A")] * 3
    assert [table["data", "A", part]["users"] for part in ("train", "validation", "test")] == [1, 0, 1]
    assert [table["data", "A", part]["excluded_users"] for part in ("train", "validation", "test")] == [0, 0, 1]
    assert table["data", "A", "train"]["pairs"] == 2
    assert pd.isna(table["data", "A", "validation"]["median_pairs"])
    assert next(iter(table)) == ("other", "all", "all")


lengths = st.lists(st.integers(1, 30), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(lengths, st.randoms(use_true_random=False))
def test_rows_add_up_and_the_sequence_of_users_and_files_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], chance: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("t")
    users = [
        user(
            str(number),
            *(
                pair(n, chance.choice(PARTS), turns=chance.randint(1, 3), chosen="x" * chance.randint(1, 3))
                for n in range(size)
            ),
            user_split=chance.choice(["train", "validation", "test"]),
        )
        for number, size in enumerate(sizes)
    ]
    one = benchmark_table([written(folder / "one", *users)], ["data"])
    chance.shuffle(users)
    cut = chance.randint(0, len(users))
    two = [written(folder / "2", *users[:cut]), written(folder / "1", *users[cut:])]
    pd.testing.assert_frame_equal(one, benchmark_table(two, ["data"]))
    whole = one.iloc[0]
    assert [whole[f"{name}_pairs"] for name in ("q1", "median", "q3")] == [
        pytest.approx(value) for value in np.quantile(sizes, [0.25, 0.5, 0.75])
    ]
    for level in ("A", "B"):
        assert one.loc[one["level"] == level, "pairs"].sum() == whole["pairs"] == sum(sizes)
    assert one.loc[one["level"] == "A", "users"].sum() == whole["users"]


@pytest.mark.parametrize(
    ("chosen", "rejected"), [("a b c", "longword"), ("longword", "a b c"), ("abc", "a b"), ("é", "e")]
)
def test_longer_is_what_the_method_longer_means(tmp_path: Path, chosen: str, rejected: str) -> None:
    mine = pair(0, chosen=chosen, rejected=rejected)
    outcome = prefer_longer(0, [mine])[0].outcome
    table = benchmark_table([written(tmp_path / "x", user("a", mine))], ["data"])
    assert table["longer_chosen_share"][0] == {"correct": 100, "wrong": 0, "tie": 50}[outcome]


def test_no_users_give_empty_numbers_and_a_stranger_is_an_error(tmp_path: Path) -> None:
    table = benchmark_table([written(tmp_path / "x")], ["data"])
    assert table["users"].tolist() == table["pairs"].tolist() == [0] * 4
    assert table["turns"].isna().all()
    assert "–" in benchmark_blocks(table)[0].texts.iloc[0].tolist()
    with pytest.raises(DataError, match=r"user 'a'.*'data'"):
        benchmark_table([written(tmp_path / "y", user("a", pair(0)))], ["prism"])


def test_the_papers_counts_stand_beside_ours(tmp_path: Path) -> None:
    many = [user(f"{n}", pair(n), dataset="p", user_split="train") for n in range(3)]
    path = written(
        tmp_path / "x", *many, user("m", pair(9), dataset="mine"), user("a", pair(8), dataset="a", user_split="test")
    )
    answers = {"p": "prism", "a": "arena", "mine": None}
    table = benchmark_table([path], ["p", "a", "mine"], answers, read_reported(COUNTS))
    cells = rows(table)
    prism = cells["p", "all", "all"]
    assert (prism["reported_users"], prism["difference_users"]) == (723, 3 - 723)
    assert (prism["reported_pairs"], prism["difference_pairs"]) == (16705, 3 - 16705)
    assert (prism["reported_median_pairs"], prism["difference_median_pairs"]) == (22, -21)
    arena = [cells["a", "A", part]["reported_pairs"] for part in ("train", "validation", "test")]
    assert arena == [305, 235, 798]
    assert cells["a", "A", "test"]["difference_pairs"] == 1 - 798
    assert cells["a", "all", "all"]["reported_users"] == 131
    compared = [column for column in BENCHMARK_COLUMNS if column.startswith(("reported_", "difference_"))]
    assert cells["mine", "all", "all"][compared].isna().all()
    assert cells["p", "B", "context"][compared].isna().all()
    notes = " ".join(benchmark_notes(table, answers, {"p": "max_users 3", "mine": "max_users 1"}))
    assert "compare with: mine." in notes
    assert "p is limited in the config (max_users 3)" in notes
    assert "mine is limited" not in notes
    last = benchmark_blocks(table)[2].texts
    assert set(last["Data set"]) == {"p", "a"}
    assert last["Pairs, difference"][0] == "-16,702"


def test_reported_counts_are_numbers_that_agree_with_each_other(tmp_path: Path) -> None:
    reported = read_reported(COUNTS)
    assert reported["both"]["users"] == reported["arena"]["users"] + reported["prism"]["users"] == 854
    assert sum(reported["arena"][f"pairs_{part}"] for part in ("train", "validation", "test")) == 1338
    (tmp_path / "bad.csv").write_text("dataset,quantity,value\na,users,1\na,pairs,many\n")
    with pytest.raises(DataError, match="line 3"):
        read_reported(tmp_path / "bad.csv")


def hub(repo: str) -> HubSource:
    return HubSource(repo=repo, revision="main", files=["x.parquet"])


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        (PrismDataset(name="x", source="prism", path=Path("x")), "prism"),
        (ArenaDataset(name="x", source="arena", path=Path("x")), "arena"),
        (LocalDataset(name="prism", path=Path("prism.jsonl")), None),
        *(
            (ProcessedDataset(name="x", source="personalrewardbench", hub=hub(repo)), expected)
            for repo, expected in (
                ("MichaelR207/prism_personalized_0125", "prism"),
                ("MichaelR207/chatbot_arena_personalized_0125", "arena"),
                ("MichaelR207/prism_personalized_1023", "prism_1023"),
                ("prism/other_data", None),
                ("copies/PRISM", "prism"),
            )
        ),
        (ProcessedDataset(name="x", source="personalrewardbench", path=Path("here/arena_0125")), "arena"),
    ],
)
def test_which_reported_set_a_data_set_answers_to(settings_: Dataset, expected: str | None) -> None:
    assert reported_set(settings_) == expected


def test_limits_are_named() -> None:
    assert limits_of(LocalDataset(name="x", path=Path("x"))) == ""
    limited = LocalDataset(name="x", path=Path("x"), users=["a", "b"], max_pairs=7)
    assert limits_of(limited) == "users 2, max_pairs 7"


def funnel(name: str = "data") -> Funnel:
    steps = [("votes read", 4, 9, 20), ("ties dropped", 4, 8, 15), ("users with at least 5 pairs", 2, 5, 12)]
    return Funnel(
        dataset=name,
        steps=tuple(FunnelStep(step=s, users=u, conversations=c, pairs=p) for s, u, c, p in steps),
        dropped={"bad_line": 3, "tie": 5},
    )


def test_the_funnel_shows_what_each_step_left_and_removed(tmp_path: Path) -> None:
    for name in ("b", "NA"):
        (tmp_path / name).write_text(funnel(name).model_dump_json(indent=2))
    table = funnel_table(read_funnels([tmp_path / "b", tmp_path / "NA"]))
    assert tuple(table.columns) == FUNNEL_COLUMNS
    assert table["dataset"].tolist() == ["b"] * 5 + ["NA"] * 5
    assert table["kind"].tolist() == ["step", "step", "step", "drop", "drop"] * 2
    assert table["removed_pairs"][1:5].tolist() == [5, 3, 3, 5]
    assert table["removed_users"][1:3].tolist() == [0, 2]
    assert table["removed_conversations"][1:3].tolist() == [1, 3]
    assert pd.isna(table["removed_pairs"][0])
    assert pd.isna(table["pairs"][3])
    table.to_csv(tmp_path / "funnel.csv", index=False)
    pd.testing.assert_frame_equal(read_funnel_table(tmp_path / "funnel.csv"), table)
    steps, drops = funnel_blocks(table)
    assert steps.texts.iloc[1].tolist() == ["b", "ties dropped", "4", "8", "15", "0", "1", "5"]
    assert drops.texts.iloc[0].tolist() == ["b", "bad line", "3"]


def test_a_file_that_is_no_funnel_is_named(tmp_path: Path) -> None:
    (tmp_path / "funnel.json").write_text('{"votes": 1}')
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "funnel.json"))):
        read_funnels([tmp_path / "funnel.json"])


def test_the_tables_have_equal_bytes_each_time(tmp_path: Path) -> None:
    users = written(tmp_path / "users", user("a", pair(0), pair(1, "test"), user_split="test"))
    (tmp_path / "funnel.json").write_text(funnel().model_dump_json())
    given: dict[str, object] = {"users": [users], "reported_benchmark": COUNTS, "datasets": ["data"]}
    stem = written_twice(
        "table_benchmark", tmp_path, **given, reported_sets={"data": "arena"}, limits={"data": "max_users 1"}
    )
    assert "1,338" in stem.with_suffix(".md").read_text()
    assert "data is limited in the config (max\\_users 1)" in stem.with_suffix(".md").read_text()
    written_twice("table_funnel", tmp_path, funnels=[tmp_path / "funnel.json"])


def test_ties_are_counted_and_have_no_longer_choice(tmp_path: Path) -> None:
    tied = pair(2, "test", chosen="long", rejected="s").model_copy(update={"tie": True})
    path = written(tmp_path / "x.jsonl", user("a", pair(0), pair(1, "test", chosen="s", rejected="long"), tied))
    table = benchmark_table([path], ["data"])
    counts = {split: (row["pairs"], row["ties"]) for (_, _, split), row in rows(table).items()}
    assert counts == {"all": (3, 1), "context": (1, 0), "validation": (0, 0), "test": (2, 1)}
    assert rows(table)["data", "B", "test"]["longer_chosen_share"] == 0
    assert "Of these ties" in benchmark_blocks(table)[0].texts.columns
    assert any(note.startswith("Ties: pairs that the user called one") for note in benchmark_notes(table, {}))
    plain = benchmark_table([written(tmp_path / "y.jsonl", user("a", pair(0)))], ["data"])
    assert "Of these ties" not in benchmark_blocks(plain)[0].texts.columns
    only = benchmark_table([written(tmp_path / "z.jsonl", user("a", tied))], ["data"])
    assert np.isnan(rows(only)["data", "all", "all"]["longer_chosen_share"])
