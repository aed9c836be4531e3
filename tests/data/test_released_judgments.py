"""Judgments that a processed set comes with: what each value means, what is refused, and the way through the stages."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, Turn, UserData, read_records, write_records
from personalrm.data.filters.filter_settings import FilterSettings
from personalrm.data.filters.filters import Sensitivity, agreement
from personalrm.data.filters.funnel import Funnel
from personalrm.data.filters.ratings import PairRating, PanelVote, UserPanel
from personalrm.data.filters.released_judgments import PairJudgments, ReleasedJudgments, judgments_of
from personalrm.data.prepare import prepare_dataset
from personalrm.data.settings import LocalDataset, ProcessedDataset
from personalrm.data.sources.processed import is_judgment
from personalrm.data.sources.votes import parse_vote
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.export import export_stage
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.filtering import filter_stage, released_stage
from personalrm.studies.synthesizeme.stages.prepare import prepare_stage

from .processed_rows import GEMINI, Row, pair_row, shard, write

QUERY = "personalizable_query"


def released(folder: Path, *columns: Row) -> tuple[ReleasedJudgments, UserData]:
    """The judgments of one user's pairs p0, p1, …, of which each has these columns."""
    path = folder / "judgments.jsonl"
    rows = [
        PairJudgments.model_validate({"user_id": "u", "pair_id": f"p{n}", "row": n + 1, "columns": each})
        for n, each in enumerate(columns)
    ]
    write_records(path, rows)
    asked = (Turn(role="user", content="Hi"),)
    pairs = [
        PreferencePair(user_id="u", pair_id=row.pair_id, context=asked, chosen="a", rejected="b", order=n)
        for n, row in enumerate(rows)
    ]
    return ReleasedJudgments.read(path), UserData(dataset="d", user_id="u", pairs=tuple(pairs))


def ratings(folder: Path, *columns: Row) -> tuple[PairRating, ...]:
    judgments, user = released(folder, *columns)
    return judgments.ratings(user).ratings


def votes(folder: Path, *columns: Row) -> tuple[PanelVote, ...]:
    judgments, user = released(folder, *columns)
    (panel,) = judgments.panel(user)
    return panel.votes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (4, 4),
        (4.0, 4),
        (3.5, 3.5),
        ("4", 4),
        (" 2.5 ", 2.5),
        ("People differ.\nRating: 5", 5),
        (True, 5),
        (False, 1),
        ("Yes", 5),
        ("no", 1),
        ("TRUE", 5),
        ("", None),
        ("None", None),
    ],
)
def test_ratings_in_all_spellings(tmp_path: Path, value: object, expected: float | None) -> None:
    (found, _) = ratings(tmp_path, {QUERY: value}, {QUERY: 2})
    assert (found.query, found.responses) == (expected, None)
    assert type(found.query) is type(expected)


def test_a_column_from_zero_to_one_is_stretched(tmp_path: Path) -> None:
    found = ratings(tmp_path, {QUERY: 1, "personalizable_responses": 1}, {QUERY: 0.25}, {"personalizable_responses": 3})
    assert [(each.query, each.responses) for each in found] == [(5, 1), (2, None), (None, 3)]


def test_a_rating_in_a_sentence_is_not_stretched(tmp_path: Path) -> None:
    """A column of sentences has no numbers from 0 to 1: the lowest rating must not become the highest."""
    found = ratings(tmp_path, {QUERY: "Rating: 1"}, {QUERY: "Rating: 1"})
    assert [each.query for each in found] == [1, 1]


