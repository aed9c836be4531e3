"""The table of persona accuracy: does a judge who reads a persona pick the response that it was inferred from?"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from personalrm.core.generations import JudgedAnswers
from personalrm.core.persona_pairs import SIDES, JudgedPersonas, JudgedPreference
from personalrm.core.records import OUTCOMES, Verdict, read_all
from personalrm.results.columns import Columns
from personalrm.results.comparisons import seed_of
from personalrm.results.labels import VERDICT_LABELS
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, flags_of, mark_notes, marked
from personalrm.results.scores import percent, percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import share_interval
from personalrm.results.table_formats import plain
from personalrm.results.tables.comparison_text import Shown, block_of, decimals, interval

JUDGED_KEY: tuple[str, ...] = ("dataset", "model", "judge", "verdict")
ACCURACY: tuple[str, ...] = ("accuracy", "ci_low", "ci_high")
ALL = "all"
NO_ANSWER = ("refused", "context_overflow")
"""Outcomes of judgments without any answer: nulls in the paper's code, which skips them."""
FLAGS: tuple[str, ...] = FLAG_NAMES[:2]
R = TypeVar("R", JudgedPersonas, JudgedPreference, JudgedAnswers)
PERSONA_COUNTS: tuple[str, ...] = ("n_pairs", "no_persona", "n_verdicts", *OUTCOMES)
MEANS: tuple[str, ...] = ("accuracy_read", "standard_error", "share_first", "reported")
ACCURACY_COLUMNS = Columns(
    (*JUDGED_KEY, "side", *PERSONA_COUNTS, *ACCURACY, *MEANS, *FLAGS),
    texts=(*JUDGED_KEY, "side"),
    whole=PERSONA_COUNTS,
    flags=FLAGS,
)
HEADINGS: dict[str, str] = {"dataset": "Data set", "model": "Personas by", "judge": "Judge"}
Reported = Mapping[tuple[str, ...], float]
"""Reported accuracy in percent by data set, model and side, in the names of a run."""


def accuracy_table(
    rows: Iterable[JudgedPersonas], *, seed: int, n_resamples: int, reported: Reported | None = None
) -> pd.DataFrame:
    """One row for each data set, model of the personas, judge, kind of verdict and side; columns `ACCURACY_COLUMNS`.

    - side: personas of chosen responses, of rejected ones, or `all`.
    - n_pairs: pairs with answered verdicts; no_persona: personas that are missing; n_verdicts: answered verdicts, two
      for each persona (one where both orders make one verdict).
    - correct and the rest: their outcomes; provider_error: lost verdicts, which are in no other column.
    - accuracy: percent correct of answered verdicts, bounds from a bootstrap over pairs.
    - accuracy_read: the same without judgments that have no answer, as in the paper's code; standard_error: of that
      mean, judgments as independent (points).
    - share_first: percent of decided verdicts that named the response shown first (50: no favourite place).
    - reported: the paper's accuracy, where the config names its data set and model.
    """
    return ACCURACY_COLUMNS.frame(
        {**_row(key, side, mine, seed, n_resamples), "reported": (reported or {}).get((*key[:2], side))}
        for key, mine in by_judge(rows)
        for side in (*SIDES, ALL)
    )


def by_judge(
    rows: Iterable[R], names: Sequence[str] = ("dataset", "model", "judge", "mode")
) -> Iterator[tuple[tuple[str, ...], list[R]]]:
    """Judged rows by these values (those of `JUDGED_KEY`), in the order of the files; those of a group by pair, so that
    resamples do not depend on the shards."""
    groups: dict[tuple[str, ...], list[R]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, name) for name in names), []).append(row)
    for key, mine in groups.items():
        yield key, sorted(mine, key=lambda row: row.pair_id)


def _row(
    key: tuple[str, ...], side: str, rows: Sequence[JudgedPersonas], seed: int, n_resamples: int
) -> dict[str, Any]:
    sides = SIDES if side == ALL else tuple(name for name in SIDES if name == side)
    said = [[verdict for name in sides for verdict in row.verdicts.get(name, ())] for row in rows]
    verdicts = [verdict for mine in said for verdict in mine]
    outcomes: Counter[str] = Counter(verdict.outcome for verdict in verdicts)
    judged = [mine for mine in map(answered, said) if mine]
    right, asked = [sum(v.outcome == "correct" for v in mine) for mine in judged], list(map(len, judged))
    own = seed_of(seed, *key, side)
    # Both orders, and both personas, of a pair are no independent judgments.
    found = share_interval(right, asked, seed=own, n_resamples=n_resamples, units=len(judged) or None)
    n_verdicts = sum(asked)
    n_read = n_verdicts - sum(outcomes[name] for name in NO_ANSWER)
    read = outcomes["correct"] / n_read if n_read else None
    named = Counter(verdict.said for verdict in verdicts if verdict.said)
    return {
        **dict(zip(JUDGED_KEY, key, strict=True)),
        "side": side,
        "n_pairs": len(judged),
        "no_persona": sum(name not in row.verdicts for row in rows for name in sides),
        "n_verdicts": n_verdicts,
        **{name: outcomes[name] for name in OUTCOMES},
        **(percents(found, *ACCURACY) if judged else {}),
        "accuracy_read": None if read is None else percent(read),
        "standard_error": None if read is None else percent((read * (1 - read) / n_read) ** 0.5),
        "share_first": percent(named["first"] / named.total()) if named else None,
        **judged_flags(outcomes, n_verdicts),
    }


