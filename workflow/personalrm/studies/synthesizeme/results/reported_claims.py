"""Ours beside reported numbers that verdicts alone do not give: slope, first k above Default, fidelity, settings won.

They are read from the run's own tables, so that a reader finds the same numbers there.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from personalrm.results.comparisons import Value
from personalrm.results.labels import ALL, UNUSED
from personalrm.results.marks import NOTES
from personalrm.results.table_formats import table_rows
from personalrm.studies.synthesizeme.results.reported_matching import (
    BESIDE,
    COMPARABLE,
    NOT_COMPARABLE,
    NOT_RUN,
    SHOWN,
    STATUSES,
    Place,
    RunIdentity,
    places,
    unlike,
)
from personalrm.studies.synthesizeme.results.reported_numbers import NOT_STATED, ReportedNumber
from personalrm.studies.synthesizeme.results.settings_won import WITH_DEMONSTRATIONS, settings_of

if TYPE_CHECKING:
    import pandas as pd

WON = "settings_won"
UNNAMED = "the source names neither data set nor model nor variant: this is one that it may mean"
OTHER_PROTOCOL = "each persona judged alone; prompt, judge and users of the paper's check are not published"
MATCHES: dict[str, tuple[str, ...]] = {
    "match_own_percent": ("match_own",),
    "match_other_percent": ("match_other",),
    "match_difference_points": ("match_difference", "match_ci_low", "match_ci_high"),
}
"""Statistic to its columns in the table of fidelity: ours and, where there are, its bounds."""
OURS: tuple[str, ...] = ("ours", "ours_low", "ours_high")

Row = Mapping[str, object]


class Tables(NamedTuple):
    """Tables of the run: `main_table`, `scaling_table` and `fidelity_table`; empty ones for what it does not have."""

    main: pd.DataFrame
    scaling: pd.DataFrame
    fidelity: pd.DataFrame


class Claim(NamedTuple):
    """`status` and reasons as `reported_matching.Match` has them; `ours` are columns of the table of reported numbers,
    empty unless the status is one of `SHOWN`."""

    status: str
    reason: str
    ours: Mapping[str, Value] = MappingProxyType({})


Look = Callable[[ReportedNumber, Place, Tables], Claim]


def claims(number: ReportedNumber, run: RunIdentity, tables: Tables, datasets: Container[str]) -> list[Claim]:
    """Ours beside a number: one of the best status, or all with a number where its source names no data set or model.

    Args:
        number: a reported number whose statistic is not one of `reported_matching.COMPUTED`.
        run: what the run says of itself.
        tables: its tables.
        datasets: names of the data sets that it has verdicts of.
    """
    look = LOOKS.get(number.statistic)
    if look is None and number.statistic != WON:
        return [Claim(NOT_RUN, "the tables have no such statistic")]
    found = places(number, run, datasets)
    if isinstance(found, str):
        return [Claim(NOT_RUN, found)]
    if look is None:
        return [_settings_won(number, found, tables)]
    each = [look(number, place, tables) for place in found]
    status = min((claim.status for claim in each), key=STATUSES.index)
    best = [claim for claim in each if claim.status == status]
    several = status in SHOWN and NOT_STATED in (number.data_set, number.model)
    return best if several else best[:1]


def _claim(number: ReportedNumber, place: Place, why: str, notes: Sequence[str], ours: Row) -> Claim:
    """What is set beside a number: `why` says what of the number's conditions is not known."""
    served = place.served.note if place.served else ""
    names: dict[str, Value] = {"our_data_set": place.dataset, "our_model": place.judge}
    names |= {"our_method": number.method, "our_variant": number.variant}
    names |= {name: float(str(value)) for name, value in ours.items()}
    return Claim(BESIDE, "; ".join(filter(None, [why, *notes, served])), names)


def _notes(rows: Sequence[Row], *prefixes: str) -> list[str]:
    """Notes of the flags, but of an outage, that any of the rows has."""
    names = ("unread", "lossy")
    return [NOTES[name] for name in names if any(row.get(prefix + name) for row in rows for prefix in prefixes)]


def _series(number: ReportedNumber, place: Place, tables: Tables) -> list[Row] | Claim:
    """Rows of the table of scaling, one a k, that answer to a number; or why there are none."""
    of_kind = [
        row
        for row in table_rows(tables.scaling)
        if (row["dataset"], row["judge_model"], row["method"]) == (place.dataset, place.judge, number.method)
    ]
    if not of_kind:
        return Claim(NOT_RUN, f"{number.method} was not run with this model on this data")
    rows: list[Row] = [row for row in of_kind if row["variant"] == number.variant]
    reasons = unlike(number, place)
    if not rows:
        reasons.append(f"variant {of_kind[-1]['variant']}, not {number.variant}")
    return Claim(NOT_COMPARABLE, "; ".join(reasons)) if reasons else rows


