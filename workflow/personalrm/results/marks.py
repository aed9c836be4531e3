"""Marks of spoilt numbers: reasons, the share from which a number is marked, and the notes that explain them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from personalrm.results.lazy import pd

MOST_SPOILT = 0.01
"""A number is marked where a larger share of the judgments behind it was lost, or could not be read."""

MOST_CUT = 0.05
"""Answers in words that end at their limit of tokens are told of where they are more than this share (our choice)."""


class Flags(NamedTuple):
    """What spoils a number. The names are columns of the tables, some with a prefix.

    - outage: more than 1 % of the judgments were lost to provider errors. They are left out of the number.
    - unread: more than 1 % of the answers could not be read (`unparsed`). They count as not right.
    - lossy: it rests on a profile in whose learning the provider failed a call.
    """

    outage: bool = False
    unread: bool = False
    lossy: bool = False

    def columns(self, prefix: str = "") -> dict[str, bool]:
        """The flags as columns of a table."""
        return {prefix + name: flag for name, flag in self._asdict().items()}

    def __or__(self, other: Flags) -> Flags:
        """What spoils either of two numbers."""
        return Flags(*(one or two for one, two in zip(self, other, strict=True)))


FLAG_NAMES: tuple[str, ...] = Flags._fields
SIGNS: dict[str, str] = {"outage": "!", "unread": "?", "lossy": "~"}
NOTES: dict[str, str] = {
    "outage": f"more than {100 * MOST_SPOILT:g} % of the judgments were lost to provider errors. Not a result.",
    "unread": f"more than {100 * MOST_SPOILT:g} % of the answers could not be read and count as not right.",
    "lossy": "profiles among those judged with were learned with lost calls, and may be others with these answered.",
}
RETRY = (
    "`personalrm retry` with the folder of the run removes what rests on lost calls, so that the next run asks again."
)


def flags_of(*, judged: int, lost: int, unparsed: int, lossy_profiles: int) -> Flags:
    """Flags of so many judgments that were answered (`unparsed` of them unread) and lost."""
    return Flags(
        outage=lost > MOST_SPOILT * (judged + lost), unread=unparsed > MOST_SPOILT * judged, lossy=lossy_profiles > 0
    )


def prefixed(*prefixes: str) -> tuple[str, ...]:
    """Columns of the flags under each of the prefixes."""
    return tuple(prefix + name for prefix in prefixes for name in FLAG_NAMES)


def mark(row: Mapping[str, object], *prefixes: str) -> str:
    """The mark of a row of a table, `(!)` or `(!~)`, of the flags under any of the prefixes; empty without any."""
    return signs_of(name for name in FLAG_NAMES if any(bool(row[prefix + name]) for prefix in prefixes or ("",)))


def signs_of(names: Iterable[str]) -> str:
    """The mark of some flags; empty without any."""
    signs = "".join(SIGNS[name] for name in names)
    return f"({signs})" if signs else ""


def marked(text: str, row: Mapping[str, object], *prefixes: str) -> str:
    """A text with the mark of its row after it."""
    return f"{text} {mark(row, *prefixes)}".rstrip()


def mark_notes(table: pd.DataFrame, *prefixes: str) -> list[str]:
    """What the marks mean, for those that a row of the table carries."""
    return notes_of(
        name for name in FLAG_NAMES if any(bool(table[prefix + name].any()) for prefix in prefixes or ("",))
    )


def notes_of(names: Iterable[str]) -> list[str]:
    """Notes of some flags."""
    return [f"({SIGNS[name]}): {NOTES[name]}" for name in names]
