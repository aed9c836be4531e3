"""Rewards of completions from a judge of pairs: which answers are compared, and what a comparison says as a number.

A judge of pairs has no score for one answer alone, so that a reward is relative: to a reference answer, or to the other
completions of the same prompt.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from personalrm.app.library.data import one_pair
from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import PreferencePair, Verdict

NO_ANSWER = "[no answer]"
"""What the judge is shown instead of a completion that is blank."""
Completion = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""A completion in TRL's forms: a text, or messages, of which the last one counts."""


class Part(NamedTuple):
    """One comparison in the reward of a completion: `sign` is 1 where it is the first of the pair, else -1."""

    pair_id: str
    sign: int


class Comparisons(NamedTuple):
    """Distinct pairs to be judged, and of each completion the comparisons whose sum over `opponents` is its reward."""

    pairs: tuple[PreferencePair, ...]
    parts: tuple[tuple[Part, ...], ...]
    opponents: tuple[int, ...]

    def rewards(self, margins: Mapping[str, float]) -> list[float]:
        """The reward of each completion, from the margin of each pair."""
        sums = (sum(sign * margins[pair_id] for pair_id, sign in parts) for parts in self.parts)
        return [total / count + 0.0 for total, count in zip(sums, self.opponents, strict=True)]


def comparisons(
    prompts: Sequence[Any], completions: Sequence[Completion], reference: Sequence[Completion] | None, user_id: str
) -> Comparisons:
    """Which answers are compared: each completion with its reference, else with all others of an equal prompt.

    Equal answers are alike, and are not asked about. Raises DataError for lists of different lengths, an unreadable
    prompt or completion, and a completion that has no other to be compared with.
    """
    lengths = {"completions": len(completions)} | ({} if reference is None else {"reference": len(reference)})
    for name, length in lengths.items():
        if length != len(prompts):
            raise DataError(f"reward: {length} {name} for {len(prompts)} prompts; give one for each prompt")
    answers = [completion_text(one, f"completions[{place}]") for place, one in enumerate(completions)]
    asked = [stable_hash(repr(prompt)) for prompt in prompts]
    pairs: dict[tuple[str, ...], PreferencePair] = {}

    def part(place: int, other: str) -> Part | None:
        if answers[place] == other:
            return None
        first, second = sorted((answers[place], other))
        key = (asked[place], first, second)
        if key not in pairs:
            pairs[key] = one_pair(prompts[place], first, second, user_id)
        return Part(pairs[key].pair_id, 1 if answers[place] == first else -1)

    if reference is not None:
        opponents = [[completion_text(one, f"reference[{place}]")] for place, one in enumerate(reference)]
    else:
        groups: dict[str, list[int]] = {}
        for place, prompt in enumerate(asked):
            groups.setdefault(prompt, []).append(place)
        if alone := [places[0] for places in groups.values() if len(places) == 1]:
            raise DataError(
                f"completions[{alone[0]}]: is the only one of its prompt, so that it has no reward; give several "
                "completions of each prompt (num_generations), or a reference answer (reference)"
            )
        opponents = [
            [answers[other] for other in groups[prompt] if other != place] for place, prompt in enumerate(asked)
        ]
    parts = (tuple(filter(None, (part(place, other) for other in others))) for place, others in enumerate(opponents))
    found = tuple(parts)
    return Comparisons(tuple(pairs.values()), found, tuple(map(len, opponents)))


def margins(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """By how much the first answer of each pair is preferred: the mean over the verdicts on the pair.

    It is in log-odds where the judge gives them, else 1 for a verdict, -1 for the opposite one, and 0 for all others.
    """
    points = {"correct": 1.0, "wrong": -1.0}
    by_pair = itertools.groupby(sorted(verdicts, key=lambda one: one.pair_id), key=lambda one: one.pair_id)
    found = {}
    for pair_id, group in by_pair:
        each = [one.log_odds if one.log_odds is not None else points.get(one.outcome, 0.0) for one in group]
        found[pair_id] = sum(each) / len(each)
    return found


def completion_text(completion: Completion, where: str) -> str:
    """The text of a completion. Raises DataError that begins with `where`."""
    said: Any = completion
    if not isinstance(said, str | Mapping) and isinstance(said, Sequence) and said:
        said = said[-1]
    if isinstance(said, Mapping):
        said = said.get("content") or ""
    if not isinstance(said, str):
        raise DataError(f"{where}: is {type(said).__name__}; give a text, or a list of messages {{role, content}}")
    return said if said.strip() else NO_ANSWER
