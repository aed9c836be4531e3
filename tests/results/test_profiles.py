"""The table of profiles against numbers worked out by hand, its files, and its sentences in the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.models import pair
from support.result_cases import write_result

from personalrm.core.records import Demonstration, Profile, write_records
from personalrm.results.tables.profiles_table import (
    profiles_blocks,
    profiles_notes,
    profiles_table,
    read_profiles_table,
    what_profiles_show,
)


def shown(reasoned: int, labels: int) -> tuple[Demonstration, ...]:
    pairs = [pair(f"c{i}") for i in range(reasoned + labels)]
    reasons = ["Because."] * reasoned + [None] * labels
    return tuple(Demonstration(pair=p, swapped=False, reasoning=r) for p, r in zip(pairs, reasons, strict=True))


def profile(user: str, both: tuple[int, int] = (0, 0), demos: tuple[int, int] = (1, 0), **changes: object) -> Profile:
    base = Profile(
        dataset="d",
        user_id=user,
        model="m",
        variant="corrected",
        k="all",
        draw=0,
        status="ok",
        persona="Likes tea.",
        demonstrations=shown(*both),
        plain_demonstrations=shown(*demos),
    )
    return base.model_copy(update=changes)


def some() -> list[Profile]:
    return [
        profile("a", both=(0, 0)),
        profile("b", both=(2, 1), persona_flaw="echo"),
        profile("c", both=(0, 3), demos=(0, 2)),
        profile("d", both=(1, 0), demos=(0, 0), persona=None, persona_flaw="empty"),
        profile("e", status="failed"),
        profile("a", status="empty", variant="as_published"),
        profile("b", variant="as_published"),
        profile("b", variant="as_published", both=(1, 0), k=3),
        profile("b", variant="as_published", k=3, draw=1),
    ]


def test_by_hand() -> None:
    table = profiles_table(some(), variants=["as_published", "corrected"])
    assert table[["variant", "k", "n_users", "n_profiles", "without_profile"]].to_numpy().tolist() == [
        ["as_published", "3", 1, 2, 0],
        ["as_published", "all", 2, 1, 1],
        ["corrected", "all", 5, 4, 1],
    ]
    assert table["without_demonstrations_both"].tolist() == [50, 100, 25]
    assert table["labels_only_both"].tolist() == [0, 0, 25]
    assert table["without_demonstrations_demos"].tolist() == [0, 0, 25]
    assert table["labels_only_demos"].tolist() == [0, 0, 25]
    assert table["mean_demonstrations_both"].tolist() == [0.5, 0, 1.75]
    assert table["mean_demonstrations_demos"].tolist() == [1, 1, 1]
    assert table["without_persona"].tolist() == [0, 0, 25]
    assert table["persona_says_nothing"].tolist() == [0, 0, 25]
    (block,) = profiles_blocks(table)
    assert block.texts["Says nothing %"].tolist() == ["0.0", "0.0", "25.0"]
    assert block.texts["Both: none %"].tolist() == ["50.0", "100.0", "25.0"]
    assert "Data set" not in block.texts
    assert any("no demonstration" in note for note in profiles_notes(table))
    assert what_profiles_show(table) == [
        "d, profiles by m: without a demonstration 100.0 % of 1 (as_published), 25.0 % of 4 (corrected).",
        "d, profiles by m: with a persona that says nothing 25.0 % of 4 (corrected).",
    ]


def test_folds_stand_under_the_name_of_their_data_set() -> None:
    folds = [profile("a", dataset=f"d-{fold}of2", both=(fold - 1, 0)) for fold in (1, 2)]
    table = profiles_table(folds, pools={"d": ["d-1of2", "d-2of2"]})
    assert table[["dataset", "n_users", "n_profiles"]].to_numpy().tolist() == [["d", 1, 2]]
    assert table["without_demonstrations_both"].tolist() == [50]


@pytest.mark.parametrize("profiles", [[], [profile("a", status="failed")]])
def test_without_any_profile(profiles: list[Profile], tmp_path: Path) -> None:
    table = profiles_table(profiles)
    assert what_profiles_show(table) == []
    assert len(profiles_blocks(table)[0].texts) == len(profiles)
    table.to_csv(tmp_path / "t.csv", index=False)
    assert read_profiles_table(tmp_path / "t.csv")["without_demonstrations_both"].isna().all()


def test_the_table_has_the_same_bytes_whatever_the_sequence(tmp_path: Path) -> None:
    for run, rows in (("one", some()), ("two", some()[::-1])):
        (tmp_path / run).mkdir()
        write_records(tmp_path / run / "a.jsonl", rows[:4])
        write_records(tmp_path / run / "b.jsonl", rows[4:])
        files = [tmp_path / run / name for name in ("a.jsonl", "b.jsonl")]
        write_result("table_profiles", tmp_path / run, profiles=files, variants=["as_published", "corrected"])
    for end in ("csv", "html", "md", "tex"):
        assert (tmp_path / f"one/profiles.{end}").read_bytes() == (tmp_path / f"two/profiles.{end}").read_bytes()
    assert "Both: none %" in (tmp_path / "one/profiles.html").read_text(encoding="utf-8")
    again = read_profiles_table(tmp_path / "one/profiles.csv")
    assert what_profiles_show(again) == what_profiles_show(profiles_table(some(), variants=["as_published"]))
