"""What the transcript browser shows: every judgment with what was sent and what came back, each text once.

The response store keeps answers, not prompts. A prompt is built again from the profile and the pair, by the code that
sent it, and shown only if its key is the one under which the answer is stored: so it is what was sent, to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from personalrm.core.files import stable_hash
from personalrm.core.records import Demonstration, JudgedUser, PreferencePair, Profile, UserData, Verdict
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Message, Request, Response
from personalrm.results.labels import k_label, method_label
from personalrm.studies.report.rebuilt import Rebuilder
from personalrm.studies.synthesizeme.config import Config

Fields = dict[str, Any]
UserKey = tuple[str, str]
TOP_SHOWN = 5
"""Alternatives of the first generated token that are kept."""


@dataclass
class _Table:
    """Distinct values, and the place of each."""

    places: dict[Any, int] = field(default_factory=dict)

    def add(self, value: object) -> int:
        return self.places.setdefault(value, len(self.places))


def choose_users(judgments: Mapping[UserKey, int], limit: int) -> frozenset[UserKey]:
    """Whole users whose judgments are at most `limit` together; the first is taken however many it has.

    `judgments` counts them by (data set, user). Users come in an order that their ids decide, data sets in turn, so
    that a run too large for one page shows some of each, and the same ones each time.
    """
    places: dict[str, int] = {}
    ranked: list[tuple[int, str, str]] = []
    for dataset, user in sorted(judgments, key=lambda key: stable_hash(*key)):
        ranked.append((places.setdefault(dataset, 0), dataset, user))
        places[dataset] += 1
    chosen: list[UserKey] = []
    total = 0
    for _, dataset, user in sorted(ranked):
        total += judgments[dataset, user]
        if total > limit and chosen:
            break
        chosen.append((dataset, user))
    return frozenset(chosen)


class Transcripts:
    """Collects users, profiles and verdicts, and gives them as plain values (see `data`).

    Args:
        config: of the run; prompts are built again with its settings.
        store: where the answers are; None where there is none.
    """

    def __init__(self, config: Config, store: ResponseStore | None) -> None:
        self._store = store
        self._again = Rebuilder(config, store)
        self._texts, self._messages = _Table(), _Table()
        self._known: dict[UserKey, tuple[int, UserData]] = {}
        self._users: list[Fields] = []
        self._pairs: dict[tuple[str, str], int] = {}
        self._pair_rows: list[Fields] = []
        self._profiles: list[Fields] = []
        self._profile_of: dict[tuple[object, ...], tuple[int, Profile]] = {}
        self._rows: list[Fields] = []
        self._items: list[list[Any]] = []
        self._calls = _Table()
        self._prompts: dict[str, tuple[list[int], bool | None]] = {}

    def add_user(self, user: UserData) -> None:
        """A user, before the profiles and verdicts of that user."""
        self._known[user.dataset, user.user_id] = len(self._users), user
        self._users.append(
            {
                "dataset": user.dataset,
                "user": user.user_id,
                "taste": user.planted_taste,
                "survey": dict(sorted(user.survey.items())),
                "profiles": [],
            }
        )

    def add_profile(self, profile: Profile) -> None:
        """A profile, before the verdicts that show it."""
        place, dataset = len(self._profiles), profile.dataset
        user_place, user = self._known[dataset, profile.user_id]
        self._profile_of[_profile_key(profile, profile.model)] = place, profile
        self._users[user_place]["profiles"].append(place)
        self._profiles.append(
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

    def add_judged(self, row: JudgedUser) -> None:
        """All verdicts of one method on one user's pairs."""
        user_place, user = self._known[row.dataset, row.user_id]
        place, profile = self._profile_of.get(_profile_key(row, row.profile_model), (None, None))
        number = len(self._rows)
        self._rows.append(
            {
                **row.model_dump(include={"variant", "profile_model", "judge_model", "method", "draw", "reason"}),
                "user": user_place,
                "label": method_label(row.method),
                "k": k_label(row.k),
                "status": row.status,
                "profile": place,
            }
        )
        wanted = {key for verdict in row.verdicts for key in verdict.calls}
        for request, swapped in self._again.verdicts(row, user, profile):
            self._keep(self._again.identity(str(row.judge_model)), request, wanted, swapped)
        by_pair: dict[str, list[Verdict]] = {}
        for verdict in row.verdicts:
            by_pair.setdefault(verdict.pair_id, []).append(verdict)
        pairs = {pair.pair_id: pair for pair in user.pairs}
        for pair_id, verdicts in by_pair.items():
            self._items.append([number, self._pair(row.dataset, pairs[pair_id]), [self._verdict(v) for v in verdicts]])
        if not by_pair:
            self._items.append([number, None, []])

    def _demonstration(self, dataset: str, shown: Demonstration) -> list[Any]:
        """Place of the pair, whether the rejected answer stood first, and the reasoning."""
        reasoning = None if shown.reasoning is None else self._texts.add(shown.reasoning)
        return [self._pair(dataset, shown.pair), shown.swapped, reasoning]

    def _pair(self, dataset: str, pair: PreferencePair) -> int:
        key = dataset, pair.pair_id
        if key not in self._pairs:
            self._pairs[key] = len(self._pair_rows)
            self._pair_rows.append(
                {
                    "id": pair.pair_id,
                    "context": [[turn.role, self._texts.add(turn.content)] for turn in pair.context],
                    "chosen": self._texts.add(pair.chosen),
                    "rejected": self._texts.add(pair.rejected),
                }
            )
        return self._pairs[key]

    def _verdict(self, verdict: Verdict) -> list[Any]:
        calls = [self._calls.add(key) for key in verdict.calls]
        return [verdict.swapped, verdict.outcome, verdict.said, verdict.log_odds, calls]

    def _persona_calls(self, profile: Profile, user: UserData) -> list[int]:
        """Calls that wrote the persona."""
        wanted = {ref.key for ref in profile.calls if ref.stage == "persona"}
        identity = self._again.identity(profile.model)
        for request in self._again.personas(profile, user):
            self._keep(identity, request, wanted, None)
            if wanted <= self._prompts.keys():
                break
        return [self._calls.add(key) for key in sorted(wanted)]

    def _keep(self, identity: str, request: Request, wanted: set[str], swapped: bool | None) -> None:
        key = request_key(identity, request)
        if key in wanted and key not in self._prompts:
            self._prompts[key] = [self._message(message) for message in request.messages], swapped

    def _message(self, message: Message) -> int:
        return self._messages.add((message.role, self._texts.add(message.content)))

    def data(self) -> Fields:
        """All that was added. Texts stand once in `texts`; elsewhere a text is its place there.

        - users: data set, id, planted taste, survey, places of the profiles.
        - pairs: id, context as [role, text], chosen and rejected text.
        - profiles: what was learned; demonstrations as [pair, swapped, reasoning]; the persona's calls.
        - rows: a method on a user: the models, k, draw, status, place of the profile.
        - items: [row, pair or None, verdicts], a verdict being [swapped, outcome, said, log-odds, calls].
        - messages: [role, text]. calls: key, prompt (messages, None where it could not be built again), the order it
          shows, and the answer (None where the store lacks it).
        """
        answers = self._store.get_many(list(self._calls.places)) if self._store else {}
        return {
            "users": self._users,
            "pairs": self._pair_rows,
            "profiles": self._profiles,
            "rows": self._rows,
            "items": sorted(self._items, key=self._item_order),
            "calls": [self._call(key, answers.get(key)) for key in self._calls.places],
            "messages": [list(message) for message in self._messages.places],
            "texts": list(self._texts.places),
        }

    def _item_order(self, item: list[Any]) -> tuple[int, int, int]:
        """By user, then pair, so that all methods on a pair stand together."""
        row, pair, _ = item
        return self._rows[row]["user"], -1 if pair is None else pair, row

    def _call(self, key: str, answer: Response | None) -> Fields:
        prompt, swapped = self._prompts.get(key, (None, None))
        return {"key": key, "prompt": prompt, "swapped": swapped, "answer": answer and self._answer(answer)}

    def _answer(self, answer: Response) -> Fields:
        top = answer.logprobs[0].top[:TOP_SHOWN] if answer.logprobs else ()
        return {
            "text": self._texts.add(answer.text),
            "reasoning": answer.reasoning,
            "refusal": answer.refusal,
            "finish": answer.finish_reason,
            "tokens": [answer.usage.tokens_in, answer.usage.tokens_out],
            "top": [[text, round(value, 4)] for text, value in top],
        }


def _profile_key(row: Profile | JudgedUser, model: str | None) -> tuple[object, ...]:
    return row.dataset, row.user_id, model, row.variant, row.k, row.draw
