"""What the page of transcripts shows, as plain values: pairs, rows, verdicts and calls, with each text once.

The response store keeps answers, not prompts. A study builds a prompt again with the code that sent it, and it is shown
only if its key is the one under which the answer is stored: so it is what was sent, to the byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personalrm.core.files import stable_hash
from personalrm.core.records import Verdict
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Request, Response

Fields = dict[str, Any]
Key = tuple[str, str]
"""A data set, and the id of a user or of a pair in it."""
Places = dict[Any, int]
"""Distinct values, and the place of each."""
TOP_SHOWN = 5
"""Alternatives of the first generated token that are kept."""


@dataclass(frozen=True)
class Shown:
    """The judgments of a run, or those of some users or pairs.

    `data` is what the script of the page reads. `unit` says in the plural what was chosen whole (users, pairs), and
    `units` and `judgments` how many of them are shown and how many there are. `notices` stand above everything.
    """

    data: Fields
    unit: str
    units: tuple[int, int]
    judgments: tuple[int, int]
    notices: Sequence[str] = ()


def choose_whole(judgments: Mapping[Key, int], limit: int) -> frozenset[Key]:
    """Whole users (or pairs) whose judgments are at most `limit` together; the first is taken however many it has.

    `judgments` counts them by data set and id. They come in an order that their ids decide, data sets in turn, so that
    a run too large for one page shows some of each, and the same ones each time.
    """
    ranks: dict[str, int] = defaultdict(int)
    ranked: list[tuple[int, str, str]] = []
    for dataset, name in sorted(judgments, key=lambda key: stable_hash(*key)):
        ranked.append((ranks[dataset], dataset, name))
        ranks[dataset] += 1
    chosen: list[Key] = []
    total = 0
    for _, dataset, name in sorted(ranked):
        total += judgments[dataset, name]
        if total > limit and chosen:
            break
        chosen.append((dataset, name))
    return frozenset(chosen)


class Judgments:
    """Collects what is shown. `store` has the answers; None where there is none."""

    def __init__(self, store: ResponseStore | None) -> None:
        self._store = store
        self._texts, self._messages, self._calls, self._pairs = Places(), Places(), Places(), Places()
        self._prompts: dict[str, tuple[list[int], bool | None]] = {}
        self.pairs: list[Fields] = []
        self.rows: list[Fields] = []
        self.items: list[list[Any]] = []

    def text(self, content: str) -> int:
        """Place of a text."""
        return place_of(self._texts, content)

    def call(self, key: str) -> int:
        """Place of a call."""
        return place_of(self._calls, key)

    def pair(
        self, key: Key, context: Sequence[tuple[str, str]], chosen: str, rejected: str, compared: Sequence[str] = ()
    ) -> int:
        """Place of a pair; `context` are roles and texts. Where two systems are `compared`, `chosen` is the answer of
        the first, `rejected` that of the second."""
        place = place_of(self._pairs, (key, *compared))
        if place == len(self.pairs):
            said = [[role, self.text(content)] for role, content in context]
            texts = {"chosen": self.text(chosen), "rejected": self.text(rejected)}
            self.pairs.append({"id": key[1], "context": said, **texts})
        return place

    def row(self, fields: Fields, verdicts: Mapping[int, Sequence[Verdict]]) -> None:
        """A method (or question) with its verdicts by the place of the pair; without any, the row is shown alone."""
        number = len(self.rows)
        self.rows.append(fields)
        if not verdicts:
            self.items.append([number, None, []])
        for pair, given in verdicts.items():
            self.items.append([number, pair, [self._verdict(verdict) for verdict in given]])

    def _verdict(self, verdict: Verdict) -> list[Any]:
        calls = [self.call(key) for key in verdict.calls]
        return [verdict.swapped, verdict.outcome, verdict.said, verdict.log_odds, calls]

    def keep(self, identity: str, request: Request, wanted: Collection[str], swapped: bool | None) -> None:
        """Keep the prompt of a request if its call is one of the `wanted`. `swapped`: whether the rejected answer
        stands first in it; None where it shows none, or no order."""
        key = request_key(identity, request)
        if key in wanted and key not in self._prompts:
            messages = [(message.role, self.text(message.content)) for message in request.messages]
            self._prompts[key] = [place_of(self._messages, message) for message in messages], swapped

    def built(self, wanted: Collection[str]) -> bool:
        """Whether the prompts of all `wanted` calls are kept."""
        return self._prompts.keys() >= set(wanted)

    def answer(self, key: str) -> Response | None:
        """The stored answer of a call, if there is one."""
        return self._store.get_many([key]).get(key) if self._store else None

    def data(self) -> Fields:
        """All that was added. Each text is once in `texts`; elsewhere a text is its place there.

        - pairs: id, context as [role, text], chosen and rejected text; further fields of the study.
        - rows: a method on a user, or a question: place of the user, method and its label, models, variant, k, draw,
          status, and reason. `side` (rejected) and `what` say of what `correct` speaks where that is not the chosen
          answer; `systems` names those whose answers are compared, of which `correct` is the first.
        - items: [row, pair or None, verdicts], a verdict being [swapped, outcome, said, log-odds, calls]. All methods
          on a pair are adjacent; rows without a verdict come last of their user.
        - messages: [role, text]. calls: key, prompt (messages, None where it could not be built again), the order it
          shows, and the answer (None where the store lacks it).
        """

        def by_user_and_pair(item: list[Any]) -> tuple[int, int, int]:
            row, pair, _ = item
            return self.rows[row]["user"], len(self.pairs) if pair is None else pair, row

        answers = self._store.get_many(list(self._calls)) if self._store else {}
        self.items.sort(key=by_user_and_pair)
        return {
            "pairs": self.pairs,
            "rows": self.rows,
            "items": self.items,
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
            "text": self.text(answer.text),
            "reasoning": answer.reasoning,
            "refusal": answer.refusal,
            "finish": answer.finish_reason,
            "tokens": [answer.usage.tokens_in, answer.usage.tokens_out],
            "top": [[text, round(value, 4)] for text, value in top],
        }


def place_of(places: Places, value: object) -> int:
    """The place of a value, which is added where it is new."""
    return places.setdefault(value, len(places))
