"""What the transcript browser shows: every judgment with what was sent and what came back, each text once.

The response store keeps answers, not prompts. A prompt is built again from the profile and the pair, by the code that
sent it, and shown only if its key is the one under which the answer is stored: so it is what was sent, to the byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from personalrm.core.conditions import MethodId
from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import Demonstration, Fitted, JudgedUser, PreferencePair, Profile, UserData, Verdict
from personalrm.core.tastes import UserTaste
from personalrm.judge.judge import Judge, JudgeContext, fitted, judge_request
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Request, Response
from personalrm.methods.criteria import CRITERIA, criteria_request, parse_criteria, scores_request
from personalrm.methods.registry import parse_method
from personalrm.methods.scorecard import SCORECARD, scorecard_request
from personalrm.methods.synthesizeme.persona import persona_messages, persona_request
from personalrm.methods.synthesizeme.profile import ProfileSettings
from personalrm.methods.synthesizeme.search import labelled
from personalrm.results.labels import k_label, method_label
from personalrm.studies.settings import judge_settings
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.learn import learned_settings
from personalrm.studies.synthesizeme.stages.seen import known_of, pairs_of
from personalrm.studies.synthesizeme.stages.settings import constitution_of

Fields = dict[str, Any]
UserKey = tuple[str, str]
Ordered = tuple[Request, bool | None]
"""A request, and the order of the answers that it shows; None where it shows none, or no order."""
Places = dict[Any, int]
"""Distinct values, and the place of each."""
TOP_SHOWN = 5
"""Alternatives of the first generated token that are kept."""
ORDERS = (False, True)


def choose_users(judgments: Mapping[UserKey, int], limit: int) -> frozenset[UserKey]:
    """Whole users whose judgments are at most `limit` together; the first is taken however many it has.

    `judgments` counts them by (data set, user). Users come in an order that their ids decide, data sets in turn, so
    that a run too large for one page shows some of each, and the same ones each time.
    """
    ranks: dict[str, int] = defaultdict(int)
    ranked: list[tuple[int, str, str]] = []
    for dataset, user in sorted(judgments, key=lambda key: stable_hash(*key)):
        ranked.append((ranks[dataset], dataset, user))
        ranks[dataset] += 1
    chosen: list[UserKey] = []
    total = 0
    for _, dataset, user in sorted(ranked):
        total += judgments[dataset, user]
        if total > limit and chosen:
            break
        chosen.append((dataset, user))
    return frozenset(chosen)


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
        self._config, self._store, self._artefacts = config, store, artefacts
        self._texts, self._messages, self._calls = Places(), Places(), Places()
        self._known: dict[UserKey, tuple[Fields, UserData]] = {}
        self._users, self._pairs = Places(), Places()
        self._pair_rows: list[Fields] = []
        self._profiles: dict[tuple[object, ...], tuple[int, Profile]] = {}
        self._tastes: dict[tuple[object, ...], UserTaste] = {}
        self._learned: dict[tuple[str, str], ProfileSettings | None] = {}
        self._profile_rows: list[Fields] = []
        self._rows: list[Fields] = []
        self._items: list[list[Any]] = []
        self._prompts: dict[str, tuple[list[int], bool | None]] = {}

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
        _place(self._users, key)

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
        number = len(self._rows)
        self._rows.append(
            {
                **row.model_dump(include={"variant", "profile_model", "judge_model", "method", "draw", "reason"}),
                "user": self._users[row.dataset, row.user_id],
                "label": method_label(row.method),
                "k": k_label(row.k),
                "status": row.status,
                "profile": place,
            }
        )
        wanted = {key for verdict in row.verdicts for key in verdict.calls}
        for request, swapped in self._verdict_requests(row, user, profile):
            self._keep(str(row.judge_model), request, wanted, swapped)
        by_pair: dict[str, list[Verdict]] = defaultdict(list)
        for verdict in row.verdicts:
            by_pair[verdict.pair_id].append(verdict)
        pairs = {pair.pair_id: pair for pair in user.pairs}
        for name, verdicts in by_pair.items():
            self._items.append([number, self._pair(row.dataset, pairs[name]), [self._verdict(v) for v in verdicts]])
        if not by_pair:
            self._items.append([number, None, []])

    def _demonstration(self, dataset: str, shown: Demonstration) -> list[Any]:
        """Place of the pair, whether the rejected answer stood first, and the reasoning."""
        reasoning = None if shown.reasoning is None else _place(self._texts, shown.reasoning)
        return [self._pair(dataset, shown.pair), shown.swapped, reasoning]

    def _pair(self, dataset: str, pair: PreferencePair) -> int:
        place = _place(self._pairs, (dataset, pair.pair_id))
        if place == len(self._pair_rows):
            fields: Fields = {"id": pair.pair_id}
            fields["context"] = [[turn.role, _place(self._texts, turn.content)] for turn in pair.context]
            fields |= {name: _place(self._texts, getattr(pair, name)) for name in ("chosen", "rejected")}
            self._pair_rows.append(fields)
        return place

    def _verdict(self, verdict: Verdict) -> list[Any]:
        calls = [_place(self._calls, key) for key in verdict.calls]
        return [verdict.swapped, verdict.outcome, verdict.said, verdict.log_odds, calls]

    def _persona_calls(self, profile: Profile, user: UserData) -> list[int]:
        """Calls that wrote the persona."""
        wanted = {ref.key for ref in profile.calls if ref.stage == "persona"}
        for request in self._persona_requests(profile, user):
            self._keep(profile.model, request, wanted, None)
            if wanted <= self._prompts.keys():
                break
        return [_place(self._calls, key) for key in sorted(wanted)]

    def _keep(self, model: str, request: Request, wanted: set[str], swapped: bool | None) -> None:
        """Keep the prompt of a request if its call is one of the `wanted`."""
        key = request_key(self._identity(model), request)
        if key in wanted and key not in self._prompts:
            messages = [(message.role, _place(self._texts, message.content)) for message in request.messages]
            self._prompts[key] = [_place(self._messages, message) for message in messages], swapped

    def _identity(self, model: str) -> str:
        """The part of a store's key that identifies a model."""
        return self._config.models[model].spec(model).identity

    def _verdict_requests(self, row: JudgedUser, user: UserData, profile: Profile | None) -> Iterator[Ordered]:
        """Requests of a row's verdicts; those for scores only where the store has the criteria."""
        if row.judge_model is None or not row.verdicts:
            return
        asked = MethodId.parse(row.method)
        use = parse_method(str(asked._replace(verdict="text")))
        taste = self._tastes.get((row.dataset, row.user_id, row.profile_model, row.k, row.draw))
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
            nobody = JudgeContext()
            yield from ((judge_request(pair, order, nobody, settings), order) for pair in pairs for order in ORDERS)
        request = scorecard_request if use.method.judge is SCORECARD else judge_request
        for pair in pairs:
            if use.method.judge is not CRITERIA:
                yield from ((request(pair, swapped, shown, settings), swapped) for swapped in ORDERS)
                continue
            first = criteria_request(pair, shown, settings)
            yield first, None
            key = request_key(self._identity(row.judge_model), first)
            answer = self._store.get_many([key]).get(key) if self._store else None
            if criteria := parse_criteria(answer.text) if answer else ():
                yield from ((scores_request(pair, swapped, criteria, shown, settings), swapped) for swapped in ORDERS)

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
        """All that was added. Each text is once in `texts`; elsewhere a text is its place there.

        - users: data set, id, planted taste, survey, places of the profiles.
        - pairs: id, context as [role, text], chosen and rejected text.
        - profiles: what was learned; demonstrations as [pair, swapped, reasoning]; the persona's calls.
        - rows: a method on a user: the models, k, draw, status, place of the profile.
        - items: [row, pair or None, verdicts], a verdict being [swapped, outcome, said, log-odds, calls].
        - messages: [role, text]. calls: key, prompt (messages, None where it could not be built again), the order it
          shows, and the answer (None where the store lacks it).
        """

        def by_user_and_pair(item: list[Any]) -> tuple[int, int, int]:
            # All methods on a pair are adjacent.
            row, pair, _ = item
            return self._rows[row]["user"], -1 if pair is None else pair, row

        answers = self._store.get_many(list(self._calls)) if self._store else {}
        return {
            "users": [fields for fields, _ in self._known.values()],
            "pairs": self._pair_rows,
            "profiles": self._profile_rows,
            "rows": self._rows,
            "items": sorted(self._items, key=by_user_and_pair),
            "calls": [self._call(key, answers.get(key)) for key in self._calls],
            "messages": [list(message) for message in self._messages],
            "texts": list(self._texts),
        }

    def _call(self, key: str, answer: Response | None) -> Fields:
        prompt, swapped = self._prompts.get(key, (None, None))
        return {"key": key, "prompt": prompt, "swapped": swapped, "answer": answer and self._answer(answer)}

    def _answer(self, answer: Response) -> Fields:
        top = answer.logprobs[0].top[:TOP_SHOWN] if answer.logprobs else ()
        return {
            "text": _place(self._texts, answer.text),
            "reasoning": answer.reasoning,
            "refusal": answer.refusal,
            "finish": answer.finish_reason,
            "tokens": [answer.usage.tokens_in, answer.usage.tokens_out],
            "top": [[text, round(value, 4)] for text, value in top],
        }


def _place(places: Places, value: object) -> int:
    """The place of a value, which is added where it is new."""
    return places.setdefault(value, len(places))


def _profile_key(row: Profile | JudgedUser, model: str | None) -> tuple[object, ...]:
    return row.dataset, row.user_id, model, row.variant, row.k, row.draw