@given(st.integers(1, 5) | st.floats(1, 5))
def test_numbers_of_the_scale_stay_as_they_are(number: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        assert ratings(Path(name), {QUERY: number}, {QUERY: 5})[0].query == number


@pytest.mark.parametrize("value", [0, 6, -1, 0.5, "maybe", "7"])
def test_a_rating_that_is_none_is_named(tmp_path: Path, value: object) -> None:
    with pytest.raises(DataError) as caught:
        ratings(tmp_path, {QUERY: 5}, {QUERY: value})
    assert str(caught.value).startswith(f"column 'personalizable_query', row 2: '{value}' is not a rating: ")
    assert "\n" not in str(caught.value)


STATED: list[tuple[object, tuple[str | None, str | None]]] = [
    ("First", ("chosen", "rejected")),
    ("second", ("rejected", "chosen")),
    ("It is short.\nPreference: First", ("chosen", "rejected")),
    ("A", ("chosen", "rejected")),
    ("b", ("rejected", "chosen")),
    (1, ("chosen", "rejected")),
    (2.0, ("rejected", "chosen")),
    (-1, ("rejected", "chosen")),
    ("2", ("rejected", "chosen")),
    ("chosen", ("chosen", "chosen")),
    ("Rejected", ("rejected", "rejected")),
    (True, ("chosen", "chosen")),
    (False, ("rejected", "rejected")),
    ("Tie", (None, None)),
    ("", (None, None)),
]


@pytest.mark.parametrize(("value", "favours"), STATED)
def test_votes_in_all_spellings(tmp_path: Path, value: object, favours: tuple[str | None, str | None]) -> None:
    found = votes(tmp_path, {f"prediction_{GEMINI}": value, f"prediction_flip_{GEMINI}": value})
    assert tuple(vote.favours for vote in found) == favours
    assert [vote.swapped for vote in found] == [False, True]


def test_zero_is_a_tie_only_where_minus_one_is_known(tmp_path: Path) -> None:
    first, flipped, *_ = votes(tmp_path, {"prediction_x": 0, "prediction_flip_x": 1}, {"prediction_x": -1})
    assert (first.outcome, flipped.outcome) == ("tie", "wrong")
    with pytest.raises(DataError, match=r"column 'prediction_x', row 1: '0' is not a vote"):
        votes(tmp_path, {"prediction_x": 0}, {"prediction_x": 1})


@pytest.mark.parametrize("value", [3, 0.5, "perhaps", 1e300])
def test_a_vote_that_is_none_is_named(tmp_path: Path, value: object) -> None:
    with pytest.raises(DataError, match=r"column 'prediction_flip_x', row 1: .* is not a vote: First or Second"):
        votes(tmp_path, {"prediction_flip_x": value})


def test_agreement_is_the_same_whichever_answer_stood_first(tmp_path: Path) -> None:
    words = ("First", "Second")
    for straight in words:
        for flipped in words:
            here = votes(tmp_path, {"prediction_x": straight, "prediction_flip_x": flipped})
            there = votes(tmp_path, {"prediction_x": flipped, "prediction_flip_x": straight})
            assert agreement(here) == agreement(there)


def test_missing_votes_and_texts(tmp_path: Path) -> None:
    judgments, user = released(tmp_path, {"prediction_x": "First", "reasoning_x": "short"}, {"prediction_flip_y": "A"})
    assert judgments.members == ("x", "y")
    x, y = judgments.panel(user)
    assert [(v.pair_id, v.swapped, v.favours, v.outcome, v.reasoning) for v in x.votes] == [
        ("p0", False, "chosen", "correct", "short"),
        ("p0", True, None, "unparsed", ""),
        ("p1", False, None, "unparsed", ""),
        ("p1", True, None, "unparsed", ""),
    ]
    assert [v.favours for v in y.votes] == [None, None, None, "rejected"]
    assert (x.calls, x.gated) == ((), 0)


def test_ties_have_ratings_but_no_votes(tmp_path: Path) -> None:
    judgments, user = released(tmp_path, {QUERY: 4, "prediction_x": "First"})
    tied = user.model_copy(update={"pairs": (user.pairs[0].model_copy(update={"tie": True}),)})
    assert judgments.ratings(tied).ratings[0].query == 4
    assert judgments.panel(tied) == [UserPanel(dataset="d", user_id="u", model="x")]


def test_values_that_are_no_scalars_are_refused() -> None:
    vote = parse_vote({"user_id": "u", "context": [{"role": "user", "content": "x"}], "chosen": "a", "rejected": "b"})
    for value in ([1], {"a": 1}, float("inf"), b"x"):
        vote.judgments.update({"agreement": value})  # type: ignore[attr-defined]
        with pytest.raises(DataError, match=r"column 'agreement', row 0: .* is not a text, number or truth value"):
            list(judgments_of([vote]))


def test_prepare_keeps_the_columns_of_the_pairs_it_keeps(tmp_path: Path) -> None:
    rows = [pair_row(number=n, split=("train", "val", "test")[n % 3]) for n in range(6)]
    rows += [pair_row("few", n) for n in range(2)]
    write(tmp_path / "in" / shard("test"), rows)
    entry = {"name": "prb", "source": "personalrewardbench", "path": tmp_path / "in", "shards": 1}
    prepare_dataset(ProcessedDataset.model_validate(entry), tmp_path / "out")
    judgments = ReleasedJudgments.read(tmp_path / "out" / "judgments.jsonl")
    assert {row.user_id for row in judgments.pairs.values()} == {"user7"}
    assert sorted(row.row for row in judgments.pairs.values()) == [1, 2, 3, 4, 5, 6]
    columns = {name: rows[0][name] for name in (QUERY, "query_reasoning", f"prediction_{GEMINI}", "agreement")}
    assert [row.columns for row in judgments.pairs.values()] == [columns] * 6


def test_only_processed_sets_have_released_judgments() -> None:
    filters = {"personalizable": {"model": "released"}, "disagreement": {"models": ["released"]}}
    entry = {"name": "d", "path": "x", "shards": 1, "filters": filters}
    made = ProcessedDataset.model_validate(entry | {"source": "personalrewardbench"})
    assert (made.filter_models, made.panel) == ([], ["released"])
    with pytest.raises(ValidationError, match="only source personalrewardbench has released judgments"):
        LocalDataset.model_validate(entry)
    with pytest.raises(ValidationError, match="released stands for a whole panel"):
        FilterSettings.model_validate({"disagreement": {"models": ["released", "m"]}})


MEMBERS = ("x/one", "two")
KINDS = ["keep"] * 6 + ["query", "responses", "agreed"]


def judged_row(number: int, kind: str) -> Row:
    """A row whose judgments keep it, or let one filter remove it: ratings of 4, and two members who disagree."""
    says = {"x/one": "chosen", "two": "chosen" if kind == "agreed" else "rejected"}
    columns: Row = {
        QUERY: 2 if kind == "query" else 4,
        "query_reasoning": f"because {number}\r\n",
        "personalizable_responses": "no" if kind == "responses" else "yes",
        "response_reasoning": "",
        "agreement": 0.5,
    }
    for member in MEMBERS:
        columns |= {f"prediction_{member}": says[member], f"prediction_flip_{member}": says[member]}
        columns |= {f"reasoning_{member}": "so", f"reasoning_flip_{member}": None}
    row = pair_row(number=number, split=("train", "val", "test")[number % 3], **columns)
    return {name: value for name, value in row.items() if GEMINI not in name}


def test_filters_re_use_the_columns_and_ask_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [judged_row(number, kind) for number, kind in enumerate(KINDS)]
    write(tmp_path / "in" / shard("test"), rows)
    filters = {"personalizable": {"model": "released"}, "disagreement": {"models": ["released"]}}
    entry = {"source": "personalrewardbench", "path": "in", "shards": 1, "filters": filters}
    # No model is configured, so there is none that could be asked.
    config = parse_config({"run": "r", "methods": ["longer"], "datasets": {"prb": entry}})
    plan = Plan(config)
    prepare_stage(plan, "prb")
    released_stage(plan, "prb")
    filter_stage(plan, "prb")
    folder = Path("results/r/data/prb")
    (user,) = read_records(folder / "shards" / "s00.jsonl", UserData)
    assert [pair.conversation_id for pair in user.pairs] == [f"c{n}" for n in range(6)]
    funnel = Funnel.model_validate_json((folder / "funnel.json").read_bytes())
    assert [(step.step, step.pairs) for step in funnel.steps[-3:]] == [
        ("query rated 3 and responses 3 or more", 7),
        ("panel agrees on less than 0.9", 6),
        ("users with at least 5 pairs, again", 6),
    ]
    # Two members in both orders on all nine pairs: what was paid for by others is not gated.
    assert (funnel.filters["panel_votes"], funnel.filters["panel_calls_saved_by_ratings"]) == (36, 0)
    assert "panel two, x/one" in (folder / "card.md").read_text(encoding="utf-8")
    panel = [row for row in read_records(folder / "filter_sensitivity.jsonl", Sensitivity) if row.filter == "panel"]
    assert [(row.threshold, row.pairs) for row in panel] == [(0.75, 6), (0.9, 6), (1.0, 6)]

    assert export_stage(Path("results/r"), "prb", Path("out")) == {"test": 6}
    exported = {row["conversation_id"]: row for row in pq.read_table(Path("out") / shard("test")).to_pylist()}
    judged = [name for name in rows[0] if is_judgment(name)]
    for row in rows[:6]:
        found = exported[row["conversation_id"]]
        assert {name: found.get(name) for name in judged} == {name: row[name] for name in judged}
        # Beside them stand the authors' other columns, without a value.
        assert not [name for name in found if is_judgment(name) and name not in judged and found[name] is not None]


def test_a_column_that_is_not_understood_stops_the_stage_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [judged_row(number, "keep") | {QUERY: 9 if number == 4 else 3} for number in range(6)]
    write(tmp_path / "in" / shard("test"), rows)
    filters = {"personalizable": {"model": "released"}}
    entry = {"source": "personalrewardbench", "path": "in", "shards": 1, "filters": filters}
    plan = Plan(parse_config({"run": "r", "methods": ["longer"], "datasets": {"prb": entry}}))
    prepare_stage(plan, "prb")
    with pytest.raises(DataError) as caught:
        released_stage(plan, "prb")
    began = "datasets.prb.filters: column 'personalizable_query', row 5: '9' is not a rating"
    assert str(caught.value).startswith(began)
