"""The search for a Theta: who demonstrates, who is scored, and on which pairs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from support.models import ScriptedModel, last_user, pair, text

from personalrm.core.errors import DataError
from personalrm.core.records import Demonstration, UserData, write_records
from personalrm.judge.judge import JudgeSettings
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.persona import PersonaSettings
from personalrm.methods.synthesizeme.theta import PersonaDemonstration, Theta, ThetaOptimiser, read_theta
from personalrm.methods.synthesizeme.theta_search import Student, ThetaSettings, search_theta, split_users
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.stages.runner import Job
from personalrm.studies.synthesizeme.stages.theta import theta_stage

MAKES_DEMONSTRATIONS = 3


def student(user: str) -> Student:
    judged = Demonstration(pair=pair(f"{user}-c", user=user), swapped=False, reasoning="Because.")
    return Student(user, (judged,), (pair(f"{user}-v", user=user, split="validation"),))


STUDENTS = [student(user) for user in ("amy", "bob", "cal", "dan", "eve", "fay", "gus", "hal", "ida", "joe")]


def settings(seed: int = 0, **changes: Any) -> ThetaSettings:  # noqa: ANN401
    optimiser = ThetaOptimiser(**{"num_candidates": 3, "num_trials": 6, "max_demos": 0, "data_aware": False, **changes})
    return ThetaSettings(PersonaSettings("standard", 64), JudgeSettings(), optimiser, seed)


def answer(request: Request) -> Response:
    """A persona writer, a judge that is right (good answers are marked), and a proposer."""
    first, last = request.messages[0].content, last_user(request)
    if "proposed_instruction" in first:
        return text(f"[[ ## proposed_instruction ## ]]\nSay who this is, way {request.seed % 97}.")
    if "--- Choice" in last:
        return text(f"Likes {last.split('GOOD ')[1].split()[0]} most of all.")
    return text(f"Reason.\nPreference: {'First' if last.index('GOOD') < last.index('BAD') else 'Second'}")


def searched(how: ThetaSettings) -> tuple[Theta, list[Request]]:
    model = ScriptedModel(answer)
    found = asyncio.run(search_theta(model, model, STUDENTS, how, "mine"))
    return found.theta, list(model.requests.values())


@pytest.mark.parametrize("seed", range(5))
def test_no_user_both_demonstrates_and_is_scored_and_the_seed_decides_who(seed: int) -> None:
    # One person in two data sets (folds of one) is one user.
    people = [*STUDENTS, *(one._replace(validation=()) for one in STUDENTS)]
    parts = split_users(people, settings(seed=seed))
    assert sorted([*parts.demonstrating, *parts.scored]) == list(range(len(people)))
    names = [{people[place].user_id for place in part} for part in parts]
    assert not names[0] & names[1]
    assert [len(part) for part in names] == [2, 8]
    assert split_users(people, settings(seed=seed)) == parts
    assert len({split_users(people, settings(seed=seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize(("users", "share", "sizes"), [(2, 0.99, (1, 1)), (2, 0.01, (1, 1)), (3, 0.5, (2, 1))])
def test_each_part_has_a_user(users: int, share: float, sizes: tuple[int, int]) -> None:
    parts = split_users(STUDENTS[:users], settings(scored_share=share))
    assert (len(parts.demonstrating), len(parts.scored)) == sizes


def test_one_user_is_too_few() -> None:
    with pytest.raises(DataError, match="needs two train users"):
        split_users([STUDENTS[0], STUDENTS[0]], settings())


def test_demonstrations_are_of_users_who_are_not_scored_and_never_of_the_user_in_question() -> None:
    how = settings(max_demos=MAKES_DEMONSTRATIONS, num_trials=12)
    parts = split_users(STUDENTS, how)
    demonstrating = {STUDENTS[place].user_id for place in parts.demonstrating}
    _, requests = searched(how)
    asked = [request for request in requests if "--- Choice" in last_user(request)]
    shown = [
        (
            {name for name in map(owner, request.messages[:-1]) if name},
            owner(request.messages[-1]),
        )
        for request in asked
    ]
    assert any(demonstrations for demonstrations, _ in shown), "the search tries demonstrations"
    assert all(demonstrations <= demonstrating for demonstrations, _ in shown)
    assert all(own not in demonstrations for demonstrations, own in shown)
    scored = {own for demonstrations, own in shown if demonstrations}
    assert scored & {STUDENTS[place].user_id for place in parts.scored}


@pytest.mark.parametrize("right", ["scored", "demonstrating"])
def test_only_users_who_do_not_demonstrate_count_in_a_score(right: str) -> None:
    how = settings(num_trials=3)
    helped = {STUDENTS[place].user_id for place in getattr(split_users(STUDENTS, how), right)}

    def misled(request: Request) -> Response:
        last = last_user(request)
        if "--- Choice" in last or "Preference" not in request.messages[0].content or any(u in last for u in helped):
            return answer(request)
        return text(f"Reason.\nPreference: {'Second' if last.index('GOOD') < last.index('BAD') else 'First'}")

    model = ScriptedModel(misled)
    found = asyncio.run(search_theta(model, model, STUDENTS, how, "mine"))
    assert {trial.score for trial in found.trials} == {100.0 if right == "scored" else 0.0}


def owner(message: object) -> str | None:
    """Whose judgements a turn of the persona prompt shows."""
    content = cast("Any", message).content
    return content.split("GOOD ")[1].split("-")[0] if "--- Choice" in content else None


def test_a_users_own_demonstration_is_left_out_of_its_prompt() -> None:
    """Also where the optimiser would show it: a program that holds demonstrations of everybody."""
    from personalrm.methods.synthesizeme.theta_search import _Bridge

    model = ScriptedModel(answer)
    everybody = tuple(PersonaDemonstration(one.judgements, f"Likes {one.user_id}.") for one in STUDENTS[:3])

    async def ask() -> None:
        bridge = _Bridge(model, model, STUDENTS, settings(), asyncio.get_running_loop())
        await bridge.persona(STUDENTS[1], Theta("mine", "Say who this is.", everybody))

    asyncio.run(ask())
    (request,) = model.requests.values()
    assert [name for name in map(owner, request.messages) if name] == ["amy", "cal", "bob"]


class OneModel:
    """A job whose models are one, which notes what it is asked."""

    def __init__(self, model: ScriptedModel, optimise: dict[str, Any]) -> None:
        self._model = model
        self.config = parse_config(
            {
                "run": "x",
                "datasets": {"d": {"path": "votes.jsonl"}},
                "models": {"m": {"model": "openai/x"}},
                "learn": {"models": ["m"], "bootstrap": {"attempts": 1}, "search": {"num_search_candidates": 1}},
                "variants": ["corrected+ours"],
                "thetas": {"ours": {"optimise": {"num_candidates": 2, "num_trials": 4, **optimise}}},
            }
        )

    @asynccontextmanager
    async def model(self, name: str) -> AsyncIterator[ScriptedModel]:
        yield self._model


def people() -> list[UserData]:
    users = {f"train{n}": "train" for n in range(4)} | {"held": "validation", "judged": "test"}
    parts = ("context", "context", "context", "validation", "validation", "test", "test")
    return [
        UserData.model_validate(
            {
                "dataset": "d",
                "user_id": user,
                "user_split": level,
                "pairs": [
                    pair(f"{user}-{n}-{part}", user=user, split=part, order=n).model_dump()
                    for n, part in enumerate(parts)
                ],
            }
        )
        for user, level in users.items()
    ]


@pytest.mark.parametrize("demos", [0, 2])
def test_no_test_pair_and_no_user_but_train_users_is_seen_while_a_theta_is_found(tmp_path: Path, demos: int) -> None:
    model = ScriptedModel(answer)
    write_records(tmp_path / "users.jsonl", people())
    job = cast("Job", OneModel(model, {"max_demos": demos}))
    out = tmp_path / "m.json"
    asyncio.run(theta_stage(job, users=[tmp_path / "users.jsonl"], out=out, theta="ours", model="m"))
    sent = "\n".join(message.content for request in model.requests.values() for message in request.messages)
    assert "train0-3-validation" in sent
    assert "-test" not in sent
    assert "held-" not in sent
    assert "judged-" not in sent

    theta = read_theta(out)
    users = {user.user_id: user for user in people()}
    assert theta.holds(users["train0"].pairs)
    assert not theta.holds(users["judged"].pairs)
    told = json.loads(out.read_text(encoding="utf-8"))["metadata"]["provenance"]
    assert (told["users"], told["users_scored"]) == (4, 3)
