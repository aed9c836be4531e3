"""Iterative generation of personas (FSPO, appendix on data): a description gains a fact wherever it does not decide.

The paper gives neither the number of facts nor the threshold of disagreement; both are settings here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from personalrm.core.errors import ModelCallError
from personalrm.core.files import stable_hash
from personalrm.core.records import Label
from personalrm.core.synthetic import PairLabel, SeedUser, SyntheticPair, SyntheticUser
from personalrm.judge.judge import failure_outcome, is_refused
from personalrm.judge.parsing import whole_sentences
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import LanguageModel, Request
from personalrm.personas.of_pairs import first_line
from personalrm.personas.synthetic.labels import Disagreement, Labelling, label_pair, label_pairs
from personalrm.personas.synthetic.questions import FOLDER

_ABOUT = re.compile(r"(?:the|this) (?:person|user)\b.*\w", re.IGNORECASE)
_REPEATED = re.compile(r"^(the person)\s+\1\b", re.IGNORECASE)


@dataclass(frozen=True)
class Describing:
    """How descriptions are refined.

    Attributes:
        labelling: how pairs are labelled.
        facts: most facts of a user.
        margin: with log-probabilities, a description decides where the mean log-odds are at least so far from 0.
        temperature, max_tokens: of a call for a fact.
        seed: of coins, of the order of pairs, and of the calls.
    """

    labelling: Labelling
    facts: int = 10
    margin: float = 0.5
    temperature: float = 0.7
    max_tokens: int = 80
    seed: int = 0

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Prompt files in use."""
        return (*self.labelling.prompts, load_prompt("fact", FOLDER))

    def decides(self, label: PairLabel) -> bool:
        """Whether the description that gave this label decides the pair: both orders name one answer, by the margin."""
        odds = label.log_odds
        return label.label is not None and (odds is None or abs(odds) >= self.margin)


async def described(
    model: LanguageModel, user: SeedUser, pairs: Sequence[SyntheticPair], describing: Describing, attempt: int = 0
) -> SyntheticUser:
    """The user with a description that was refined on `pairs`, one after the other.

    Where the description so far does not decide a pair, a seeded coin picks a side, and the model writes a fact that
    explains it. `attempt` changes coins, order and facts. A pair whose label cannot be read adds nothing.
    """
    before = await label_pairs(model, pairs, user.seed, describing.labelling)
    facts: list[str] = []
    unusable = 0
    coins: dict[str, Label] = {}
    undecided = 0
    for pair in sorted(pairs, key=lambda pair: _hash("order", describing, user, attempt, pair)):
        label = await label_pair(model, pair, " ".join((user.seed, *facts)), describing.labelling)
        if not label.read or describing.decides(label):
            continue
        undecided += 1
        if len(facts) == describing.facts:
            continue
        side: Label = "first" if int(_hash("coin", describing, user, attempt, pair), 16) % 2 else "second"
        fact = await _fact(model, pair, " ".join((user.seed, *facts)), side, describing, attempt)
        unusable += fact == ""
        if fact and fact not in " ".join((user.seed, *facts)):
            facts.append(fact)
            coins[pair.pair_id] = side
    after = await label_pairs(model, pairs, " ".join((user.seed, *facts)), describing.labelling)
    return SyntheticUser(
        **user.model_dump(),
        facts=tuple(facts),
        undecided=undecided,
        unusable=unusable,
        coins=coins,
        before=before,
        after=after,
        attempts=attempt + 1,
    )


def _hash(what: str, describing: Describing, user: SeedUser, attempt: int, pair: SyntheticPair) -> str:
    return stable_hash(what, str(describing.seed), user.key, str(attempt), pair.pair_id)


async def _fact(
    model: LanguageModel, pair: SyntheticPair, description: str, side: Label, describing: Describing, attempt: int
) -> str | None:
    """One fact after which a reader would expect the answer of `side` to be preferred; empty where the model writes no
    sentence about the person, None where the provider failed."""
    preferred, other = (pair.first, pair.second) if side == "first" else (pair.second, pair.first)
    prompt = load_prompt("fact", FOLDER)
    values = {"description": description, "question": pair.question, "preferred": preferred, "other": other}
    # Hosted models do not continue an answer; small ones leave the form without its beginning.
    begun = prompt.render("assistant") if describing.labelling.judge.style == "compact" else ""
    messages = prompt.messages(**values)
    messages = messages if begun else messages[:-1]
    request = Request(
        messages,
        describing.max_tokens,
        temperature=describing.temperature,
        seed=describing.seed,
        sample_index=attempt,
    )
    try:
        response = await model.complete(request)
    except ModelCallError as error:
        return None if failure_outcome(error) == "provider_error" else ""
    said = response.text.lstrip()
    # "The person" goes on with a word, or with "'s".
    blank = "" if said.startswith(("'", "’")) else " "
    return "" if is_refused(response) else as_fact(f"{begun}{blank}{said}", cut=response.cut)


def as_fact(text: str, *, cut: bool = False) -> str:
    r"""The first line of an answer, if it is a sentence about the person; of one that was cut, its whole sentences.

    >>> as_fact("\n- The person likes maps. The per", cut=True), as_fact("The person The person sails.\nMore.")
    ('The person likes maps.', 'The person sails.')
    >>> as_fact("The answer you gave is great."), as_fact("The person"), as_fact("The person owns a", cut=True)
    ('', '', '')
    """
    # A server may repeat the beginning that it was given.
    line = _REPEATED.sub(r"\1", first_line(text).lstrip("-*• "))
    if cut and "\n" not in text.strip():
        line = whole_sentences(line)
        line = line if line[-1:] in (".", "!", "?") else ""
    return line if _ABOUT.match(line) else ""


def decided_labels(labels: Iterable[PairLabel]) -> dict[str, Label]:
    """The labels that both orders agree on, by pair."""
    return {label.pair_id: label.label for label in labels if label.label}


@dataclass(frozen=True)
class Bounds:
    """Between which two users' disagreement should lie, where they have at least `pairs` labelled pairs in common."""

    least: float = 0.1
    most: float | None = None
    pairs: int = 10

    def hold(self, found: Disagreement) -> bool:
        """Whether a disagreement is within the bounds, or too uncertain to say."""
        within = found.difference >= self.least and (self.most is None or found.difference <= self.most)
        return within or found.n_pairs < self.pairs


def conflicting(
    order: Sequence[str], known: Mapping[tuple[str, str], Disagreement], bounds: Bounds
) -> dict[str, tuple[str, ...]]:
    """Users whose disagreement with an earlier user who stays is out of the bounds, each with all such users.

    `order` says who stays of two. The result depends on it and on the disagreements alone.
    """
    out: dict[str, set[str]] = {user: set() for user in order}
    for (one, other), found in known.items():
        if not bounds.hold(found):
            out[one].add(other)
            out[other].add(one)
    stay: set[str] = set()
    conflicts: dict[str, tuple[str, ...]] = {}
    for user in order:
        if out[user] & stay:
            conflicts[user] = tuple(sorted(out[user] & stay))
        else:
            stay.add(user)
    return conflicts
