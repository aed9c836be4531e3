"""Names that people read for the ids that the code uses, and the order in which methods are listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from personalrm.core.conditions import PAIRS, K, MethodId, Pairs
from personalrm.methods.base import Mark
from personalrm.methods.registry import METHODS, mark_of
from personalrm.results.lazy import pd

METHOD_LABELS: dict[str, str] = {name: method.label or name for name, method in METHODS.items()}
"""Method id to label, in the order of tables and figures."""

METHOD_ORDER: tuple[str, ...] = tuple(METHOD_LABELS)

VERDICT_LABELS: dict[str, str] = {
    "text": "",
    "logprob": " · log-prob, each order",
    "logprob_both": " · log-prob, both orders",
}
"""How verdicts are read, to what is added to a method's label."""

UNUSED = "-"
"""Stands in a table for a model or a `k` that the method does not use."""

PAIRS_LABELS: dict[Pairs, str] = {"test": "", "all": ", all pairs", "loo": ", leave-one-conversation-out"}
"""Added to the label of a method for the pairs that it is judged on."""
OK, NOT_RUN, NOT_APPLICABLE, NO_VERDICTS, NO_ANSWERS = "ok", "not run", "not applicable", "no verdicts", "no answers"
"""What a row or cell of a table holds: a number; or none, because nothing of it is among the verdicts, the method
applies to none of its users, no user has a verdict, or the provider answered nothing."""

ALL = "all"
"""Stands in a table for `k` = all context pairs of a user."""


def method_label(method: str) -> str:
    """Label of a method id; an id without a label is its own label.

    >>> method_label("both.logprob")
    'SynthesizeMe: persona + demonstrations · log-prob, each order'
    >>> method_label("oracle@all")
    'Oracle (planted taste), all pairs'
    >>> method_label("mine.logprob")
    'mine.logprob'
    """
    if method in METHOD_LABELS:
        return METHOD_LABELS[method]
    parsed = MethodId.parse(method)
    return METHOD_LABELS[parsed.name] + judged_label(parsed) if parsed.name in METHOD_LABELS else method


def judged_label(method: MethodId) -> str:
    """What a method is judged on and how verdicts are read, as it is added to the method's label; empty for words on
    test pairs."""
    return PAIRS_LABELS[method.pairs] + VERDICT_LABELS[method.verdict]


def method_mark(method: str) -> Mark:
    """Colour and marker of a method id, whatever its pairs and verdicts: one mark means one method."""
    return mark_of(MethodId.parse(method).name)


def is_told(method: str) -> bool:
    """Whether a method is given what every other has to find out, so that it is no rival of theirs.

    >>> is_told("oracle.logprob"), is_told("both"), is_told("mine")
    (True, False, False)
    """
    name = MethodId.parse(method).name
    return name in METHODS and METHODS[name].told


def method_rank(method: str, order: Sequence[str] = METHOD_ORDER) -> tuple[int, int, int, str]:
    """Sort key of a method id: place of its name in `order` (unknown ones last, by name), then pairs and verdict."""
    name, pairs, verdict = MethodId.parse(method)
    place = order.index(name) if name in order else len(order)
    return place, PAIRS.index(pairs), list(VERDICT_LABELS).index(verdict), method


def k_rank(k: str) -> tuple[int, int]:
    """Sort key of a `k` as tables write it: not applicable, then numbers, then all."""
    if k == UNUSED:
        return 0, 0
    return (2, 0) if k == ALL else (1, int(k))


def k_label(k: K | None) -> str:
    """How tables write `k`: "-" where the method reads no context pairs."""
    return UNUSED if k is None else str(k)


def exempt_note(statuses: pd.Series[str]) -> list[str]:
    """What "not applicable" means, where a row says so."""
    text = (
        f"{NOT_APPLICABLE}: the method applies to none of the row's users, for want of a survey, a planted taste, a "
        "level A or verdicts as text; their rows in the verdict files say which."
    )
    return [text] if bool((statuses == NOT_APPLICABLE).any()) else []


def labels_note(methods: Iterable[str]) -> list[str]:
    """Which labels the methods read, where those of validation pairs are among them."""
    shown = {MethodId.parse(method).name for method in methods} & METHODS.keys()
    validated = [METHOD_LABELS[name] for name in METHOD_ORDER if name in shown and METHODS[name].validation]
    notes = [f"At every k these read all validation pairs, too: {', '.join(validated)}."] if validated else []
    if not any("search" in METHODS[name].stages for name in shown):
        return notes
    return [
        "k counts context pairs. SynthesizeMe (and the criteria judge, which reads its profile) learns from these, and "
        "all validation pairs choose the winner among its candidates at every k, 1 included. Memory reads the k "
        "context pairs alone and History all context pairs: with the default split SynthesizeMe uses the labels of "
        "70 % of a user's pairs, Memory and History those of 50 %. History (context and validation) reads as many "
        "labels as SynthesizeMe.",
        *notes,
    ]
