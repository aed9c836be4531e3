"""The table of recovery: how much of each planted taste do the personas state?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from personalrm.core.records import read_all
from personalrm.personas.records import UserRecovery
from personalrm.results.columns import Columns
from personalrm.results.comparisons import p_digits, seed_of
from personalrm.results.lazy import pd
from personalrm.results.marks import MOST_SPOILT, signs_of
from personalrm.results.scores import percent, percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.exact_statistics import sign_flip_p
from personalrm.results.stats.statistics import paired_cluster_difference, share_interval
from personalrm.results.table_formats import Block
from personalrm.results.tables.comparison_text import (
    DIFFERENCE,
    READER_KEY,
    Shown,
    block_of,
    by_reader,
    chance,
    interval,
    notes_where,
    persona_headings,
)

EVERYBODY = "all"
OUTAGE_MARK = signs_of(["outage"])
COUNTS: tuple[str, ...] = ("n_users", "no_facts", "no_persona", "n_facts", "unread")
SHARES: tuple[str, ...] = ("own", "own_low", "own_high", "other", "difference", "ci_low", "ci_high", "p_value")
RECOVERY_COLUMNS = Columns(
    (*READER_KEY, "user", *COUNTS, *SHARES, "outage"), texts=(*READER_KEY, "user"), whole=COUNTS, flags=("outage",)
)


def recovery_table(rows: Iterable[UserRecovery], *, seed: int, n_resamples: int) -> pd.DataFrame:
    """For each data set, variant, profile model and judge, a row for all users, then one per user; `RECOVERY_COLUMNS`.

    - user: `all`, or one who has facts and a persona.
    - no_facts, no_persona: users who are left out, by the reason. n_facts: facts of the others.
    - unread: answers, about own and others' personas, that could not be read.
    - own: percent of the facts that the user's own persona states; other: mean over others' personas of the same facts.
      Of everybody the mean over users, bounds from a bootstrap over users; difference paired by user.
    - p_value: `exact_statistics.sign_flip_p` of own less other by user.
    - outage: more than 1 % of the questions failed at the provider.
    """
    found: list[dict[str, Any]] = []
    for key, users in by_reader(rows):
        named = dict(zip(READER_KEY, key, strict=True))
        found.append({**named, "user": EVERYBODY, **_row(users, seed_of(seed, *key), n_resamples)})
        found += [{**named, "user": user.user_id, **_row([user], 0, 0)} for user in users if user.missing is None]
    return RECOVERY_COLUMNS.frame(found)


def _row(users: Sequence[UserRecovery], seed: int, n_resamples: int) -> dict[str, Any]:
    """Values over several users, or of one."""
    asked = [user for user in users if user.missing is None]
    answers = [answer for user in asked for said in user.stated.values() for answer in said]
    return {
        "n_users": len(asked),
        "no_facts": sum(user.missing == "no facts" for user in users),
        "no_persona": sum(user.missing == "no persona" for user in users),
        "n_facts": sum(len(user.facts) for user in asked),
        "unread": answers.count(None),
        "outage": sum(user.failed for user in asked) > MOST_SPOILT * sum(user.asked for user in asked),
        **_shares(asked, seed, n_resamples),
    }


def _shares(asked: Sequence[UserRecovery], seed: int, n_resamples: int) -> dict[str, float]:
    """Shares of own and others' facts, and their difference; bounds and p only where there are resamples."""
    sides = [(share(user, own=True), share(user, own=False)) for user in asked]
    own = [float(ours) for ours, _ in sides if ours is not None]
    paired = [(ours, theirs) for ours, theirs in sides if ours is not None and theirs is not None]
    ours, theirs = ([float(side[place]) for side in paired] for place in (0, 1))
    row = {"own": percent(sum(own) / len(own))} if own else {}
    if paired:
        row |= {"other": percent(sum(theirs) / len(theirs))}
        row |= {"difference": percent((sum(ours) - sum(theirs)) / len(ours))}
    settings: dict[str, Any] = {
        "seed": seed,
        "n_resamples": n_resamples,
        "units": sum(len(user.facts) for user, side in zip(asked, sides, strict=True) if side[0] is not None),
    }
    if own and n_resamples:
        row |= percents(share_interval(own, [1] * len(own), **settings)[1:], "own_low", "own_high")
    if paired and n_resamples:
        found = paired_cluster_difference(ours, theirs, [1] * len(paired), **settings)
        # The exact test counts whole numbers.
        scale = math.lcm(*(number.denominator for side in paired for number in side))
        exact = sign_flip_p([int((mine - other) * scale) for mine, other in paired])
        row |= percents(found[1:3], "ci_low", "ci_high") | {"p_value": p_digits(exact)}
    return row


