"""The table of persona fidelity: is the user's own persona nearer to what the user stated than another user's?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from personalrm.core.records import OUTCOMES, Verdict, read_all
from personalrm.personas.records import Missing, UserFidelity
from personalrm.results.columns import Columns
from personalrm.results.comparisons import p_digits, seed_of
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, flags_of, mark_notes, marked
from personalrm.results.scores import percent, percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.exact_statistics import sign_flip_p
from personalrm.results.stats.statistics import paired_cluster_difference, share_interval
from personalrm.results.table_formats import EMPTY, Block, plain
from personalrm.results.tables.comparison_text import (
    READER_KEY,
    Shown,
    block_of,
    by_reader,
    chance,
    interval,
    notes_where,
    persona_headings,
)

FIDELITY_KEY: tuple[str, ...] = (*READER_KEY, "statement")
LEFT_OUT: dict[Missing, str] = {name: name.replace(" ", "_") for name in get_args(Missing)}
FIDELITY_COUNTS: tuple[str, ...] = ("n_users", *LEFT_OUT.values(), "n_verdicts", "own", "other", *OUTCOMES[2:])
SHARES: tuple[str, ...] = ("share_own", "ci_low", "ci_high", "p_value", "share_first")
MATCHES: tuple[str, ...] = (
    *("match_users", "match_own", "match_other"),
    *("match_difference", "match_ci_low", "match_ci_high", "match_p_value"),
)
FLAGS: tuple[str, ...] = FLAG_NAMES[:2]
FIDELITY_COLUMNS = Columns(
    (*FIDELITY_KEY, *FIDELITY_COUNTS, *SHARES, *MATCHES, *FLAGS),
    texts=FIDELITY_KEY,
    whole=(*FIDELITY_COUNTS, "match_users"),
    flags=FLAGS,
)
DECIDED: tuple[str, ...] = OUTCOMES[:2]
STATEMENT_LABELS: dict[str, str] = {
    "survey": "survey, own words",
    "planted": "planted taste",
    "none": EMPTY,
}


def fidelity_table(rows: Iterable[UserFidelity], *, seed: int, n_resamples: int) -> pd.DataFrame:
    """One row a data set, variant, profile model and judge; columns `FIDELITY_COLUMNS`.

    - statement: the source of the user's own words: "survey", "planted", both with " + ", or "none".
    - n_users, n_verdicts: users with answered verdicts, and these; no_statement, no_persona, no_other_persona: users
      without, by the first reason.
    - own, other: verdicts for the own persona and for the other user's; tie and the rest: all that was not decided;
      provider_error: verdicts that were lost, which are in no other column.
    - share_own: own of own + other in percent, bounds from a bootstrap over users.
    - p_value: `exact_statistics.sign_flip_p` of own less other by user.
    - share_first: percent of decided verdicts that named the persona shown first (50: no favourite place).
    - match_own, match_other: mean over users of the percent of decided verdicts in which the persona, shown alone, was
      judged to fit; difference with bounds (bootstrap over users) and p; empty where not asked. An order in which the
      verdicts of one side were lost is left out of both.
    - outage, unread: as `marks.Flags` has them.
    """
    return FIDELITY_COLUMNS.frame(_row(key, users, seed, n_resamples) for key, users in by_reader(rows))


def _row(key: tuple[str, ...], users: Sequence[UserFidelity], seed: int, n_resamples: int) -> dict[str, Any]:
    judged = [user for user in users if _answered(user.verdicts)]
    verdicts = [verdict for user in users for verdict in user.verdicts]
    outcomes, missing = Counter(verdict.outcome for verdict in verdicts), Counter(user.missing for user in users)
    own, other = ([sum(verdict.outcome == name for verdict in user.verdicts) for user in judged] for name in DECIDED)
    # Two orders of two personas are one thing that is judged.
    things = {(user.user_id, said.pair_id) for user in judged for said in user.verdicts if said.outcome in DECIDED}
    decided = [ours + theirs for ours, theirs in zip(own, other, strict=True)]
    share = share_interval(own, decided, seed=seed_of(seed, *key), n_resamples=n_resamples, units=len(things) or None)
    named = Counter(verdict.said for verdict in verdicts if verdict.said)
    n_verdicts = len(_answered(verdicts))
    flags = flags_of(
        judged=n_verdicts, lost=outcomes["provider_error"], unparsed=outcomes["unparsed"], lossy_profiles=0
    )
    return {
        **dict(zip(READER_KEY, key, strict=True)),
        "statement": " + ".join(sorted({user.statement for user in users if user.statement})) or "none",
        "n_users": len(judged),
        **{column: missing[name] for name, column in LEFT_OUT.items()},
        "n_verdicts": n_verdicts,
        "own": sum(own),
        "other": sum(other),
        **{name: outcomes[name] for name in OUTCOMES[2:]},
        **percents(share, *SHARES),
        "p_value": p_digits(sign_flip_p([a - b for a, b in zip(own, other, strict=True) if a + b])),
        "share_first": percent(named["first"] / named.total()) if named else None,
        **_matches(users, seed_of(seed, *key, "match"), n_resamples),
        **flags.columns(),
    }


def _answered(verdicts: Iterable[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.outcome != "provider_error"]


def _matches(users: Iterable[UserFidelity], seed: int, n_resamples: int) -> dict[str, float]:
    """How often personas were judged to fit when shown alone, over users with a decided verdict on both sides."""
    shares: list[tuple[float, float]] = []
    for user in users:
        had = _answered(user.matches)
        sides = [[verdict for verdict in had if (verdict.pair_id == user.user_id) == own] for own in (True, False)]
        # An order in which one side was lost says nothing of the difference.
        orders = set.intersection(*({verdict.swapped for verdict in side} for side in sides))
        fits = [[v.outcome for v in side if v.swapped in orders and v.outcome in DECIDED] for side in sides]
        if all(fits):
            own, other = (side.count("correct") / len(side) for side in fits)
            shares.append((own, other))
    if not shares:
        return {"match_users": 0}
    ours, theirs = zip(*shares, strict=True)
    found = paired_cluster_difference(ours, theirs, [1] * len(shares), seed=seed, n_resamples=n_resamples)
    means = (sum(side) / len(shares) for side in (ours, theirs))
    values = percents((*means, *found[:3]), *MATCHES[1:-1])
    return {"match_users": len(shares), **values, "match_p_value": p_digits(found.p_value)}


read_fidelity_table = FIDELITY_COLUMNS.read


def fidelity_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people; where personas were judged alone, that apart."""
    columns = persona_headings(table, profile_model="Personas by", judge_model="Judge")
    share = interval(*SHARES[:3])
    pairwise: Shown = {
        "Statement": _statement,
        "Users": "n_users",
        "Own persona preferred % [95 % CI]": lambda row: marked(share(row), {"lossy": False, **row}),
        "p": chance("p_value"),
        "Verdicts": "n_verdicts",
        "Undecided": lambda row: plain(sum(row[name] for name in OUTCOMES[2:-1])),
        "Provider errors": "provider_error",
        "First named %": "share_first",
        "No statement": "no_statement",
        "No persona": "no_persona",
        "No other": "no_other_persona",
    }
    alone: Shown = {
        "Statement": _statement,
        "Users": "match_users",
        "Own fits %": "match_own",
        "Other's fits %": "match_other",
        "Difference, points [95 % CI]": interval(*MATCHES[3:6], signed=True),
        "p": chance("match_p_value"),
    }
    n_names, asked = len(columns) + 1, table[table["match_users"] > 0]
    blocks = [block_of(table, columns, pairwise, n_names=n_names)]
    blocks += [block_of(asked, columns, alone, "Each persona alone: does it fit?", n_names)] if len(asked) else []
    return tuple(blocks)


