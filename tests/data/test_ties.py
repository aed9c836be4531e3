"""Ties: dropped they leave no trace; kept they are judged, and nothing is learned from them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.learning import BOOT
from support.models import ScriptedModel, good_is_first, label, last_user, pair, text

from personalrm.app.library.data import to_item, usable_pairs, user_data
from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, UserData, Weights
from personalrm.data.export import export_processed
from personalrm.data.filters.filter_settings import FilterSettings
from personalrm.data.filters.filters import Said, sensitivity, survivors
from personalrm.data.settings import LocalDataset, PrismDataset, ProcessedDataset
from personalrm.data.sources.votes import decided, parse_vote
from personalrm.data.splits import PARTS
from personalrm.data.users import Built, build_users
from personalrm.judge.judge import JudgeContext, JudgeSettings, judge_pair
from personalrm.llm.types import Request, Response
from personalrm.methods.base import Known
from personalrm.methods.registry import METHODS, parse_method
from personalrm.methods.surface import NAMES
from personalrm.methods.synthesizeme.persona import PersonaSettings
from personalrm.methods.synthesizeme.profile import ProfileSettings, learn_profile
from personalrm.methods.synthesizeme.search import SearchSettings
from personalrm.studies.synthesizeme.stages.learn import learn_traces
from personalrm.studies.synthesizeme.stages.weighing import weigh_user

from .processed_rows import pair_row, read, shard, write
from .vote_rows import Row, row


def tie(user: str, number: int, **changes: object) -> Row:
    """A tie in words that no decided vote has."""
    answers = {"response_a": f"shrug {number}", "response_b": f"whatever {number}", "winner": "tie"}
    context = [{"role": "user", "content": f"tied question {number}"}]
    return {"user_id": user, "context": context, **answers, **changes}


def build(rows: Sequence[Row], ties: str = "keep", **options: object) -> Built:
    entry = LocalDataset.model_validate({"name": "d", "path": "votes.jsonl", "ties": ties, **options})
    return build_users([parse_vote(each, line) for line, each in enumerate(rows, start=1)], entry)


def dumped(users: Sequence[UserData]) -> list[str]:
    return [user.model_dump_json() for user in users]


@st.composite
def row_sets(draw: st.DrawFn) -> list[Row]:
    """Votes and ties of two users; some share a conversation, some a prompt, some both answers."""
    rows: list[Row] = []
    for number in range(draw(st.integers(3, 24))):
        make = draw(st.sampled_from([row, row, tie]))
        each = make(draw(st.sampled_from("ab")), draw(st.integers(0, 12)), timestamp=number)
        if draw(st.booleans()):
            each["conversation_id"] = draw(st.sampled_from(["c1", "c2", "c3"]))
        if draw(st.integers(0, 5)) == 0:
            each["context"] = [{"role": "user", "content": "one prompt of several"}]
        rows.append(each)
    return rows


@given(row_sets(), st.sampled_from([None, 3, 4]))
@settings(max_examples=80)
def test_dropped_ties_leave_no_trace_and_kept_ones_change_no_user(rows: list[Row], max_pairs: int | None) -> None:
    without = [each for each in rows if "winner" not in each]
    dropped, kept = (build(rows, ties, min_pairs=3, max_pairs=max_pairs) for ties in ("drop", "keep"))
    known = {user.user_id for user in build(without, min_pairs=3).users}
    expected = dumped(build(without, min_pairs=3, max_pairs=max_pairs).users)
    assert dumped([user for user in dropped.users if user.user_id in known]) == expected
    for with_ties, plain in zip(kept.users, dropped.users, strict=True):
        assert with_ties.excluded == plain.excluded
        assert [p.pair_id for p in decided(with_ties.pairs)] == [p.pair_id for p in plain.pairs]
        if with_ties.pairs:
            assert {p.split for p in decided(with_ties.pairs)} == set(PARTS)
            assert not [p for part in ("context", "validation") for p in with_ties.part(part) if p.tie]  # type: ignore[arg-type]
            assert [p for p in with_ties.part("test") if p.tie] == [
                p for p in with_ties.pairs if p.tie and p.split == "test"
            ]


@given(row_sets())
@settings(max_examples=60)
def test_no_conversation_stands_on_both_sides_also_not_of_a_tie(rows: list[Row]) -> None:
    built = build(rows, min_pairs=3)
    if built.funnel.split_grain.keys() - {"conversation"}:
        return
    for user in built.users:
        for names in ([p.conversation_id for p in user.pairs], [p.context[-1].content for p in user.pairs]):
            homes = {(name, p.split) for name, p in zip(names, user.pairs, strict=True) if name is not None}
            assert len(homes) == len({name for name, _ in homes})


def test_parts_by_hand() -> None:
    rows = [tie("a", 8, timestamp=0)]
    rows += [row("a", number, timestamp=10 * number + 10) for number in range(5)]
    rows += [tie("a", number, timestamp=10 * number + 15) for number in range(5)]
    # Of the same conversation as the oldest vote: a context pair would tell about it.
    rows += [tie("a", 9, timestamp=99, conversation_id="c")]
    rows[1]["conversation_id"] = "c"
    rows += [tie("a", 0, response_a="whatever 0", response_b="shrug 0", timestamp=100)]
    built = build(rows)
    (user,) = built.users
    found = {part: ["t" if p.tie else "d" for p in user.pairs if p.split == part] for part in PARTS}
    assert found == {"context": list("tdtdtt"), "validation": list("dt"), "test": list("dtdt")}
    assert [p.tie for p in user.part("context")] == [False, False]
    assert [p.tie for p in user.part("test")] == [False, True, False, True]
    first = user.pairs[0]
    assert (first.tie, first.chosen, first.rejected) == (True, "shrug 8", "whatever 8")
    assert [(step.step, step.pairs) for step in built.funnel.steps] == [
        ("votes read", 13),
        ("ties kept", 13),
        ("equal answers dropped", 13),
        ("duplicates dropped", 12),
        ("users with at least 5 pairs", 12),
    ]
    assert (built.funnel.dropped["tie"], built.funnel.dropped["duplicate"]) == (0, 1)
    assert built.funnel.split_ties == {"context": 4, "validation": 1, "test": 2}
    assert build(rows, "drop").funnel.dropped["tie"] == 8
    assert [p.tie for p in build(rows, max_pairs=3).users[0].pairs] == [True, False, True, False, True, False]


def test_min_pairs_counts_decided_pairs() -> None:
    rows = [row("a", number) for number in range(4)] + [tie("a", number) for number in range(9)]
    assert build(rows).users[0].excluded == "4 pairs, fewer than 5"


def test_files_without_ties_are_what_they_were_and_old_rows_are_read() -> None:
    one = pair("p")
    assert "tie" not in one.model_dump()
    assert '"tie"' not in one.model_dump_json()
    marked = one.model_copy(update={"tie": True})
    assert PreferencePair.model_validate_json(marked.model_dump_json()) == marked
    assert PreferencePair.model_validate_json(one.model_dump_json()) == one
    assert "split_ties" not in build([row("a", n) for n in range(5)]).funnel.model_dump_json()


def test_ratings_have_no_ties_to_keep() -> None:
    with pytest.raises(ValidationError, match="ties"):
        PrismDataset.model_validate({"name": "p", "source": "prism", "path": "x", "ties": "keep"})


TIE = pair("p").model_copy(update={"tie": True})


@pytest.mark.parametrize(
    ("said", "outcomes"),
    [
        ("Preference: Tie", ["correct", "correct"]),
        ("Preference: First", ["wrong", "wrong"]),
        ("Preference: Second", ["wrong", "wrong"]),
        ("hm", ["unparsed", "unparsed"]),
    ],
)
def test_a_judge_is_right_on_a_tie_if_it_says_so(said: str, outcomes: list[str]) -> None:
    model = ScriptedModel(lambda _: text(said))
    verdicts = asyncio.run(judge_pair(model, TIE, JudgeContext(), JudgeSettings("standard", "text")))
    assert [verdict.outcome for verdict in verdicts] == outcomes


@pytest.mark.parametrize(("sure", "outcome"), [(0.5, "correct"), (0.7, "wrong")])
def test_log_probabilities_must_be_equal(sure: float, outcome: str) -> None:
    model = ScriptedModel(lambda request: label(sure if good_is_first(request) else 1 - sure))
    for mode, number in (("logprob", 2), ("logprob_both", 1)):
        verdicts = asyncio.run(judge_pair(model, TIE, JudgeContext(), JudgeSettings("compact", mode)))  # type: ignore[arg-type]
        assert [verdict.outcome for verdict in verdicts] == [outcome] * number


def test_methods_without_a_model() -> None:
    for chosen, rejected, outcome in (("ab", "a", "wrong"), ("ab", "cd", "correct")):
        mine = TIE.model_copy(update={"chosen": chosen, "rejected": rejected, "split": "test"})
        one = UserData(dataset="d", user_id="u", pairs=(mine,))
        wanted = {"longer": outcome, "random": "wrong", "surface": outcome}
        for name, said in wanted.items():
            known = Known(one, artefact=Weights(names=NAMES, mean=(1.0,) * len(NAMES), scale=(1.0,) * len(NAMES)))
            row = weigh_user(one, parse_method(name), known)
            assert {v.outcome for v in row.verdicts} == {said}


def test_no_prompt_of_learning_and_no_demonstration_has_a_tie() -> None:
    rows = [row("a", number, timestamp=2 * number) for number in range(10)]
    (user,) = build(rows + [tie("a", number, timestamp=2 * number + 1) for number in range(10)]).users
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.extend(message.content for message in request.messages)
        right = "First" if last_user(request).find("good") < last_user(request).find("bad") else "Second"
        return text(f"Reasons.\nPreference: {right}")

    model, judge = ScriptedModel(answer), JudgeSettings("standard", "text")
    boot = replace(BOOT, judge=judge, attempts=2)
    profile_settings = ProfileSettings(boot, PersonaSettings(), SearchSettings(judge=judge), rebootstrap=True)
    traces = asyncio.run(learn_traces(model, user, "corrected", boot))
    profile = asyncio.run(learn_profile(model, user, traces, "all", 0, profile_settings))
    shown = METHODS["history"].adapt(Known.of(user))
    demonstrations = [*profile.demonstrations, *profile.plain_demonstrations, *shown.demonstrations]
    assert demonstrations
    assert asked
    assert not [one for one in demonstrations if one.pair.tie]
    assert not [said for said in asked if "shrug" in said or "tied question" in said]


def test_filters_leave_ties_and_count_decided_pairs() -> None:
    (user,) = build([row("a", n) for n in range(6)] + [tie("a", n) for n in range(3)]).users
    asked = FilterSettings.model_validate({"disagreement": {"models": ["m"]}})
    (_, left), *_ = survivors({"a": user.pairs}, Said({}, {}), asked)
    assert left == {"a": list(user.pairs)}
    row_at = sensitivity("d", {"a": user.pairs}, Said({}, {}), asked, 7)[0]
    # Nine pairs, but six decided ones: too few for seven.
    assert (row_at.base_pairs, row_at.pairs) == (9, 0)


def test_an_exported_tie_is_read_back(tmp_path: Path) -> None:
    users = build([row("a", n, timestamp=n) for n in range(6)] + [tie("a", n, timestamp=9 + n) for n in range(3)]).users
    export_processed(users, tmp_path, user_split=lambda user: "test")
    entry = {"name": "d", "source": "personalrewardbench", "path": tmp_path}
    votes = read(tmp_path)
    assert sum(vote.tie for vote in votes) == 3
    for ties in ("keep", "drop"):
        again = build_users(votes, ProcessedDataset.model_validate(entry | {"ties": ties})).users
        expected = users[0].pairs if ties == "keep" else tuple(decided(users[0].pairs))
        # A coin of presentation is in the export alone, and read with it.
        coins = {vote.pair_id or vote.own_id: vote.flip for vote in votes}
        assert again[0].pairs == tuple(p.model_copy(update={"flip": coins[p.pair_id]}) for p in expected)
    write(tmp_path / "bad" / shard("test"), [pair_row(tie="yes")])
    with pytest.raises(DataError, match="field tie, user 'user7': is 'yes', not true or false"):
        read(tmp_path / "bad")


def test_without_ties_the_export_has_no_column_for_them() -> None:
    users = build([row("a", n, timestamp=n) for n in range(6)]).users
    with tempfile.TemporaryDirectory() as name:
        export_processed(users, Path(name), user_split=lambda user: "test")
        assert "tie" not in read(Path(name))[0].judgments
        import pyarrow.parquet as pq

        assert "tie" not in pq.read_schema(Path(name) / shard("test")).names


def test_the_library_learns_from_decided_rows_and_judges_all() -> None:
    users = build([row("a", n, timestamp=n) for n in range(6)] + [tie("a", n, timestamp=9 + n) for n in range(2)]).users
    items = [to_item(each) for each in users[0].pairs]
    assert [item.get("tie") for item in items] == [None] * 6 + [True] * 2
    prepared = user_data(items, None, None, 0.5)
    assert len(prepared.user.pairs) == 6
    assert prepared.events == ("data: 2 rows left out (ties)",)
    judged = usable_pairs(items, "test_data", ties=True).pairs
    assert [each.tie for each in judged] == [False] * 6 + [True] * 2
    assert [each.pair_id for each in judged] == [each.pair_id for each in users[0].pairs]
    with pytest.raises(DataError, match=r"data\[0\], field tie: is '"):
        usable_pairs([items[0] | {"tie": "no"}], "data")