def share(user: UserRecovery, *, own: bool) -> Fraction | None:
    """Share of the facts that could be read in the user's own persona, or in others'; None where none could."""
    answers = [a for whose, said in user.stated.items() if (whose == user.user_id) == own for a in said]
    read = [answer for answer in answers if answer is not None]
    return Fraction(sum(read), len(read)) if read else None


def recovery_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people: all users together, then each user."""
    columns = persona_headings(table, profile_model="Personas by", judge_model="Read by")
    own, everybody = interval("own", "own_low", "own_high"), table["user"] == EVERYBODY
    whole: Shown = {
        "Users": "n_users",
        "Facts": "n_facts",
        "Own persona states % [95 % CI]": lambda row: f"{own(row)} {OUTAGE_MARK}" if row["outage"] else own(row),
        "Others' personas state %": "other",
        "Difference, points [95 % CI]": interval(*DIFFERENCE, signed=True),
        "p": chance("p_value"),
        "Unread": "unread",
        "No facts": "no_facts",
        "No persona": "no_persona",
    }
    one: Shown = {
        "Facts": "n_facts",
        "Own persona states %": "own",
        "Others' personas state %": "other",
        "Unread": "unread",
    }
    blocks = [
        block_of(table[everybody], columns, whole),
        block_of(table[~everybody], columns | {"user": "User"}, one, "User by user"),
    ]
    return tuple(block for block in blocks if len(block.texts))


def recovery_notes(table: pd.DataFrame, others: int) -> list[str]:
    """What a reader of the table must know; `others` is how many other users' personas were read."""
    return [
        "Each bundled user's votes were made from a planted taste; a rubric says in two or three facts what of it a "
        "persona could state. A model reads one persona and says of each fact whether the persona states it, in "
        "whatever words; too general to tell, or the contrary, is no. It sees no vote, and no strings are compared.",
        f"Others' personas: the same facts, read in the personas of {others} other users of the data set (drawn by a "
        "hash of the users' ids). That is chance: a persona that fits everybody states them, too.",
        "Means over users; intervals from a bootstrap over users, paired for the difference. p: exact sign-flip test "
        "over users, two-sided (null: own less others' is symmetric about 0 in each user). With few users and facts "
        "only large differences show: of eight users each moves the mean by up to 12.5 points; p is at least 0.008.",
        *notes_where(
            (
                table["outage"].any(),
                f"{OUTAGE_MARK}: more than {100 * MOST_SPOILT:g} % of the questions were lost to provider errors. Not "
                "a result.",
            )
        ),
    ]


def build(recovery: list[Path], *, seed: int, n_resamples: int, recovery_others: int) -> Table:
    """Make the table from the files of a run."""
    table = recovery_table(read_all(recovery, UserRecovery), seed=seed, n_resamples=n_resamples)
    return Table(table, recovery_blocks(table), recovery_notes(table, recovery_others))


RESULT = TableResult(
    name="recovery",
    order=140,
    title="How much of each planted taste does the persona recover?",
    caption=(
        "Percent of the facts of each user's planted taste that the user's own persona states, and that other users' "
        "personas state (chance), as a model reads them; means over users with a 95 % interval clustered by user."
    ),
    when="recovery",
    mem_mb=2000,
    runtime=30,
    build=build,
)