def _slope(number: ReportedNumber, place: Place, tables: Tables) -> Claim:
    rows = _series(number, place, tables)
    if isinstance(rows, Claim):
        return rows
    if any(row["outage"] for row in rows):
        return Claim(NOT_COMPARABLE, NOTES["outage"])
    first = rows[0]
    if str(first["slope"]) == "nan":
        return Claim(NOT_COMPARABLE, "no slope: there are not two k with answers to the same judgments")
    ours = dict(zip(OURS, (first[name] for name in ("slope", "slope_low", "slope_high")), strict=True))
    return _claim(number, place, UNNAMED, _notes(rows, ""), ours | {"our_users": int(str(first["slope_users"]))})


def _first_k(number: ReportedNumber, place: Place, tables: Tables) -> Claim:
    rows = _series(number, place, tables)
    if isinstance(rows, Claim):
        return rows
    if any(row[name] for row in rows for name in ("outage", "default_outage")):
        return Claim(NOT_COMPARABLE, NOTES["outage"])
    if len(rows) < 2:
        return Claim(NOT_COMPARABLE, f"k = {rows[0]['k']} alone was run")
    smallest = rows[0]["smallest_k"]
    if smallest == UNUSED:
        return Claim(NOT_COMPARABLE, "no difference to Default has an interval")
    asked = f"k = {', '.join(str(row['k']) for row in rows)} were run"
    pairs = rows[0]["smallest_k_pairs"]
    none = str(pairs) == "nan"
    notes = [asked, "none of them lies above Default" if none else f"the first above Default: {smallest}"]
    users = max(int(str(row["n_users"])) for row in rows)
    ours = {"ours": pairs, "our_users": users}
    return _claim(number, place, UNNAMED, [*notes, *_notes(rows, "", "default_")], ours)


def _fidelity(number: ReportedNumber, place: Place, tables: Tables) -> Claim:
    of_kind = [
        row
        for row in table_rows(tables.fidelity)
        if row["dataset"] == place.dataset and row["profile_model"] == place.judge and row["match_users"]
    ]
    if not of_kind:
        return Claim(NOT_RUN, "no personas of this model on this data were judged alone")
    exact = (number.variant, place.judge, ALL)
    rows = [row for row in of_kind if (row["variant"], row["judge_model"], row["k"]) == exact]
    reasons = unlike(number, place)
    if not rows:
        last = of_kind[-1]
        reasons.append(f"variant {last['variant']}, k {last['k']}, judged by {last['judge_model']}")
    if any(row["outage"] for row in rows):
        reasons.append(NOTES["outage"])
    if reasons:
        return Claim(NOT_COMPARABLE, "; ".join(reasons))
    columns = MATCHES[number.statistic]
    ours = dict(zip(OURS, (rows[0][name] for name in columns), strict=False))
    return _claim(number, place, OTHER_PROTOCOL, _notes(rows, ""), ours | {"our_users": rows[0]["match_users"]})


def _settings_won(number: ReportedNumber, found: Sequence[Place], tables: Tables) -> Claim:
    """Of the settings of the run that are the paper's, how many a method with demonstrations is best in."""
    alike = [place for place in found if not unlike(number, place)]
    if not alike:
        reasons = dict.fromkeys(reason for place in found for reason in unlike(number, place))
        return Claim(NOT_COMPARABLE, "; ".join(reasons))
    settings, _ = settings_of(tables.main)
    outcomes = {
        (setting.dataset, setting.judge): setting.outcome
        for setting in settings
        if (setting.variant, setting.pairs, setting.verdict) == (number.variant, "test", "text")
    }
    # One a data set and model of the paper, however many of the run answer to it.
    won: dict[tuple[str, str], str] = {}
    for place in alike:
        outcome = outcomes.get((place.dataset, place.judge))
        if outcome is not None:
            won.setdefault((place.answer, place.model), outcome)
    if not won:
        return Claim(NOT_RUN, "no setting has methods with and without demonstrations")
    count = list(won.values()).count("won")
    whole = len(won) == number.n
    told = f"of {len(won)} of the paper's {number.n} settings, by accuracy alone"
    names: dict[str, Value] = {"our_method": " or ".join(WITH_DEMONSTRATIONS), "our_variant": number.variant}
    return Claim(COMPARABLE if whole else BESIDE, told, names | {"ours": float(count)})


LOOKS: dict[str, Look] = {
    "points_per_pair": _slope,
    "context_pairs": _first_k,
    **dict.fromkeys(MATCHES, _fidelity),
}
