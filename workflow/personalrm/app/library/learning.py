"""From a user's data to a profile, by the functions of the workflow's stages `bootstrap` and `profile`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from personalrm.app.library.asking import TrackedModel
from personalrm.app.library.data import Item, split_by_ratio, usable_pairs, user_of, with_split
from personalrm.app.library.settings import DATASET, Settings
from personalrm.core.errors import DataError, ModelCallError
from personalrm.core.records import PreferencePair, Profile, UserData, UserTraces
from personalrm.judge.call_recorder import CallRecorder
from personalrm.methods.synthesizeme.profile import ProfileSettings, learn_profile
from personalrm.methods.synthesizeme.search import search_first
from personalrm.studies.synthesizeme.stages.learn import learn_traces
from personalrm.studies.synthesizeme.stages.runner import refuse_outage


class Prepared(NamedTuple):
    """A user whose pairs have their split, and what a reader should know about rows that were left out."""

    user: UserData
    events: tuple[str, ...]


def user_data(
    data: Sequence[Item], val_data: Sequence[Item] | None, user_id: str | None, train_val_ratio: float
) -> Prepared:
    """The user of `fit`'s data. Raises DataError for wrong or no data, and for votes of several users."""
    if user_id is None:
        # Checked first: what is wrong with a row must be said of the row.
        usable_pairs(data, "data")
        user_id = user_of(data)
    pairs, events = usable_pairs(data, "data", user_id)
    if not pairs:
        raise DataError("data: holds no pair with two different answers; give at least one preference")
    if val_data is None:
        return Prepared(_user(user_id, split_by_ratio(pairs, train_val_ratio)), events)
    known = {pair.pair_id for pair in pairs}
    validation, more = usable_pairs(val_data, "val_data", user_id)
    # A pair that is learned from says nothing about another pair.
    fresh = [pair for pair in validation if pair.pair_id not in known]
    if len(fresh) < len(validation):
        more = (*more, f"val_data: {len(validation) - len(fresh)} rows left out (they are in data, too)")
    split = (*with_split(pairs, "context"), *with_split(fresh, "validation"))
    return Prepared(_user(user_id, split), (*events, *more))


def _user(user_id: str, pairs: Sequence[PreferencePair]) -> UserData:
    return UserData(dataset=DATASET, user_id=user_id, pairs=tuple(pairs))


class Progress:
    """Tells the hook how far `fit` is. How many calls there will be is known at most, so the share is of an upper
    bound: the first 30 % are attempts at pairs, and the end may come early."""

    def __init__(self, hook: Callable[[float, str], object] | None) -> None:
        self._hook = hook
        self._most, self._done, self._start, self._end = 1, 0, 0.0, 30.0
        self._what = "attempts at pairs"
        self._told = 0.0

    def stage(self, what: str, most: int, start: float, end: float) -> None:
        """Begin a stage of at most `most` calls, which leads from `start` to `end` percent."""
        self._what, self._most, self._done, self._start, self._end = what, max(1, most), 0, start, end
        self._tell(start, what)

    def answered(self) -> None:
        """One more answer."""
        self._done += 1
        share = min(1.0, self._done / self._most)
        self._tell(self._start + share * (self._end - self._start), f"{self._what}: {self._done} answers")

    def finished(self) -> None:
        """All is learned."""
        self._tell(100.0, "fitted")

    def _tell(self, percent: float, message: str) -> None:
        self._told = max(self._told, percent)
        if self._hook is not None:
            self._hook(self._told, message)


async def learn(model: TrackedModel, user: UserData, settings: Settings, progress: Progress) -> Profile:
    """The profile of a user, status `ok`.

    Raises ModelCallError where the provider failed for more than `max_failed_share` of the attempts, or so that there
    is no profile; its subclass where one is known.
    """
    context, validation = user.part("context"), user.part("validation")
    learning = settings.learning(len(context))
    per_attempt = 1 if learning.bootstrap.judge.mode == "text" else 2
    attempts = len(context) * learning.bootstrap.attempts * per_attempt
    progress.stage("attempts at pairs", attempts, 0.0, 30.0)
    speed = learning.search.parallel > 1
    made = learn_traces(model, user, learning.variant, learning.bootstrap, side_by_side=speed)
    traces, _ = await asyncio.gather(made, _ahead(model, user, learning)) if speed else (await made, None)
    reason = model.failures.get("provider_error")
    lost = (trace.outcome == "provider_error" for trace in traces.traces)
    refuse_outage(lost, "attempts", settings.max_failed_share, str(reason) if reason else None)
    trials = 2 * len(learning.search.seeds) * len(validation) * 2
    progress.stage("search and persona", trials + attempts + 1, 30.0, 99.0)
    counted = CallRecorder(model, "profile")
    profile = await learn_profile(counted, user, traces, "all", 0, learning)
    if profile.status != "ok":
        outcome = (profile.reason or "").partition(":")[0]
        cause = next((error for name, error in model.failures.items() if name == outcome), None)
        raise cause or ModelCallError(f"fit: {profile.reason}")
    refuse_outage(counted.lost(), "calls", settings.max_failed_share, str(model.failures.get("provider_error")))
    return profile


async def _ahead(model: TrackedModel, user: UserData, settings: ProfileSettings) -> None:
    """Ask, while traces are made, what does not depend on them; the answers are then found in the store.

    The first candidate of the first search does not. Where it ends that search, and later traces are made anew with the
    persona known, nothing of the profile does.
    """
    context, validation = user.part("context"), user.part("validation")
    found = await search_first(model, context, validation, settings.search, allow_empty=False)
    if found is not None and settings.rebootstrap:
        unknown = UserTraces(
            dataset=user.dataset, user_id=user.user_id, model=model.spec.name, variant=settings.variant, status="ok"
        )
        await learn_profile(model, user, unknown, "all", 0, settings)
