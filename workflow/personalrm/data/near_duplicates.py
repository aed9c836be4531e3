"""Which texts of one user are near-duplicates: equal but for case, blanks, punctuation, digits and a few letters.

The paper names no such rule; normal form, measure and threshold are ours (config key `split.similarity`).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

# They choose how the character before them is drawn; Unicode counts them as marks, as it does accents.
_VARIATION_SELECTORS = frozenset({*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)})


class _Folding(dict[int, str]):
    """Table for `str.translate`: letters and their marks stay, a number of any script is 0, all else is dropped."""

    def __missing__(self, code: int) -> str:
        kind = unicodedata.category(chr(code))[0]
        kept = kind in "LM" and code not in _VARIATION_SELECTORS
        self[code] = "0" if kind == "N" else chr(code) if kept else ""
        return self[code]


_FOLDING = _Folding()


def folded(text: str) -> str:
    """Normal form in which texts are compared: letters alone, in one case, with `0` for each number.

    A text without letters and digits keeps its characters, so that "?" and "!" are two texts.

    >>> folded("What's the 2nd-best  café?"), folded("whats the 10nd best CAFÉ")
    ('whatsthe0ndbestcafé', 'whatsthe0ndbestcafé')
    >>> folded(" ?! ")
    '?!'
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return re.sub("0+", "0", plain.translate(_FOLDING)) or "".join(plain.split())


def near_duplicates(texts: Sequence[str], similarity: float) -> Iterator[tuple[int, int]]:
    """Yield index pairs of near-duplicates, the smaller index first: each pair of two different normal forms once, and
    each text with the first one of its normal form.

    `similarity` from 0 (exclusive) to 1: two texts are near-duplicates if this share of the letters of their normal
    forms, or more, is in both in the same order (twice the longest common subsequence over the sum of lengths).
    Time grows with the square of the number of different texts of like length; memory does not.
    """
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        known = first.setdefault(folded(text), index)
        if known != index:
            yield known, index
    if similarity < 1:
        for one, other in _alike(sorted(first, key=lambda form: (len(form), form)), similarity):
            yield min(first[one], first[other]), max(first[one], first[other])


def near_any(texts: Sequence[str], known: Iterable[str], similarity: float) -> list[bool]:
    """Whether each text is a near-duplicate of a known one; `similarity` as in `near_duplicates`."""
    from rapidfuzz.distance import Indel
    from rapidfuzz.process import extractOne

    forms = [folded(text) for text in texts]
    found = {folded(text) for text in known}
    others, least = sorted(found, key=len), similarity - 1e-6
    for form in {*forms} - found if similarity < 1 else ():
        ratio = (2 - least) / least
        near = others[
            bisect_left(others, len(form) / ratio, key=len) : bisect_right(others, len(form) * ratio, key=len)
        ]
        if extractOne(form, near, scorer=Indel.normalized_similarity, score_cutoff=least):
            found.add(form)
    return [form in found for form in forms]


def _alike(forms: Sequence[str], similarity: float) -> Iterator[tuple[str, str]]:
    """Pairs of different forms, which are sorted by length, that are similar enough."""
    from rapidfuzz.distance import Indel
    from rapidfuzz.process import extract

    # A hair below, as rapidfuzz drops some that reach the threshold exactly.
    least = similarity - 1e-6
    for place, form in enumerate(forms):
        # Where all letters of the shorter one (s of them) are in the longer (l), the share is 2s / (s + l).
        end = bisect_right(forms, len(form) * (2 - least) / least, lo=place, key=len)
        others = forms[place + 1 : end]
        scorer = Indel.normalized_similarity
        for other, _, _ in extract(form, others, scorer=scorer, score_cutoff=least, limit=None):
            yield form, other
