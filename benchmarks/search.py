"""Calls and tokens of `fit`: the authors' package (its cache on), ours, and ours asking everything, side by side.

    python benchmarks/search.py [--users 20] [--json FILE]

One scripted model answers all of them by the content of the pair, on the same generated users of 4 to 20 pairs
(tests/parity). It reports the number of distinct requests that the server saw, of all that were sent, and whether the
winners of both searches are those of the side that asks everything: for `as_published` the package itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from parity.content import answer
from parity.sides import Found, Users, make_users, run_ours, run_package
from proxy import CountingProxy
from support.scripted_server import ScriptedServer

from personalrm.core.files import atomic_write_text
from personalrm.methods.synthesizeme.variants import CORRECTED, PUBLISHED

PACKAGE, EXHAUSTIVE = "package", "everything asked"
STOP, STOPPED = {"stop_at_score": 80}, ", stop at 80"
"""The package's stop score: part of `as_published`, and what `corrected` would save with it."""
BAR = 0.60
"""Of the package's distinct calls, on users with `LARGE` pairs and more."""
LARGE = 12
SMALL_USERS, LARGE_USERS = f"under {LARGE}", f"{LARGE} and more"
OURS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (PUBLISHED, EXHAUSTIVE, {"exhaustive": True}),
    *((PUBLISHED, f"{n} at a time", {"parallel_candidates": n}) for n in (1, 8, 16)),
    (CORRECTED, EXHAUSTIVE, {"exhaustive": True}),
    *((CORRECTED, f"{n} at a time", {"parallel_candidates": n}) for n in (1, 8, 16)),
    (CORRECTED, EXHAUSTIVE + STOPPED, {"exhaustive": True, **STOP}),
    *((CORRECTED, f"{n} at a time{STOPPED}", {"parallel_candidates": n, **STOP}) for n in (1, 8)),
)
"""Variant, what it is called, and its settings of the search: how many candidates are tried at a time."""


@dataclass(frozen=True)
class Row:
    """One side on the users of one size. `share` is of the package's distinct calls; `equal_winners` counts users."""

    pairs: str
    side: str
    search: str
    users: int
    distinct: int
    sent: int
    tokens_in: int
    tokens_out: int
    share: float
    equal_winners: int


@dataclass(frozen=True)
class Measured:
    """A side: what it found, and its calls by user (distinct, sent, tokens in, tokens out)."""

    found: Found
    counts: Mapping[str, tuple[int, int, int, int]]


def measured(found: Found, proxy: CountingProxy) -> Measured:
    """Assign the calls to users: one is fitted after the other."""
    counts = {}
    for name, user in found.items():
        calls = proxy.between(*user["fitted"])
        tokens = sum(call.tokens_in for call in calls), sum(call.tokens_out for call in calls)
        counts[name] = (len({call.body for call in calls}), len(calls), *tokens)
    return Measured(found, counts)


def measure(users: Users, candidates: int) -> dict[tuple[str, str], Measured]:
    """Fit all users with every side, by side and kind of search."""
    same: dict[str, Any] = {"num_search_candidates": candidates}
    sides = {}
    with ScriptedServer(answer) as server, tempfile.TemporaryDirectory() as folder:
        with CountingProxy(server.url) as proxy:
            found = run_package(users, proxy.url, Path(folder), **same)
            sides[PACKAGE, "cache on"] = measured(found, proxy)
        for variant, name, search in OURS:
            with CountingProxy(server.url) as proxy:
                found = run_ours(users, proxy.url, variant, {"search": search}, **same)
                sides[variant, name] = measured(found, proxy)
    return sides


def same_winner(found: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
    """Whether the persona (it depends on the winner of the first search) and the demonstrations are the same."""
    return all(found[what] == reference[what] for what in ("persona", "shown"))


def rows(users: Users, sides: Mapping[tuple[str, str], Measured]) -> list[Row]:
    """A row a side, for small and for large users."""
    made = []
    package = sides[PACKAGE, "cache on"]
    for label, large in ((SMALL_USERS, False), (LARGE_USERS, True)):
        names = [name for name, user in users.items() if (len(user["fit"]) >= LARGE) == large]
        for (side, search), one in sides.items() if names else ():
            everything = EXHAUSTIVE + (STOPPED if search.endswith(STOPPED) else "")
            reference = sides[CORRECTED, everything] if side == CORRECTED else package
            distinct, sent, tokens_in, tokens_out = (sum(one.counts[name][i] for name in names) for i in range(4))
            share = distinct / sum(package.counts[name][0] for name in names)
            equal = sum(same_winner(one.found[name], reference.found[name]) for name in names)
            made.append(
                Row(label, side, search, len(names), distinct, sent, tokens_in, tokens_out, round(share, 3), equal)
            )
    return made


def report(found: Sequence[Row]) -> str:
    """The rows as a table, and what became of the bar."""
    heads = ("pairs", "side", "search", "users", "distinct", "sent", "tokens in", "tokens out", "share", "same winner")
    lines: list[tuple[str, ...]] = [heads]
    for row in found:
        shown = (row.users, row.distinct, row.sent, row.tokens_in, row.tokens_out)
        share, winners = f"{row.share:.0%}", f"{row.equal_winners} of {row.users}"
        lines.append((row.pairs, row.side, row.search, *map(str, shown), share, winners))
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    ours = [row for row in found if row.side == PUBLISHED and row.search != EXHAUSTIVE]
    for row in (row for row in ours if row.pairs == LARGE_USERS):
        verdict = "reached" if row.share <= BAR and row.equal_winners == row.users else "NOT reached"
        text.append(f"bar: {BAR:.0%} of the package's distinct calls, {row.search}: {row.share:.1%}, {verdict}")
    return "\n".join(text)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and keep the rows as JSON where asked to."""
    parser = argparse.ArgumentParser(description="Calls and tokens of the search beside the authors' package.")
    parser.add_argument("--users", type=int, default=20, help="generated users")
    parser.add_argument("--candidates", type=int, default=10, help="random candidates of each search")
    parser.add_argument("--json", type=Path, default=None, help="write the rows here, too")
    given = parser.parse_args(arguments)
    users = make_users(given.users, n_test=0)
    found = rows(users, measure(users, given.candidates))
    print(report(found))
    if given.json is not None:
        atomic_write_text(given.json, json.dumps([asdict(row) for row in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
