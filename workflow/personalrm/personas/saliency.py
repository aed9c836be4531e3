"""Words that tell personas of chosen responses from those of rejected ones: P(label | word)
(Balepur et al., "Whose Boat Does it Float?", ACL 2025, Table 1).

Differs from the paper: words are not lemmatised, and by default the contrast markers are whole words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from personalrm.core.persona_pairs import SIDES, Side

Contrast = Literal["whole_words", "as_published"]
MARKERS = ("rather than", "over", "versus", "compared to", "instead of")
"""After these a persona names what the person does not want."""
_SUBSTRINGS = "|".join(MARKERS)
_CUTS: Mapping[Contrast, re.Pattern[str]] = {
    "whole_words": re.compile(rf"\b(?:{_SUBSTRINGS})\b"),
    "as_published": re.compile(_SUBSTRINGS),
}
_DROPPED = str.maketrans("", "", ",.'")


def words_of(persona: str, contrast: Contrast = "whole_words") -> list[str]:
    """Words of the first sentence of a persona up to the first contrast marker, in lower case, without commas, full
    stops and apostrophes.

    >>> words_of("The user values cover, rather than speed. Likes tea.")
    ['the', 'user', 'values', 'cover']
    >>> words_of("The user values cover, rather than speed.", "as_published")
    ['the', 'user', 'values', 'c']
    """
    sentence = persona.lower().split(".")[0]
    positive = _CUTS[contrast].split(sentence, maxsplit=1)[0]
    return [word for word in (part.translate(_DROPPED) for part in positive.split()) if word]


@dataclass(frozen=True)
class Salient:
    """A word: how often it is in personas of each side, one entry per pair that has it, and its share on one side."""

    word: str
    counts: tuple[tuple[int, int], ...]
    share: float

    @property
    def count(self) -> int:
        """Occurrences in personas of both sides."""
        return sum(map(sum, self.counts))


def salient_words(
    personas: Iterable[Mapping[Side, str]], contrast: Contrast, *, cutoff: int, top: int
) -> dict[Side, list[Salient]]:
    """The words with the largest P(side | word) of each side, of those that occur `cutoff` times or more.

    `personas` are those of each pair. Ordered by that share and the count, both falling, then by the word.
    """
    by_word: dict[str, list[tuple[int, int]]] = {}
    for pair in personas:
        found = [Counter(words_of(pair.get(side, ""), contrast)) for side in SIDES]
        for word in found[0] | found[1]:
            by_word.setdefault(word, []).append((found[0][word], found[1][word]))
    ranked: dict[Side, list[Salient]] = {}
    for place, side in enumerate(SIDES):
        words = [
            Salient(word, tuple(counts), sum(count[place] for count in counts) / total)
            for word, counts in by_word.items()
            if (total := sum(map(sum, counts))) >= cutoff
        ]
        ranked[side] = sorted(words, key=lambda one: (-one.share, -one.count, one.word))[:top]
    return ranked
