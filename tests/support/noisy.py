"""Generated users of the sizes of the paper's data sets, and a judge that is little better than a coin: what is learned
of them where the validation pairs say almost nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

from personalrm.core.files import stable_fraction
from personalrm.core.records import Profile, UserData, UserTraces
from personalrm.data.splits import split_user
from personalrm.judge.judge import JudgeContext
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.bootstrap import bootstrap_pairs
from personalrm.methods.synthesizeme.profile import learn_profile
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.learn import profile_settings
from support.learning import say
from support.models import ScriptedModel, pair, text

ARENA, PRISM = (5, 6, 7, 7, 7, 8, 9), (16, 19, 22, 22, 25, 28)
"""Numbers of pairs of users, in turn; the medians are the paper's, 7 and 22."""


def users(sizes: tuple[int, ...], count: int) -> Iterator[UserData]:
    """Users whose pairs are split 50/20/30 as in the benchmark: 2 to 5 context pairs in Arena's sizes."""
    for number in range(count):
        name = f"{sizes[0]}-{number}"
        pairs = [pair(f"c{i}", user=name, order=i) for i in range(sizes[number % len(sizes)])]
        yield UserData(dataset="d", user_id=name, pairs=split_user(pairs).pairs)


def noisy(user: UserData) -> ScriptedModel:
    """Right on 60 % of what it is asked without any help (40 to 80 %, by the pair), and on up to 68 % with persona and
    demonstrations; by content, so that equal questions have equal answers."""

    def answer(request: Request) -> Response:
        prompt = request.messages[-1].content
        if "--- Choice" in prompt or "choices that one person made" in prompt:
            return text(f"Likes what is GOOD for {user.user_id}.")
        known = "Likes what is GOOD" in request.messages[0].content
        shown = min(4, (len(request.messages) - 2) // 2)
        asked = re.findall(r"question (c\d+)", prompt)[-1]
        ease = 0.4 + 0.4 * stable_fraction("ease", user.user_id, asked) + 0.02 * known + 0.015 * shown
        says = [f"{message.role}: {message.content}" for message in request.messages]
        return say(stable_fraction(user.user_id, *says, str(request.sample_index)) < ease, request)

    return ScriptedModel(answer, context_length=131_072)


def profiles(sizes: tuple[int, ...], count: int, variant: str, **search: object) -> tuple[list[Profile], int]:
    """Profiles of the users by the search of the config with these keys, and the calls that they took."""
    config = config_of(variant, **search)
    learned, calls = [], 0
    for user in users(sizes, count):
        model = noisy(user)
        learned.append(asyncio.run(_learned(model, user, config, variant)))
        calls += len(model.requests)
    return learned, calls


def config_of(variant: str, **search: object) -> Config:
    """A config with one model and the paper's search."""
    return parse_config(
        {
            "run": "noisy",
            "datasets": {"d": {"path": "given"}},
            "models": {"m": {"model": "openai/m", "context_length": 131_072}},
            "variants": [variant],
            "learn": {"models": ["m"], "search": search},
        }
    )


async def _learned(model: ScriptedModel, user: UserData, config: Config, variant: str) -> Profile:
    how = profile_settings(config, "m", variant)
    rows = await bootstrap_pairs(model, user.part("context"), JudgeContext(), how.bootstrap)
    traces = UserTraces(dataset="d", user_id=user.user_id, model="m", variant=variant, status="ok", traces=rows)
    return await learn_profile(model, user, traces, "all", 0, how)


def bare(learned: list[Profile]) -> float:
    """Share of profiles that show the judge no demonstration beside the persona, in percent."""
    return 100 * sum(not profile.demonstrations for profile in learned) / len(learned)
