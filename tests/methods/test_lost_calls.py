"""A Theta rests on no lost call: a search for one ends where the provider fails, and goes on from what was answered."""

from __future__ import annotations

import asyncio

import pytest
from support.learning import BOOT, PAIRS, TEXT, VALIDATION, say, settings
from support.models import ScriptedModel

from personalrm.core.errors import ModelCallError, RateLimited
from personalrm.core.records import UserData
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.persona import PersonaSettings
from personalrm.methods.synthesizeme.profile import ProfileSettings
from personalrm.methods.synthesizeme.theta_search import Student, ThetaSettings, _Bridge
from personalrm.studies.synthesizeme.stages.theta import learn_student

USER = UserData(dataset="d", user_id="u", pairs=(*PAIRS, *VALIDATION))


def lost_on(word: str) -> ScriptedModel:
    def answer(request: Request) -> Response | ModelCallError:
        asked = request.messages[-1].content
        return RateLimited("busy") if f"question {word}" in asked and not request.sample_index else say(True, request)

    return ScriptedModel(answer)


@pytest.mark.parametrize("word", ["c0", "v1"])
def test_a_lost_attempt_or_verdict_ends_stage_1_of_a_train_user(word: str) -> None:
    how = ProfileSettings(BOOT, PersonaSettings(), settings(), rebootstrap=True)
    with pytest.raises(ModelCallError, match=r"user u: \d+ calls lost; run the same command again"):
        asyncio.run(learn_student(lost_on(word), USER, how))
    assert asyncio.run(learn_student(lost_on("nothing"), USER, how)).judgements


def test_trials_are_scored_on_all_validation_pairs_or_not_at_all() -> None:
    student = Student("u", (), tuple(VALIDATION))
    how = ThetaSettings(PersonaSettings(), TEXT)

    async def accuracy(model: ScriptedModel) -> float:
        bridge = _Bridge(model, model, [student], how, asyncio.get_running_loop())
        return await bridge.accuracy(student, "Likes GOOD things.")

    assert asyncio.run(accuracy(lost_on("nothing"))) == 1
    with pytest.raises(ModelCallError, match="2 verdicts lost"):
        asyncio.run(accuracy(lost_on("v1")))
