"""Disjoint parts of one user's context: how far do personas that are learned from each agree?

The paper's protocol is not published; this is ours. A part is learned from as k context pairs are, but as far as the
persona alone: nobody judges by it. The validation pairs, which choose among candidates, are the same for all parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from personalrm.core.conditions import K
from personalrm.core.files import stable_hash
from personalrm.core.records import PreferencePair

CONVERSATION_TYPES: tuple[str, ...] = ("unguided", "values guided", "controversy guided")
"""PRISM's words, in the order of the parts; no other source states types."""
N_PARTS: dict[K, int] = {"halves": 2, "types": len(CONVERSATION_TYPES)}
"""Number of parts, each of which is a draw, by the name that is given as k."""


def part_of(pairs: Sequence[PreferencePair], k: K, part: int, seed: int) -> tuple[PreferencePair, ...]:
    """One part of a user's pairs, in their order; none where there are no two parts to compare.

    "halves": the conversations (a pair without one is its own), every other one of a seeded order. "types": the
    conversations of one of `CONVERSATION_TYPES`.
    """
    if k == "types":
        parts = [tuple(pair for pair in pairs if pair.conversation_type == kind) for kind in CONVERSATION_TYPES]
    else:
        names = {_conversation(pair) for pair in pairs}
        order = sorted(names, key=lambda name: stable_hash(str(seed), "halves", *(p.user_id for p in pairs[:1]), *name))
        halves = (set(order[number :: N_PARTS["halves"]]) for number in range(N_PARTS["halves"]))
        parts = [tuple(pair for pair in pairs if _conversation(pair) in half) for half in halves]
    return parts[part] if sum(map(bool, parts)) > 1 else ()


def _conversation(pair: PreferencePair) -> tuple[str, str]:
    return ("pair", pair.pair_id) if pair.conversation_id is None else ("conversation", pair.conversation_id)


def why_none(k: K) -> str:
    """Why a user has no part of the context."""
    if k == "types":
        return "no conversation of this type in the context, or of no other type"
    return "the context has one conversation"
