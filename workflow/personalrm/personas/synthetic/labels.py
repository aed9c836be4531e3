"""Labels of pairs by a user's description, in both orders, and how far the labels of two users differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from personalrm.core.concurrency import concurrently
from personalrm.core.lazy import np
from personalrm.core.records import Label, Verdict
from personalrm.core.synthetic import PairLabel, SyntheticPair
from personalrm.judge.judge import JudgeSettings, ask_verdict
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import LanguageModel, Message
from personalrm.personas.synthetic.questions import FOLDER


@dataclass(frozen=True)
class Labelling:
    """How pairs are labelled. With `ties` a judge that answers in words may say that the description does not
    decide."""

    judge: JudgeSettings
    ties: bool = True

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Prompt files in use."""
        return (load_prompt("label", FOLDER),)


def label_messages(
    pair: SyntheticPair, description: str, labelling: Labelling, *, swapped: bool
) -> tuple[Message, ...]:
    """Messages of one judgement, `swapped` with the pair's second answer before its first; the answer is begun where
    the label is read from log-probabilities."""
    (prompt,), words = labelling.prompts, labelling.judge.mode == "text"
    first, second = (pair.second, pair.first) if swapped else (pair.first, pair.second)
    labels = labelling.judge.labels
    system = prompt.render("system", description=description, labels=labels, open=labelling.ties and words)
    asked = prompt.render("user", question=pair.question, first=first, second=second, labels=labels)
    begun = () if words else (Message("assistant", prompt.render("assistant")),)
    return (Message("system", system), Message("user", asked), *begun)


async def label_pair(model: LanguageModel, pair: SyntheticPair, description: str, labelling: Labelling) -> PairLabel:
    """Which answer the described person prefers, asked in both orders."""

    async def once(*, swapped: bool) -> Verdict:
        messages = label_messages(pair, description, labelling, swapped=swapped)
        return await ask_verdict(model, pair.pair_id, swapped, messages, labelling.judge)

    verdicts = await concurrently(once(swapped=False), once(swapped=True))
    return PairLabel(pair_id=pair.pair_id, verdicts=tuple(verdicts))


async def label_pairs(
    model: LanguageModel, pairs: Sequence[SyntheticPair], description: str, labelling: Labelling
) -> tuple[PairLabel, ...]:
    """Labels of several pairs, in their order."""
    return tuple(await concurrently(*(label_pair(model, pair, description, labelling) for pair in pairs)))


class Disagreement(NamedTuple):
    """How far two users differ: mean absolute label difference over the pairs that both labelled, and their number."""

    difference: float
    n_pairs: int


def disagreements(labels: Mapping[str, Mapping[str, Label]]) -> dict[tuple[str, str], Disagreement]:
    """The disagreement of every two users, each once, in the order of `labels`; from 0 (never) to 1 (always).

    `labels` are the decided labels of each user by pair. Users without a common pair have none.
    """
    users = list(labels)
    pairs = {name: place for place, name in enumerate(sorted({pair for mine in labels.values() for pair in mine}))}
    first, second = np.zeros((len(users), len(pairs))), np.zeros((len(users), len(pairs)))
    for row, user in enumerate(users):
        for pair, label in labels[user].items():
            (first if label == "first" else second)[row, pairs[pair]] = 1
    both = (first + second) @ (first + second).T
    differ = first @ second.T + second @ first.T
    return {
        (users[one], users[other]): Disagreement(float(differ[one, other] / both[one, other]), int(both[one, other]))
        for one in range(len(users))
        for other in range(one + 1, len(users))
        if both[one, other]
    }
