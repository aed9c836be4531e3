"""Who is judged by a method and who is not: the statuses and reasons of rows without a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from support.models import ScriptedModel, pair, text

from personalrm.core.conditions import VerdictMode
from personalrm.core.records import CallRef, JudgedUser, PreferencePair, Profile, Status, UserData, Verdict
from personalrm.judge.judge import JudgeSettings
from personalrm.methods.base import Known, Method
from personalrm.methods.registry import MethodUse, parse_method
from personalrm.studies.synthesizeme.stages.judging import judge_user
from personalrm.studies.synthesizeme.stages.weighing import weigh_user

TEST, CONTEXT = pair("t", split="test"), pair("c", split="context")
SURVEY = {"age": "25"}


def row_of(user: UserData, method: str, mode: VerdictMode = "text", profile: Profile | None = None) -> JudgedUser:
    model = ScriptedModel(lambda request: text("Preference: first"))
    known = Known.of(user, profile=profile)
    return asyncio.run(judge_user(model, user, parse_method(method), JudgeSettings(mode=mode), known))


def user_of(**changes: object) -> UserData:
    return UserData.model_validate({"dataset": "d", "user_id": "u", "pairs": (CONTEXT, TEST), **changes})


def profile_of(status: Status, reason: str | None = None) -> Profile:
    return Profile(
        dataset="d", user_id="u", model="m", variant="corrected", k="all", draw=0, status=status, reason=reason
    )


@pytest.mark.parametrize(
    ("method", "user", "said"),
    [
        ("demographics", user_of(), ("not_applicable", "demographics has nothing to show of this user")),
        ("demographics", user_of(pairs=()), ("not_applicable", "demographics has nothing to show of this user")),
        ("demographics", user_of(survey=SURVEY), ("ok", None)),
        ("demographics", user_of(survey=SURVEY, pairs=(CONTEXT,)), ("empty", "no test pairs")),
        ("oracle", user_of(), ("not_applicable", "oracle has nothing to show of this user")),
        ("oracle", user_of(planted_taste="tea"), ("ok", None)),
        ("default", user_of(pairs=(), excluded="3 pairs, fewer than 5"), ("empty", "3 pairs, fewer than 5")),
        ("history", user_of(pairs=(TEST,)), ("empty", "no context pairs")),
        ("history", user_of(), ("ok", None)),
        ("history_validation", user_of(pairs=(TEST,)), ("empty", "no context pairs")),
        ("history_validation", user_of(), ("ok", None)),
    ],
)
def test_what_cannot_apply_is_not_what_a_user_lacks(method: str, user: UserData, said: tuple[str, str | None]) -> None:
    row = row_of(user, method)
    assert (row.status, row.reason) == said
    assert bool(row.verdicts) == (said[0] == "ok")


def test_a_judge_of_texts_does_not_apply_to_log_probabilities_whatever_the_profile() -> None:
    for profile in (profile_of("ok"), profile_of("failed", "provider_error: gone")):
        row = row_of(user_of(), "criteria", "logprob", profile)
        assert (row.status, row.reason) == ("not_applicable", "criteria reads no log-probabilities (verdicts: text)")


def test_a_row_counts_the_calls_lost_in_the_stages_that_its_method_rests_on() -> None:
    profile = profile_of("ok").model_copy(
        update={"lost": {"bootstrap": 1, "search": 2, "search_persona": 4, "memory": 8}}
    )
    lost = {method: row_of(user_of(), method, profile=profile).profile_lost for method in ("demos", "persona", "both")}
    assert lost == {"demos": 3, "persona": 3, "both": 7}
    assert row_of(user_of(), "memory", profile=profile).profile_lost == 8
    assert "profile_lost" not in row_of(user_of(), "history").model_dump_json()


@pytest.mark.parametrize("status", ["not_applicable", "empty", "failed"])
def test_a_judged_row_has_the_status_of_its_profile(status: Status) -> None:
    row = row_of(user_of(), "both", profile=profile_of(status, "why"))
    assert (row.status, row.reason, row.verdicts, row.calls) == (status, "why", (), ())


def judged_first(_: object, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    return tuple(Verdict(pair_id=one.pair_id, swapped=None, outcome="correct") for one in pairs[:1])


def test_a_function_that_judges_a_profile_owes_its_calls_knows_no_ties_and_leaves_out_no_pair() -> None:
    refs = tuple(CallRef(key=stage, stage=stage, tokens_in=1, tokens_out=1) for stage in ("persona", "memory"))
    profile = profile_of("ok").model_copy(update={"calls": refs, "prompts": {"persona": "p v1"}})
    use = MethodUse(Method("mine", "profile", lambda known: known, ("persona",), judge=judged_first))

    def row(*pairs: PreferencePair) -> JudgedUser:
        user = user_of(pairs=pairs)
        return weigh_user(user, use, Known.of(user, profile=profile))

    tied = row(TEST.model_copy(update={"tie": True}))
    assert [verdict.outcome for verdict in tied.verdicts] == ["wrong"]
    assert (tied.calls, tied.prompts) == (refs[:1], {"persona": "p v1"})
    with pytest.raises(ValueError, match="method mine: its judge gave no verdict on some pair"):
        row(TEST, pair("other", split="test"))
