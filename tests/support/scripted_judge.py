"""A deterministic judge for the scripted server: a pure function of the content of the prompt.

It prefers the answer whose text has the smaller hash, so its verdict on a pair does not depend on the order in
which the two are shown; a persona or demonstrations in the prompt change some of its verdicts, as they should.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_LABELS = (("First", "Second"), ("A", "B"))
_SCALE = 4.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says. `logprobs`: for each generated token its alternatives (text, log-probability), the
    chosen one first. Token counts that are None are estimated from the lengths of the texts.
    """

    text: str | None
    logprobs: Sequence[Sequence[tuple[str, float]]] = ()
    finish_reason: str = "stop"
    reasoning: str | None = None
    refusal: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int = 0


Kind = Literal["verdict", "label", "prose"]


Odds = Callable[[str, str, str], float]
"""Log-odds of the first answer over the second, given what is known of the user (texts)."""


def judge(body: dict[str, Any], log_odds_of: Odds | None = None) -> Answer:
    """The default answer: a label with log-probabilities, a verdict with reasoning, criteria, scores, or a few words
    of prose. `log_odds_of` is another taste.

    A prompt without a pair in its last user message (a persona request) gets prose.
    """
    messages = body["messages"]
    asked = next((str(m["content"]) for m in reversed(messages) if m["role"] == "user"), "")
    background = "\n".join(str(m["content"]) for m in messages if m["role"] == "system")
    prose = _prose(_digest("\n".join(str(m["content"]) for m in messages), str(body.get("seed", 0))))
    if "Weight <1-5>:" in background:
        return Answer(f"Weight 3: {prose.split(' and ')[0]}\nWeight 2: no reproach\n")
    pair = _pair(asked)
    if pair is None:
        return Answer(prose)
    labels, first, second = pair
    if "Criterion <number>:" in background:
        return Answer(_scores(asked.split("\n\nConversation:")[0], first, second))
    log_odds = (log_odds_of or _log_odds)(background, first, second)
    if '"total_first"' in background:
        return Answer(_scorecard(prose, log_odds))
    label = labels[0] if log_odds > 0 else labels[1]
    if int(body.get("max_tokens") or 0) <= 8:
        return Answer(f" {label}", logprobs=[_label_logprobs(labels, log_odds)], finish_reason="length")
    if body.get("logprobs"):
        return Answer(f" {label}", logprobs=[_label_logprobs(labels, log_odds)])
    if messages[-1]["role"] == "assistant":
        # The start of a reasoning was given: go on with it, and leave the verdict to the next call.
        return Answer(f" {prose}") if labels == _LABELS[1] else Answer(f" {prose}\nPreference: {label}")
    return Answer(f"{prose}\nPreference: {label}")


def _pair(text: str) -> tuple[tuple[str, str], str, str] | None:
    """Labels and texts of the last pair that is shown in `text`, in the layout of `_pair.jinja`."""
    for labels in _LABELS:
        pattern = rf"Response {labels[0]}:\n(?P<one>.*?)\n\nResponse {labels[1]}:\n(?P<two>.*)"
        found = list(re.finditer(pattern, text, re.DOTALL))
        # The question is not a part of the second response: it would make the verdict depend on the order.
        if found and not re.search(r"The person chose:", text):
            second = re.split(r"\n\n(?:Which response do|How well do th|Which scorecard)", found[-1]["two"])[0]
            return labels, found[-1]["one"].strip(), second.strip()
    return None


def _scores(criteria: str, first: str, second: str) -> str:
    """Scores of both answers on each criterion of a numbered list, by their texts and the criterion."""
    lines = []
    for number, criterion in re.findall(r"^(\d)\. (.+)$", criteria, re.MULTILINE):
        one, two = (1 + int(10 * fraction(criterion + answer)) for answer in (first, second))
        lines.append(f"Criterion {number}: First {one}, Second {two}")
    return "\n".join(lines)


def _scorecard(prose: str, log_odds: float) -> str:
    """A scorecard of one criterion, whose scores differ by the log-odds of the first answer, within the scale."""
    first = round(5.5 + max(-4.0, min(4.0, log_odds)) / 2, 2)
    scores = {"criterion": prose, "weight": 100, "first": first, "second": 11 - first}
    totals = {"total_first": first, "total_second": 11 - first}
    return json.dumps({"taste": prose, "criteria": [scores], **totals})


def _log_odds(background: str, first: str, second: str) -> float:
    """Log-odds of the first answer; the negative of it when the two change places."""
    return _SCALE * (_score(background, first) - _score(background, second))


def _score(background: str, answer: str) -> float:
    """A number in [0, 1): mostly of the answer, a little of what is known about the user."""
    return 0.7 * fraction(answer) + 0.3 * fraction(background + "\n" + answer)


def _label_logprobs(labels: tuple[str, str], log_odds: float) -> list[tuple[str, float]]:
    """Alternatives of the label's token, best first, and one that is neither label."""
    first = -math.log1p(math.exp(-log_odds)) - 0.01
    second = -math.log1p(math.exp(log_odds)) - 0.01
    both = sorted(((f" {labels[0]}", first), (f" {labels[1]}", second)), key=lambda pair: -pair[1])
    return [*both, (" The", -9.0)]


def _prose(digest: str) -> str:
    """A few plausible words that depend on the digest."""
    topics = ("a direct answer", "a warm tone", "clear structure", "careful sourcing", "depth", "brevity", "humour")
    one, two = topics[int(digest[:4], 16) % len(topics)], topics[int(digest[4:8], 16) % len(topics)]
    return f"{one} and {two}; one response serves this better than the other ({digest[:6]})."


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def fraction(text: str) -> float:
    """A number in [0, 1) that hangs on the text alone."""
    return int(_digest(text)[:13], 16) / 16**13
