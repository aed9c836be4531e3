"""Ids of conditions: parsed and spelled in one place, and their parts as columns."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.core.conditions import K, MethodId, Pairs, VariantId, VerdictMode, read_k
from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import JudgedUser, Profile, read_records
from personalrm.methods.registry import METHODS
from personalrm.methods.synthesizeme.variants import REPAIRS, VARIANTS, parse_variant
from personalrm.results.conditions import CONDITION_COLUMNS, ROW_KEY, Condition

METHOD_IDS = st.builds(
    MethodId, st.sampled_from(list(METHODS)), st.sampled_from(get_args(Pairs)), st.sampled_from(get_args(VerdictMode))
)
ADDED = st.sampled_from(["", "+json", "+ours", "+with-a-hyphen"])
VARIANT_IDS = st.tuples(st.sampled_from(["baseline", *VARIANTS]), ADDED).map("".join)
MODELS = st.sampled_from(["-", "m", "m@1.5-with-x"])
CONDITIONS = st.builds(
    Condition,
    st.sampled_from(["d", "people-fold1"]),
    METHOD_IDS,
    VARIANT_IDS.map(VariantId.parse),
    MODELS,
    MODELS,
    st.sampled_from(["-", "1", "all"]),
)
ROW = {"dataset": "d", "user_id": "u", "variant": "corrected", "draw": 0, "status": "ok"}


@given(METHOD_IDS)
def test_a_method_id_is_read_as_it_was_spelled(method: MethodId) -> None:
    assert MethodId.parse(str(method)) == method


@pytest.mark.parametrize("text", ["default.text", "default@test", "default@", "default.", "a.logprob@all", "a@all@all"])
def test_other_spellings_of_a_method_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="only '@all' or '@loo' may follow"):
        MethodId.parse(text)


@given(VARIANT_IDS)
def test_a_variant_id_is_read_as_it_was_spelled(text: str) -> None:
    assert str(VariantId.parse(text)) == text


def test_the_parts_of_a_variant() -> None:
    for repair in REPAIRS:
        assert VariantId.parse(f"corrected-without-{repair}+t") == ("corrected", f"without {repair}", "t", "text")
        assert VariantId.parse(f"as_published-with-{repair}+json") == ("as_published", f"with {repair}", None, "json")
        assert VariantId.parse(f"corrected-without-{repair}+t").code == f"corrected-without-{repair}"


@pytest.mark.parametrize("text", ["corrected+", "correct", "corrected-with-ranking", "corrected-without-", "+json"])
def test_unknown_variants_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no variant"):
        parse_variant(text)


@given(CONDITIONS)
def test_a_condition_is_the_same_from_its_columns_and_from_a_row(condition: Condition) -> None:
    assert len(condition.columns) == len(CONDITION_COLUMNS)
    assert all(condition.columns)
    assert Condition.of(condition.row) == condition
    if condition.variant.base != "baseline":
        assert Condition.of_columns(condition.columns) == condition


def test_each_part_of_a_condition_is_a_column() -> None:
    row = dict(
        zip(ROW_KEY, ("d", "corrected-without-ranking+ours", "p", "j", "oracle@all.logprob_both", "5"), strict=True)
    )
    assert dict(zip(CONDITION_COLUMNS, Condition.of(row).columns, strict=True)) == {
        "dataset": "d",
        "method": "oracle",
        "pairs": "all",
        "verdict": "logprob_both",
        "variant_base": "corrected",
        "repair": "without ranking",
        "theta": "ours",
        "persona_format": "text",
        "profile_model": "p",
        "judge_model": "j",
        "k": "5",
    }


def test_what_no_profile_enters_has_no_repair_theta_or_format() -> None:
    user = JudgedUser(**ROW | {"variant": "baseline"}, profile_model=None, judge_model="j", method="default", k=None)
    assert Condition.of_user(user).columns[4:] == ("baseline", "-", "-", "-", "-", "j", "-")
    assert Condition.of_columns(Condition.of_user(user).columns) == Condition.of_user(user)


@pytest.mark.parametrize(
    ("written", "read"), [("0", "all"), ("-1", "types"), ("-2", "halves"), ("3", 3), ('"all"', "all")]
)
def test_k_of_older_files_is_read(tmp_path: Path, written: str, read: K) -> None:
    line = Profile(**ROW, model="m", k="all").model_dump_json()
    (tmp_path / "old.jsonl").write_text(line.replace('"k":"all"', f'"k":{written}') + "\n", encoding="utf-8")
    (profile,) = read_records(tmp_path / "old.jsonl", Profile)
    assert profile.k == read
    assert read_k(str(profile.k)) == read


@pytest.mark.parametrize("written", ["-3", '"some"', "1.5"])
def test_any_other_k_is_refused_with_the_line(tmp_path: Path, written: str) -> None:
    line = Profile(**ROW, model="m", k="all").model_dump_json()
    (tmp_path / "bad.jsonl").write_text(line.replace('"k":"all"', f'"k":{written}') + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl, line 1: k.*delete it and run again"):
        list(read_records(tmp_path / "bad.jsonl", Profile))
