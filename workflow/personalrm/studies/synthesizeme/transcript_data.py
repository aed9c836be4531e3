"""Users, profiles, tastes and verdicts for the page of transcripts, with prompts built again from them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from personalrm.core.conditions import MethodId
from personalrm.core.errors import DataError
from personalrm.core.records import Demonstration, Fitted, JudgedUser, PreferencePair, Profile, UserData, Verdict
from personalrm.core.tastes import UserTaste
from personalrm.judge.attributes import label_requests, orders_of, rating_request
from personalrm.judge.judge import Judge, JudgeContext, JudgeSettings, fitted, judge_request
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Request
from personalrm.methods.criteria import CRITERIA, criteria_request, parse_criteria, scores_request
from personalrm.methods.registry import MethodUse, parse_method
from personalrm.methods.scorecard import SCORECARD, scorecard_request
from personalrm.methods.synthesizeme.persona import persona_messages, persona_request
from personalrm.methods.synthesizeme.profile import ProfileSettings
from personalrm.methods.synthesizeme.search import labelled
from personalrm.results.labels import k_label, method_label
from personalrm.studies.report.judgments import Fields, Judgments, Key, Places, place_of
from personalrm.studies.settings import judge_settings
from personalrm.studies.synthesizeme.against_default import against_default, opening
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.learn import learned_settings
from personalrm.studies.synthesizeme.stages.scoring import score_settings, scoring_of
from personalrm.studies.synthesizeme.stages.seen import known_of, pairs_of
from personalrm.studies.synthesizeme.stages.settings import constitution_of

Ordered = tuple[Request, bool | None]
"""A request, and the order of the answers that it shows; None where it shows none, or no order."""
ORDERS = (False, True)


class Transcripts:
    """Collects users, profiles, tastes and verdicts, and gives them as plain values (see `data`).

    Prompts are built with the settings of `config`; after an edit of the config or of a prompt they may differ from
    what was sent, which their keys reveal. `store` has the answers; None where there is none. `artefacts` are what
    methods learned from other users, by data set and method.
    """

    def __init__(
        self,
        config: Config,
        store: ResponseStore | None,
        artefacts: Mapping[str, Mapping[str, Sequence[Fitted]]] = MappingProxyType({}),
    ) -> None:
        self._config, self._artefacts = config, artefacts
        self._found = Judgments(store)
        self._known: dict[Key, tuple[Fields, UserData]] = {}
        self._users = Places()
        self._profiles: dict[tuple[object, ...], tuple[int, Profile]] = {}
        self._tastes: dict[tuple[object, ...], UserTaste] = {}
        self._learned: dict[tuple[str, str], ProfileSettings | None] = {}
        self._profile_rows: list[Fields] = []

    def add_user(self, user: UserData) -> None:
        """A user, before the profiles and verdicts of that user."""
        fields: Fields = {
            "dataset": user.dataset,
            "user": user.user_id,
            "taste": user.planted_taste,
            "survey": dict(sorted(user.survey.items())),
            "profiles": [],
        }
        key = user.dataset, user.user_id
        self._known[key] = fields, user
        place_of(self._users, key)

    def add_profile(self, profile: Profile) -> None:
        """A profile, before the verdicts that show it."""
        place, dataset = len(self._profile_rows), profile.dataset
        fields, user = self._known[dataset, profile.user_id]
        self._profiles[_profile_key(profile, profile.model)] = place, profile
        fields["profiles"].append(place)
        self._profile_rows.append(
            {
                **profile.model_dump(include={"model", "variant", "draw", "status", "reason", "persona"}),
                "flaw": profile.persona_flaw,
                "k": k_label(profile.k),
                "memory": list(profile.memory),
                "events": list(profile.events),
                "lost": sum(profile.lost.values()),
                "demonstrations": [self._demonstration(dataset, shown) for shown in profile.demonstrations],
                "plain": [self._demonstration(dataset, shown) for shown in profile.plain_demonstrations],
                "calls": self._persona_calls(profile, user),
            }
        )

    def add_taste(self, taste: UserTaste) -> None:
        """A measured taste, before the verdicts that show it."""
        self._tastes[taste.dataset, taste.user_id, taste.model, taste.k, taste.draw] = taste

    def add_judged(self, row: JudgedUser) -> None:
        """All verdicts of one method on one user's pairs."""
        _, user = self._known[row.dataset, row.user_id]
        place, profile = self._profiles.get(_profile_key(row, row.profile_model), (None, None))
        wanted = {key for verdict in row.verdicts for key in verdict.calls}
        for request, swapped in self._verdict_requests(row, user, profile):
            self._found.keep(self._identity(str(row.judge_model)), request, wanted, swapped)
        pairs = {pair.pair_id: pair for pair in user.pairs}
        verdicts: dict[int, list[Verdict]] = defaultdict(list)
        for verdict in row.verdicts:
            verdicts[self._pair(row.dataset, pairs[verdict.pair_id])].append(verdict)
        fields: Fields = {
            **row.model_dump(include={"variant", "profile_model", "judge_model", "method", "draw", "reason"}),
            "user": self._users[row.dataset, row.user_id],
            "label": method_label(row.method),
            "k": k_label(row.k),
            "status": row.status,
            "profile": place,
        }
        taste = self._taste_of(row)
        if taste and taste.persona and _method_of(row).method.shows_taste:
            fields["taste"] = self._found.text(taste.persona)
        self._found.row(fields, verdicts)

    def _demonstration(self, dataset: str, shown: Demonstration) -> list[Any]:
        """Place of the pair, whether the rejected answer stood first, and the reasoning."""
        reasoning = None if shown.reasoning is None else self._found.text(shown.reasoning)
        return [self._pair(dataset, shown.pair), shown.swapped, reasoning]

    def _pair(self, dataset: str, pair: PreferencePair) -> int:
        context = [(turn.role, turn.content) for turn in pair.context]
        return self._found.pair((dataset, pair.pair_id), context, pair.chosen, pair.rejected)

    def _persona_calls(self, profile: Profile, user: UserData) -> list[int]:
        """Calls that wrote the persona."""
        wanted = {ref.key for ref in profile.calls if ref.stage == "persona"}
        for request in self._persona_requests(profile, user):
            self._found.keep(self._identity(profile.model), request, wanted, None)
            if self._found.built(wanted):
                break
        return [self._found.call(key) for key in sorted(wanted)]

    def _identity(self, model: str) -> str:
        """The part of a store's key that identifies a model."""
        return self._config.models[model].spec(model).identity

    def _taste_of(self, row: JudgedUser) -> UserTaste | None:
        return self._tastes.get((row.dataset, row.user_id, row.profile_model, row.k, row.draw))

    def _verdict_requests(self, row: JudgedUser, user: UserData, profile: Profile | None) -> Iterator[Ordered]:
        """Requests of a row's verdicts; those for scores only where the store has the criteria."""
        if row.judge_model is None or not row.verdicts:
            return
        asked, use = MethodId.parse(row.method), _method_of(row)
        if use.method.needs == "scores":
            yield from self._score_requests(row.judge_model, pairs_of(user, use))
            if row.set_aside and asked.verdict == "text":
                plain = judge_settings(self._config.models[row.judge_model], "text")
                yield from _default_requests(pairs_of(user, use), plain)
            return
        taste = self._taste_of(row)
        if use.method.needs not in ("judge", "profile", "taste") or (use.method.shows_taste and taste is None):
            return
        entry = self._config.models[row.judge_model]
        rules, pairs = constitution_of(self._config, guarded=use.method.guarded), pairs_of(user, use)
        settings = judge_settings(entry, asked.verdict, rules)
        artefacts, k = self._artefacts.get(row.dataset, {}), row.k if use.method.by_k else None
        if use.method.reads not in ("", *artefacts):
            return
        known = known_of(self._config, user, use.method, artefacts, k=k, draw=row.draw, profile=profile, taste=taste)
        shown = use.method.adapt(known)
        if not isinstance(shown, JudgeContext) or not isinstance(use.method.judge, Judge):
            return
        shown = fitted(shown, pairs, settings, entry.spec(row.judge_model), use.method.asked.messages)
        if self._config.taste_on == "personalizable":
            yield from _default_requests(pairs, settings)
        request = scorecard_request if use.method.judge is SCORECARD else judge_request
        for pair in pairs:
            if use.method.judge is not CRITERIA:
                yield from ((request(pair, swapped, shown, settings), swapped) for swapped in ORDERS)
                continue
            first = criteria_request(pair, shown, settings)
            yield first, None
            key = request_key(self._identity(row.judge_model), first)
            answer = self._found.answer(key)
            if criteria := parse_criteria(answer.text) if answer else ():
                yield from ((scores_request(pair, swapped, criteria, shown, settings), swapped) for swapped in ORDERS)

    def _score_requests(self, model: str, pairs: Sequence[PreferencePair]) -> Iterator[Ordered]:
        """Requests for scores of pairs that were not shortened."""
        settings, bank = score_settings(self._config, model), scoring_of(self._config).selected()
        for pair in pairs:
            for swapped in orders_of(pair, settings.orders):
                if settings.mode == "text":
                    yield rating_request(pair, swapped, bank, settings), swapped
                else:
                    yield from ((request, swapped) for _, request in label_requests(pair, swapped, bank, settings))

    def _persona_requests(self, profile: Profile, user: UserData) -> Iterator[Request]:
        """Requests that may have led to the persona: of all judgements, then without the first, and so on, as an input
        that does not fit is shortened, each as often as it may be sampled. None where the file of the variant's Theta
        is no longer there."""
        name = profile.model, profile.variant
        if name not in self._learned:
            try:
                self._learned[name] = learned_settings(self._config, *name)
            except DataError:
                self._learned[name] = None
        if (learned := self._learned[name]) is None:
            return
        # Demonstrations as the judge saw them, and (as published) judgements that it did not see.
        seen = {shown.pair.pair_id: shown for shown in profile.plain_demonstrations}
        pairs = {pair.pair_id: pair for pair in user.pairs}
        judgements = [seen.get(name) or labelled(pairs[name], learned.search.salt) for name in profile.persona_pairs]
        for start in range(max(len(judgements), 1)):
            messages = persona_messages(tuple(judgements[start:]), learned.persona)
            for attempt in range(learned.persona.attempts):
                yield persona_request(messages, learned.persona, attempt)

    def data(self) -> Fields:
        """What `Judgments.data` describes, and of this study:

        - users: data set, id, planted taste, survey, places of the profiles.
        - profiles: what was learned; demonstrations as [pair, swapped, reasoning]; the persona's calls.
        - versus: how much more often than Default each item is right (`against_default`).
        - opens: the method that is shown first, and why.
        """
        data = self._found.data()
        versus = against_default(data["rows"], data["items"])
        return {
            **data,
            "users": [fields for fields, _ in self._known.values()],
            "profiles": self._profile_rows,
            "versus": versus,
            "opens": opening(data["rows"], data["items"], versus),
        }


def _default_requests(pairs: Sequence[PreferencePair], settings: JudgeSettings) -> Iterator[Ordered]:
    """Requests of the judge that is shown nothing of the user."""
    for pair, order in itertools.product(pairs, ORDERS):
        yield judge_request(pair, order, JudgeContext(), settings), order


def _method_of(row: JudgedUser) -> MethodUse:
    """The method of a row, however its verdicts are read."""
    return parse_method(str(MethodId.parse(row.method)._replace(verdict="text")))


def _profile_key(row: Profile | JudgedUser, model: str | None) -> tuple[object, ...]:
    return row.dataset, row.user_id, model, row.variant, row.k, row.draw
