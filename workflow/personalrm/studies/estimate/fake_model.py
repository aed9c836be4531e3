"""A fake model: it counts the tokens of its calls, and answers with a text of the length that is assumed.

Hashes decide verdicts: a share `steady` of them depends on the pair alone, the others on the whole prompt; of each, the
share `right` is right. Equal requests are counted once, because the response store would answer the second.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from personalrm.core.files import stable_fraction
from personalrm.core.records import Label, UserData
from personalrm.judge.judge import LABELS, PromptStyle, pair_values, position_of_chosen
from personalrm.judge.prompting import PROMPT_DIR, load_prompt
from personalrm.llm.cache.key import request_key
from personalrm.llm.types import LanguageModel, Message, ModelSpec, Request, Response, TokenLogprobs, Usage
from personalrm.studies.estimate.assumptions import Assumptions
from personalrm.studies.estimate.usage import FRAME_TOKENS, Counter, Work
from personalrm.studies.runner import Job
from personalrm.studies.study_config import C

FILLER = "This person likes a short and plain answer with one example over a long and formal one."
VERDICT_TOKENS = 8
LINE_TOKENS = 4
"""Of a line that tags an axis or a sentence, and of a question that is sorted into a kind (`question_kinds`)."""
CRITERIA, MOST_AXES = 3, 12
_RATING_PASSES, _RATING_FAILS = 5, 1


class FakeModel:
    """A `LanguageModel` for simulations.

    Args:
        spec: the model that it replaces.
        style: the model's prompts.
        counter: how its tokens are counted.
        assumed: lengths and shares.
        salt: another one makes other verdicts.
    """

    def __init__(
        self, spec: ModelSpec, style: PromptStyle, counter: Counter, assumed: Assumptions, salt: str = ""
    ) -> None:
        self.spec, self.right = spec, assumed.right
        self.vague = False
        """Whether its personas say nothing, so that they are sampled as often as can be."""
        self._style, self._count, self._assumed, self._salt = style, counter.tokens, assumed, salt
        self._tokens_a_word = self._count(FILLER) / len(FILLER.split())
        self._asked: set[str] = set()
        self._new: dict[str, Work] = {}
        self._prefixes: set[int] = set()
        self._pairs: dict[str, tuple[str, Label]] = {}

    def set_user(self, user: UserData) -> None:
        """Take the pairs of a user, so that it is known which answer is right."""
        names = (f"judge_{self._style}", f"panel_{self._style}", "scorecard")
        asked = map(load_prompt, names)
        self._pairs = {
            prompt.render("user", **pair_values(pair, swapped)): (pair.pair_id, position_of_chosen(swapped))
            for prompt in asked
            for pair in user.pairs
            for swapped in (False, True)
        }

    def new_calls(self) -> dict[str, Work]:
        """Calls since the last use of this method, by key, without those that equal an earlier call."""
        new, self._new = self._new, {}
        return new

    def written(self, tokens: float, seed: str) -> str:
        """About so many tokens of plain sentences that differ by `seed`."""
        begun = f"Case {seed[:4]}:"
        count = max(1, round((tokens - self._count(begun)) / self._tokens_a_word))
        words = itertools.islice(itertools.cycle(FILLER.split()), count)
        return f"{begun} {' '.join(words)}"

    async def complete(self, request: Request) -> Response:
        """A made-up answer; its tokens are counted."""
        key = request_key(self.spec.identity, request)
        response = self._answer(key, request)
        if key not in self._asked:
            self._asked.add(key)
            generated = 1 if response.logprobs else min(self._count(response.text), request.max_tokens)
            self._new[key] = Work(1, *self._prompt(request.messages), generated)
        return response

    def _prompt(self, messages: tuple[Message, ...]) -> tuple[float, float]:
        """Tokens of the prompt, and of the longest run of whole messages at its start that was sent before."""
        tokens, cached, prefix = 0.0, 0.0, 0
        for message in messages:
            tokens += self._count(message.content) + FRAME_TOKENS
            prefix = hash((prefix, message.role, message.content))
            if prefix in self._prefixes:
                cached = tokens
            self._prefixes.add(prefix)
        least = 0 if self.spec.backend == "embedded" else self._assumed.cached_least
        return tokens, cached if cached >= least else 0.0

    def _answer(self, key: str, request: Request) -> Response:
        said, cut = "", False
        odds: tuple[TokenLogprobs, ...] = ()
        pair = self._pairs.get(_asked(request))
        first = (pair[1] == "first") == self._is_right(pair[0], key) if pair else int(key[0], 16) % 2 == 0
        labels = LABELS[self._style]
        if request.top_logprobs:
            odds = (_logprobs(labels if first else labels[::-1], key),)
        elif pair and _name(request) == "scorecard":
            said = self._scorecard(first, key)
        elif pair:
            said = self._verdict(request, labels[not first], key)
        else:
            said, cut = self.prose(request, key)
        return Response(said, "length" if cut else "stop", Usage(), key, odds)

    def _is_right(self, pair_id: str, key: str) -> bool:
        if stable_fraction("steady", self._salt, key) < self._assumed.steady:
            return stable_fraction("pair", self._salt, pair_id) < self.right
        return stable_fraction("prompt", self._salt, key) < self.right

    def _verdict(self, request: Request, label: str, key: str) -> str:
        words = self.written(min(self._assumed.reasoning, request.max_tokens - VERDICT_TOKENS), key)
        if request.messages[-1].role == "assistant":
            return words
        return load_prompt(f"judge_{self._style}").render("demonstration", reasoning=words, label=label)

    def _scorecard(self, first: bool, key: str) -> str:
        """A scorecard whose totals favour one answer."""
        words = self._assumed.criteria / (CRITERIA + 1)
        better, worse = ("first", "second") if first else ("second", "first")
        rows = [{"criterion": self.written(words, key[row:]), "weight": 100 / CRITERIA} for row in range(CRITERIA)]
        totals = {f"total_{better}": 7, f"total_{worse}": 4}
        criteria = [{**row, better: 7, worse: 4} for row in rows]
        return json.dumps({"taste": self.written(words, key[CRITERIA:]), "criteria": criteria, **totals})

    def prose(self, request: Request, key: str) -> tuple[str, bool]:
        """An answer to a prompt that is no judgement of a pair, and whether `max_tokens` cut it."""
        assumed, room = self._assumed, request.max_tokens
        name = _name(request)
        # The prompts of personas as text and as JSON begin alike.
        kind = (name.rpartition("_")[0] or name).removesuffix("_json")
        if kind.startswith("rate"):
            rating = _RATING_PASSES if stable_fraction("rate", self._salt, key) < assumed.rated else _RATING_FAILS
            prefilled = request.messages[-1].role == "assistant"
            return str(rating) if prefilled else f"{self.written(assumed.rating, key)}\nRating: {rating}", False
        if name == "criteria":
            lines = [self.written(assumed.criteria / CRITERIA, key[line:]) for line in range(CRITERIA)]
            return "\n".join(f"Weight 3: {line}" for line in lines), False
        if kind == "attributes":
            listed = re.findall(r"^\d+\. (\w+): ", request.messages[0].content, re.MULTILINE)
            ratings = {attribute: int(stable_fraction("attribute", attribute, key) * 5) - 2 for attribute in listed}
            return json.dumps(ratings), False
        count = len(re.findall(r"^\d+\. ", _asked(request), re.MULTILINE))
        if name == "criteria_scores":
            scores = [f"Criterion {line + 1}: First 7, Second 4" for line in range(count)]
            return "\n".join([self.written(assumed.criteria, key), *scores]), False
        if kind == "axes":
            return "\n".join(f"- Axis {line}: short and plain ... long and rich" for line in range(MOST_AXES)), False
        lengths = {"persona": assumed.persona, "memory": assumed.memory}
        lengths |= dict.fromkeys(("tags", "kinds", "question", "recovery"), count * LINE_TOKENS)
        wanted = lengths.get(kind, assumed.reasoning)
        written = self.written(min(wanted, room), key)
        if kind == "persona" and self.vague:
            written = f"{written}. Likes {key[:4]}. Dislikes {key[:4]}"
        return (f"- {written}" if kind == "memory" else f"{written}."), wanted > room


def _asked(request: Request) -> str:
    """The last message of the user."""
    return next((message.content for message in reversed(request.messages) if message.role == "user"), "")


def _name(request: Request) -> str:
    """The prompt of a request; empty for one that is unknown."""
    return _prompts().get(request.messages[0].content.partition("\n")[0], "")


@functools.cache
def _prompts() -> dict[str, str]:
    """Names of prompts by the first line that they begin with, whatever is known of the user."""
    prompts = [load_prompt(path.stem) for path in sorted(PROMPT_DIR.glob("[!_]*.jinja"))]
    return {
        prompt.render("system", persona=None, demonstrations=()).partition("\n")[0]: prompt.name
        for prompt in prompts
        if prompt.has("system")
    }


def _logprobs(labels: tuple[str, str], key: str) -> TokenLogprobs:
    """The first label with a probability from 0.5 to 1."""
    share = 0.5 + stable_fraction("odds", key) / 2.01
    return TokenLogprobs(((f" {labels[0]}", math.log(share)), (f" {labels[1]}", math.log(1 - share))))


@dataclass(frozen=True)
class FakeJob(Job[C]):
    """A job whose models are fake."""

    models: Mapping[str, FakeModel] = field(default_factory=dict)

    @asynccontextmanager
    async def model(self, name: str, *, batches: bool = False) -> AsyncIterator[LanguageModel]:
        """The fake model of this name."""
        del batches
        yield self.models[name]