def answered(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Verdicts that the provider did not lose."""
    return [verdict for verdict in verdicts if verdict.outcome != "provider_error"]


def judged_flags(outcomes: Mapping[str, int], judged: int) -> dict[str, bool]:
    """The flags of so many answered verdicts with these outcomes."""
    lost, unparsed = outcomes["provider_error"], outcomes["unparsed"]
    return flags_of(judged=judged, lost=lost, unparsed=unparsed, lossy_profiles=0).columns()


def read_reported(path: Path, datasets: Mapping[str, str], models: Mapping[str, str]) -> Reported:
    """Reported accuracies in the names of a run; `datasets` and `models` map these to the paper's. `all` is the mean of
    the two sides, which have equally many judgments."""
    with path.open(encoding="utf-8", newline="") as stream:
        known = {(row["dataset"], row["model"], row["side"]): float(row["accuracy_percent"]) for row in _of(stream)}
    found: dict[tuple[str, ...], float] = {}
    for (dataset, theirs), (model, name) in ((d, m) for d in datasets.items() for m in models.items()):
        values = {side: known[theirs, name, side] for side in SIDES if (theirs, name, side) in known}
        if len(values) == len(SIDES):
            found |= {(dataset, model, side): value for side, value in values.items()}
            found[dataset, model, ALL] = sum(values.values()) / len(SIDES)
    return found


def _of(stream: Iterable[str]) -> Iterator[dict[str, str]]:
    return (row for row in csv.DictReader(stream) if row["table"] == "persona accuracy")


read_accuracy_table = ACCURACY_COLUMNS.read


def reading(verdict: str) -> str:
    """How verdicts of a kind are read."""
    return VERDICT_LABELS[verdict].removeprefix(" · ") or "words"


def headings(table: pd.DataFrame) -> Shown:
    """How verdicts are read, where that differs in a table."""
    several = table["verdict"].nunique() > 1
    return {"Verdict": lambda row: reading(row["verdict"])} if several else {}


def build(
    judged_personas: list[Path],
    reported_tailoring: Path,
    *,
    seed: int,
    n_resamples: int,
    reported_datasets: Mapping[str, str],
    reported_models: Mapping[str, str],
    given: Sequence[str],
) -> Table:
    """Make the table from the files of a run."""
    reported = read_reported(reported_tailoring, reported_datasets, reported_models)
    rows = read_all(judged_personas, JudgedPersonas)
    table = accuracy_table(rows, seed=seed, n_resamples=n_resamples, reported=reported)
    accuracy = interval(*ACCURACY)
    shown: Shown = {
        **headings(table),
        "Persona of": "side",
        "Accuracy % [95 % CI]": lambda row: marked(accuracy(row), {"lossy": False, **row}),
        "Without nulls %": decimals("accuracy_read", ".2f"),
        "SE": decimals("standard_error", ".2f"),
        "Verdicts": "n_verdicts",
        "Pairs": "n_pairs",
        "Undecided": lambda row: plain(sum(row[name] for name in OUTCOMES[2:-1])),
        "Provider errors": "provider_error",
        "No persona": "no_persona",
        "First named %": "share_first",
        **({"Paper %": decimals("reported")} if reported else {}),
    }
    notes = [
        "A judge reads a prompt, two responses and one persona, and says which response the persona's owner would "
        "pick; every persona in both orders. Correct: the response that the persona was inferred for. 50 % is chance.",
        "Accuracy: of all answered verdicts, with a 95 % interval from a bootstrap that resamples pairs. Ties, answers "
        "that cannot be read, refusals and prompts that do not fit count as not right.",
        "Without nulls: as in the paper's code, judgments without any answer are skipped; SE is the standard error of "
        "that mean, judgments as independent, as in the paper.",
        *(
            ["Paper: Figure 3, judged by GPT-4o on 300 pairs; with another judge or other pairs it is not comparable."]
            if reported
            else []
        ),
        *(
            [
                f"{' and '.join(given)}: personas of users, meant to be learned from other pairs of theirs, which is "
                "not checked; their intervals resample pairs, not users. All others explain the pair that they are "
                "judged on."
            ]
            if given
            else []
        ),
        *mark_notes(table.assign(lossy=False)),
    ]
    return Table(table, (block_of(table, HEADINGS, shown, n_names=4),), notes)


RESULT = TableResult(
    name="persona_accuracy",
    order=10,
    title="Does a persona predict the choice that it was inferred from?",
    caption=(
        "Share of judgments in which the owner of a persona is said to pick the response that the persona was inferred "
        "for, both orders of showing, with 95 % intervals clustered by pair and the paper's standard error."
    ),
    when="accuracy",
    build=build,
)
