"""Requests built again from what a run has kept, by the code that sent them: the store keeps answers, not prompts."""

from __future__ import annotations

from collections.abc import Iterator

from personalrm.core.conditions import MethodId
from personalrm.core.errors import DataError
from personalrm.core.records import Demonstration, JudgedUser, PreferencePair, Profile, UserData
from personalrm.judge.judge import JudgeContext, JudgeSettings, fitted, judge_request
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Request
from personalrm.methods.base import Known
from personalrm.methods.criteria import CRITERIA, criteria_request, parse_criteria, scores_request
from personalrm.methods.registry import parse_method
from personalrm.methods.synthesizeme.persona import persona_messages, persona_request
from personalrm.methods.synthesizeme.profile import ProfileSettings
from personalrm.methods.synthesizeme.search import labelled
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.judging import pairs_of
from personalrm.studies.synthesizeme.stages.learn import learned_settings
from personalrm.studies.synthesizeme.stages.settings import judge_settings

Ordered = tuple[Request, bool | None]
"""A request, and the order of the answers that it shows; None where it shows none, or no order."""


class Rebuilder:
    """Builds requests again with a run's settings; `store` (if there is one) has the criteria that scores are given on.

    What is built may differ from what was sent, after an edit of the config or of a prompt: its key tells.
    """

    def __init__(self, config: Config, store: ResponseStore | None) -> None:
        self._config = config
        self._store = store
        self._settings: dict[tuple[str, str], ProfileSettings | None] = {}

    def identity(self, model: str) -> str:
        """What the store's key knows of a model."""
        return self._config.models[model].spec(model).identity

    def verdicts(self, row: JudgedUser, user: UserData, profile: Profile | None) -> Iterator[Ordered]:
        """Requests of a row's verdicts."""
        if row.judge_model is None or not row.verdicts:
            return
        entry = self._config.models[row.judge_model]
        asked = MethodId.parse(row.method)
        use = parse_method(str(asked._replace(verdict="text")))
        settings, pairs = judge_settings(entry, asked.verdict), pairs_of(user, use)
        shown = use.method.adapt(Known.of(user, profile=profile))
        if not isinstance(shown, JudgeContext):
            return
        shown = fitted(shown, pairs, settings, entry.spec(row.judge_model), use.method.asked.messages)
        for pair in pairs:
            if use.method.judge is CRITERIA:
                yield from self._criteria(self.identity(row.judge_model), pair, shown, settings)
            else:
                yield from ((judge_request(pair, swapped, shown, settings), swapped) for swapped in (False, True))

    def _criteria(
        self, identity: str, pair: PreferencePair, shown: JudgeContext, settings: JudgeSettings
    ) -> Iterator[Ordered]:
        """The call for criteria, and those for the scores on them as far as the store has the criteria."""
        first = criteria_request(pair, shown, settings)
        yield first, None
        key = request_key(identity, first)
        answer = self._store.get_many([key]).get(key) if self._store else None
        criteria = parse_criteria(answer.text) if answer else ()
        if criteria:
            yield from ((scores_request(pair, swapped, criteria, settings), swapped) for swapped in (False, True))

    def personas(self, profile: Profile, user: UserData) -> Iterator[Request]:
        """Requests that may have led to the persona: of all judgements, then without the first, and so on, as an input
        that does not fit is shortened, each as often as it may be sampled. None where the file of the variant's Theta
        is no longer there."""
        learned = self._learned_with(profile.model, profile.variant)
        if learned is None:
            return
        settings, judgements = learned.persona, _judgements(profile, user, learned.search.salt)
        for start in range(max(len(judgements), 1)):
            messages = persona_messages(judgements[start:], settings)
            yield from (persona_request(messages, settings, attempt) for attempt in range(settings.attempts))

    def _learned_with(self, model: str, variant: str) -> ProfileSettings | None:
        if (model, variant) not in self._settings:
            try:
                self._settings[model, variant] = learned_settings(self._config, model, variant)
            except DataError:
                self._settings[model, variant] = None
        return self._settings[model, variant]


def _judgements(profile: Profile, user: UserData, salt: str) -> tuple[Demonstration, ...]:
    """What the persona was induced from: demonstrations as the judge saw them, and (as published) those it did not."""
    seen = {shown.pair.pair_id: shown for shown in profile.plain_demonstrations}
    pairs = {pair.pair_id: pair for pair in user.pairs}
    return tuple(seen.get(name) or labelled(pairs[name], salt) for name in profile.persona_pairs)
