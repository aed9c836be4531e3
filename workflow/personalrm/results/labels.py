"""Names that people read for the ids that the code uses, and the order in which methods are listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from personalrm.core.records import K_NAMES
from personalrm.methods.registry import METHODS, Mark, mark_of

if TYPE_CHECKING:
    import pandas as pd

METHOD_LABELS: dict[str, str] = {name: method.label or name for name, method in METHODS.items()}
"""Method id to label, in the order of tables and figures."""

METHOD_ORDER: tuple[str, ...] = tuple(METHOD_LABELS)

VERDICT_LABELS: dict[str, str] = {
    "": "",
    "logprob": " · log-prob, each order",
    "logprob_both": " · log-prob, both orders",
}
"""Suffix of a method id (after its dot) to what is added to its label."""

UNUSED = "-"
"""Stands in a table for a model or a `k` that the method does not use."""

OK, NOT_RUN, NOT_APPLICABLE, NO_VERDICTS, NO_ANSWERS = "ok", "not run", "not applicable", "no verdicts", "no answers"
"""What a row or cell of a table holds: a number; or none, because nothing of it is among the verdicts, the method
applies to none of its users, no user has a verdict, or the provider answered nothing."""

ALL = "all"
"""Stands in a table for `k` = all context pairs of a user."""


def method_label(method: str, labels: Mapping[str, str] = METHOD_LABELS) -> str:
    """Label of a method id with its verdict suffix; an id without a label stands for itself.

    >>> method_label("both.logprob")
    'SynthesizeMe: persona + demonstrations · log-prob, each order'
    >>> method_label("oracle@all")
    'Oracle (planted taste), all pairs'
    >>> method_label("mine.extra")
    'mine.extra'
    """
    if method in labels:
        return labels[method]
    base, everything, verdict = _parts(method)
    if base in labels and verdict in VERDICT_LABELS:
        return labels[base] + (", all pairs" if everything else "") + VERDICT_LABELS[verdict]
    return method


def method_mark(method: str) -> Mark:
    """Colour and marker of a method id, whatever its verdict suffix or pairs: one mark means one method."""
    return mark_of(_parts(method)[0])


def _parts(method: str) -> tuple[str, bool, str]:
    """Base, whether all pairs are judged (`@all`), and verdict suffix of a method id."""
    name, _, verdict = method.partition(".")
    base, at, _ = name.partition("@")
    return base, bool(at), verdict


def method_rank(method: str, order: Sequence[str] = METHOD_ORDER) -> tuple[int, bool, int, str]:
    """Sort key of a method id: place of its base in `order` (unknown ones last, by name), then verdict."""
    base, everything, verdict = _parts(method)
    place = order.index(base) if base in order else len(order)
    known = list(VERDICT_LABELS)
    return place, everything, known.index(verdict) if verdict in known else len(known), method


def k_rank(k: str) -> tuple[int, int]:
    """Sort key of a `k` as tables write it: not applicable, then numbers, then all."""
    if k == UNUSED:
        return 0, 0
    return (2, 0) if k == ALL else (1, int(k))


def k_label(k: int | None) -> str:
    """How tables write `k`: "-" where the method reads no context pairs, else its name (`K_NAMES`) or the number."""
    return UNUSED if k is None else K_NAMES.get(k, str(k))


def exempt_note(statuses: pd.Series[str]) -> list[str]:
    """What "not applicable" means, where a row says so."""
    text = (
        f"{NOT_APPLICABLE}: the method applies to none of the row's users, for want of a survey, a planted taste, a "
        "level A or verdicts as text; their rows in the verdict files say which."
    )
    return [text] if bool((statuses == NOT_APPLICABLE).any()) else []


def labels_note(methods: Iterable[str]) -> list[str]:
    """Which labels the methods read, where a row of the table has a winner chosen by validation pairs."""
    shown = {method.partition(".")[0] for method in methods}
    if not any("search" in METHODS[name].stages for name in shown & METHODS.keys()):
        return []
    return [
        "k counts context pairs. SynthesizeMe (and the criteria judge, which reads its profile) learns from these, and "
        "all validation pairs choose the winner among its candidates at every k, 1 included. Memory reads the k "
        "context pairs alone and History all context pairs: with the default split SynthesizeMe uses the labels of "
        "70 % of a user's pairs, Memory and History those of 50 %. History (context and validation) reads as many "
        "labels as SynthesizeMe.",
    ]
