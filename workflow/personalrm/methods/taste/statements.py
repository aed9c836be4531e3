"""What a user's weights say in words: the measured persona.

A statement names one pole of a feature whose effect has a sure sign: pairs in which answers have more of it are votes
for it, or against it, whatever else differs there (`TasteWeights.effect`). Nothing is asked of a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from personalrm.core.lazy import np
from personalrm.core.tastes import Taste, TasteStatement, TasteWeights
from personalrm.judge.prompting import load_prompt
from personalrm.methods.taste.features import Votes

SURE = 0.9
"""Least probability of the sign of an effect in a statement."""
MOST = 6
"""Statements of a persona."""
MOST_VOTES = 3
"""Votes that a statement names as its support."""
STRENGTHS = (("strongly", 1.0), ("clearly", 0.5), ("somewhat", 0.0))
"""Words for what a feature adds to the log-odds of a typical pair, from so much on."""
PROMPT = "measured_persona"
SURFACE_POLES: Mapping[str, tuple[str, str]] = {
    "surface:characters": ("longer answers", "shorter answers"),
    "surface:paragraphs": ("answers in several paragraphs", "answers in one block of text"),
    "surface:list items": ("answers with lists", "answers without lists"),
    "surface:headings": ("answers with headings", "answers without headings"),
    "surface:code": ("answers that show code", "answers without code"),
    "surface:links": ("answers with links", "answers without links"),
    "surface:digits": ("answers with numbers", "answers with few numbers"),
    "surface:questions": ("answers that ask questions", "answers that ask no questions"),
    "surface:exclamation marks": ("answers with exclamation marks", "answers without exclamation marks"),
    "surface:hedges": ("answers with cautious words such as may or perhaps", "answers without words such as may"),
    "surface:first person": ("answers in the first person", "answers that avoid the first person"),
    "surface:second person": ("answers that address the reader as you", "answers that do not address the reader"),
}
"""Words for more and for less of each surface feature; they complete "This person prefers …"."""


class Poles(Protocol):
    """An attribute and its words for both poles, which complete "This person prefers …"."""

    @property
    def id(self) -> str:
        """Its name among the features."""

    @property
    def more(self) -> str:
        """The pole of more of it."""

    @property
    def less(self) -> str:
        """The pole of less of it."""


def statements(taste: Taste, bank: Iterable[Poles], votes: Votes, most: int = MOST) -> tuple[TasteStatement, ...]:
    """At most `most` statements about features with a sure sign, the strongest first.

    None for a user without a taste of their own. Features without words in the bank, as Default's log-odds, make none.
    A statement about a kind of question is made where the shared effect has no sure sign, or the other one. `votes` are
    those that the taste was learned from.
    """
    if not taste.own:
        return ()
    words = {**SURFACE_POLES, **{one.id: (one.more, one.less) for one in bank}}
    shared = list(_sure(taste, taste.weights, None, words, votes))
    known = {(one.feature, one.log_odds > 0) for one in shared}
    by_kind = [
        one
        for kind, weights in taste.kinds.items()
        for one in _sure(taste, weights, kind, words, votes)
        if (one.feature, one.log_odds > 0) not in known
    ]
    found = sorted([*shared, *by_kind], key=lambda one: (-abs(one.log_odds), one.feature, one.kind or ""))
    return tuple(found[:most])


def _sure(
    taste: Taste, weights: TasteWeights, kind: str | None, words: Mapping[str, tuple[str, str]], votes: Votes
) -> Iterable[TasteStatement]:
    named = votes.kinds or (None,) * len(votes.ids)
    mine = [place for place, one in enumerate(named) if kind is None or one == kind]
    rows = np.nan_to_num(votes.rows[mine])
    for place, (name, mean, sd) in enumerate(zip(taste.names, weights.effect, weights.effect_sd, strict=True)):
        column = rows[:, place]
        present = column[column != 0]
        if name not in words or not mean or not len(present):
            continue
        posterior = sign_probability(mean, sd)
        if posterior < SURE:
            continue
        adds = round(mean * float(np.sqrt((present**2).mean())), 6)
        support = sorted(((-mean * value, votes.ids[mine[at]]) for at, value in enumerate(column) if mean * value > 0))
        yield TasteStatement(
            feature=name,
            text=words[name][0 if mean > 0 else 1],
            strength=strength_word(adds),
            log_odds=adds,
            posterior=posterior,
            kind=kind,
            votes=tuple(pair_id for _, pair_id in support[:MOST_VOTES]),
        )


def sign_probability(mean: float, sd: float) -> float:
    """Probability that what has a Gaussian distribution has the sign of its mean."""
    return round(0.5 * (1 + math.erf(abs(mean) / sd / math.sqrt(2))), 6) if sd else 1.0


def strength_word(log_odds: float) -> str:
    """The word for what a feature adds to the log-odds of a typical pair.

    >>> strength_word(-1.2), strength_word(0.6), strength_word(0.1)
    ('strongly', 'clearly', 'somewhat')
    """
    return next(word for word, least in STRENGTHS if abs(log_odds) >= least)


def persona_text(found: Sequence[TasteStatement]) -> str | None:
    """The measured persona as text; None where nothing is sure."""
    return load_prompt(PROMPT).render("persona", statements=found) if found else None
