"""How many calls of `fit` wait for one another, and how many it makes: by a clock that counts answers."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, NamedTuple

from parity.content import answer
from parity.sides import SEED, Items, make_users
from support.models import ScriptedModel, text
from support.virtual_time import VirtualTime

from personalrm import SynthesizeMe
from personalrm.core.records import Profile
from personalrm.llm.types import Request, Response

USERS = {name: user["fit"] for name, user in make_users(20).items() if len(user["fit"]) >= 12}
BAR = 0.60
"""Distinct calls as a share of those of the package, which asks everything."""


class SlowModel(ScriptedModel):
    """The model of the parity tests; each answer takes a second."""

    async def complete(self, request: Request) -> Response:
        await asyncio.sleep(1)
        return await super().complete(request)


def reply(request: Request) -> Response:
    return text(answer({"messages": [{"role": m.role, "content": m.content} for m in request.messages]}))


class Fitted(NamedTuple):
    """What a `fit` took: seconds of answers that waited for one another, distinct calls; and what came out."""

    seconds: float
    calls: int
    learned: tuple[Any, ...]


def what_counts(profile: Profile) -> tuple[Any, ...]:
    return profile.winners, profile.persona, profile.demonstrations, profile.events[-1]


def fit(name: str, rows: Items, variant: str, **search: object) -> Fitted:
    model, loop = SlowModel(reply, context_length=131_072), VirtualTime()
    learner = SynthesizeMe(user_id=name, lm=model, variant=variant, seed=SEED, learn_options={"search": search})
    loop.run_until_complete(learner.afit(rows))
    loop.close()
    return Fitted(loop.time(), len(model.requests), what_counts(learner.profile))


@functools.cache
def fit_all(variant: str, **search: object) -> list[Fitted]:
    return [fit(name, rows, variant, **search) for name, rows in USERS.items()]


def test_the_defaults_wait_for_few_answers_and_ask_no_more_than_the_bar() -> None:
    default, everything = fit_all("as_published"), fit_all("as_published", exhaustive=True)
    assert [user.learned for user in default] == [user.learned for user in everything]
    assert sum(user.calls for user in default) <= BAR * sum(user.calls for user in everything)
    # Attempts, with the first candidate beside them; candidates; persona; the same again: 5, and second looks.
    assert sum(user.seconds for user in default) <= 6 * len(USERS)


def test_the_repairs_cost_little_time() -> None:
    stop: dict[str, object] = {"stop_at_score": 80}
    stopped, everything = fit_all("corrected", **stop), fit_all("corrected", **stop, exhaustive=True)
    assert [user.learned for user in stopped] == [user.learned for user in everything]
    assert sum(user.calls for user in stopped) <= 0.45 * sum(user.calls for user in everything)
    # Twice the questions, and wrong guesses once more; while those are made, what does not need them goes on.
    assert sum(user.seconds for user in stopped) <= 8.5 * len(USERS)


def test_a_search_that_never_stops_costs_what_is_said() -> None:
    """The default of `corrected`: 2.2 times the calls that a stop at 80 takes here (docs), as nearly all candidates of
    this judge are equal, and equals are scored in full."""
    stopped, default = fit_all("corrected", stop_at_score=80), fit_all("corrected")
    everything = fit_all("corrected", exhaustive=True)
    assert [user.learned for user in default] == [user.learned for user in everything]
    calls = [sum(user.calls for user in users) for users in (stopped, default, everything)]
    assert calls[0] < calls[1] < calls[2]
    assert 2.0 < calls[1] / calls[0] < 2.4
    assert sum(user.seconds for user in default) <= 17.5 * len(USERS)


def test_speed_changes_calls_and_nothing_else() -> None:
    for variant in ("as_published", "corrected"):
        slow, fast = fit_all(variant, parallel_candidates=1), fit_all(variant)
        assert [user.learned for user in fast] == [user.learned for user in slow]
        assert sum(user.seconds for user in fast) < 0.6 * sum(user.seconds for user in slow)
        assert all(one.calls <= other.calls for one, other in zip(slow, fast, strict=True))