def _statement(row: Mapping[str, object]) -> str:
    return " + ".join(STATEMENT_LABELS[part] for part in str(row["statement"]).split(" + "))


def fidelity_notes(table: pd.DataFrame, others: int) -> list[str]:
    """What a reader of the table must know; `others` is how many other users each persona was compared with."""
    several = "another user" if others == 1 else f"each of {others} other users"
    return [
        f"A judge reads what the user stated and two personas, the user's own and that of {several} of the same data "
        "set (drawn by a hash of the users' ids), and says which is of this person; every two personas in both orders.",
        "Own persona preferred: of all decided verdicts, with a 95 % interval from a bootstrap that resamples users. "
        "50 % is chance.",
        "p: exact sign-flip test over users, two-sided. Null: in each user, verdicts for the own persona less verdicts "
        "for the other are symmetric about 0, as if a fair coin had decided which of the two is called own; users are "
        "taken as independent, although one user's persona may be another's random one.",
        "First named: share of verdicts for the persona shown first; far from 50 %, the judge looks at the place.",
        "The paper reports 56.1 % against 47 % for a random user, p < 0.05 (PRISM, 70B; secondary source: its prompt, "
        "test and n are not published). Our own against other is another protocol, and not to be set beside it; each "
        "persona alone, where it was asked, is (table of reported numbers).",
        *notes_where(
            (
                (table["match_users"] > 0).any(),
                "Each persona alone: mean over users of the verdicts that it fits the person, own and other's; this is "
                "the nearest to the paper's two numbers, though prompts and judge differ. Interval and p from a paired "
                "bootstrap over users.",
            ),
            (
                table["statement"].str.contains("planted").any(),
                "Planted taste: bundled users state nothing; the sentence that their votes were made by stands in.",
            ),
            (
                (table["statement"] == "none").any(),
                "Data sets without statements have no fidelity: all their users are counted under No statement.",
            ),
        ),
        *mark_notes(table.assign(lossy=False)),
    ]


def build(fidelity: list[Path], *, seed: int, n_resamples: int, fidelity_others: int) -> Table:
    """Make the table from the files of a run."""
    table = fidelity_table(read_all(fidelity, UserFidelity), seed=seed, n_resamples=n_resamples)
    return Table(table, fidelity_blocks(table), fidelity_notes(table, fidelity_others))


RESULT = TableResult(
    name="fidelity",
    order=130,
    title="Does a learned persona fit what the user stated better than another user's persona?",
    caption=(
        "Share of verdicts that prefer the user's own persona to another user's, given what the user stated, with a 95"
        " % interval clustered by user and an exact sign-flip test over users."
    ),
    when="fidelity",
    mem_mb=2000,
    runtime=30,
    build=build,
)
