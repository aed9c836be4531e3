"""The table of persona preferences: which of a pair's two personas does a judge take for the better one to have?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.persona_pairs import SIDES, JudgedPreference
from personalrm.core.records import OUTCOMES, read_all
from personalrm.results.columns import Columns
from personalrm.results.comparisons import seed_of
from personalrm.results.lazy import pd
from personalrm.results.marks import mark_notes, marked
from personalrm.results.scores import percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import share_interval
from personalrm.results.tables.comparison_text import Shown, block_of, interval
from personalrm.studies.tailoring.results.persona_accuracy_table import (
    FLAGS,
    HEADINGS,
    JUDGED_KEY,
    answered,
    by_judge,
    headings,
    judged_flags,
)

SHARES = (*SIDES, "tie")
PREFERENCE_COUNTS = ("n_pairs", *(f"n_{name}" for name in SHARES), "n_unread", "n_lost", "no_persona")
PREFERENCE_COLUMNS = Columns(
    (*JUDGED_KEY, *PREFERENCE_COUNTS, *(f"{name}{end}" for name in SHARES for end in ("", "_low", "_high")), *FLAGS),
    texts=JUDGED_KEY,
    whole=PREFERENCE_COUNTS,
    flags=FLAGS,
)


def preference_table(rows: Iterable[JudgedPreference], *, seed: int, n_resamples: int) -> pd.DataFrame:
    """One row for each data set, model of the personas, judge and kind of verdict; columns `PREFERENCE_COLUMNS`.

    - n_pairs: pairs whose verdicts can all be read, of which shares are; n_chosen and so on: by the preferred persona.
    - n_unread: pairs with a verdict that cannot be read; n_lost: with one that the provider failed; no_persona: pairs
      that lack a persona. They are in no share.
    - chosen, rejected, tie: percent of pairs, with bounds.
    """
    return PREFERENCE_COLUMNS.frame(_row(key, mine, seed, n_resamples) for key, mine in by_judge(rows))


def _row(key: tuple[str, ...], rows: Sequence[JudgedPreference], seed: int, n_resamples: int) -> dict[str, Any]:
    outcomes: Counter[str] = Counter(verdict.outcome for row in rows for verdict in row.verdicts)
    lost = sum(len(answered(row.verdicts)) < len(row.verdicts) for row in rows)
    read: list[str] = [row.preferred for row in rows if row.preferred]
    unasked = sum(not row.verdicts for row in rows)
    values: dict[str, Any] = {f"n_{name}": read.count(name) for name in SHARES}
    for name in SHARES if read else ():
        hits = [int(one == name) for one in read]
        found = share_interval(hits, [1] * len(read), seed=seed_of(seed, *key, name), n_resamples=n_resamples)
        values |= percents(found, name, f"{name}_low", f"{name}_high")
    return {
        **dict(zip(JUDGED_KEY, key, strict=True)),
        "n_pairs": len(read),
        "n_unread": len(rows) - len(read) - lost - unasked,
        "n_lost": lost,
        "no_persona": unasked,
        **values,
        **judged_flags(outcomes, sum(outcomes[name] for name in OUTCOMES[:-1])),
    }


def build(judged_preferences: list[Path], *, seed: int, n_resamples: int) -> Table:
    """Make the table from the files of a run."""
    rows = read_all(judged_preferences, JudgedPreference)
    table = preference_table(rows, seed=seed, n_resamples=n_resamples)
    chosen = interval("chosen", "chosen_low", "chosen_high")
    shown: Shown = {
        **headings(table),
        "Chosen % [95 % CI]": lambda row: marked(chosen(row), {"lossy": False, **row}),
        "Tie % [95 % CI]": interval("tie", "tie_low", "tie_high"),
        "Rejected % [95 % CI]": interval("rejected", "rejected_low", "rejected_high"),
        "Pairs": "n_pairs",
        "Unread": "n_unread",
        "Lost": "n_lost",
        "No persona": "no_persona",
    }
    notes = [
        "A judge reads the two personas of a pair, without prompt and responses, and says which describes somebody who "
        "is better off; in both orders. Chosen or rejected: named in both orders; tie: the orders differ.",
        "Pairs with a verdict that cannot be read are in no share, as in the paper's code.",
        *mark_notes(table.assign(lossy=False)),
    ]
    return Table(table, (block_of(table, HEADINGS, shown),), notes)


RESULT = TableResult(
    name="persona_preferences",
    order=20,
    title="Which of the two personas of a pair is taken for the better one?",
    caption=(
        "Share of pairs whose chosen or rejected persona a judge prefers in both orders without seeing the pair, and "
        "of ties, with 95 % intervals."
    ),
    when="preference",
    build=build,
)
