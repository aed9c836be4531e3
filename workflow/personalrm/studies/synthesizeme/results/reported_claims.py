"""Ours for each reported number: which condition of the run answers to it, what its number is, or why there is none.

Accuracies and differences come from the verdicts. Slope, first k better than Default, fidelity and settings won are
read from the run's own tables, so that a reader finds the same numbers there.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.methods.registry import METHODS, is_trained
from personalrm.results.claims import Claim as Allowed
from personalrm.results.claims import words_of
from personalrm.results.comparisons import Value, accuracy_of, compare
from personalrm.results.conditions import Condition
from personalrm.results.labels import ALL, OK, UNUSED
from personalrm.results.lazy import pd
from personalrm.results.marks import NOTES
from personalrm.results.table_formats import table_rows
from personalrm.results.verdict_arrays import VerdictArrays
from personalrm.studies.synthesizeme.results.reported_matching import (
    BESIDE,
    COMPARABLE,
    DISTILLED,
    NOT_COMPARABLE,
    NOT_RUN,
    SHOWN,
    STATUSES,
    TRAINED,
    Place,
    RunIdentity,
    places,
    unlike,
    variants_like,
)
from personalrm.studies.synthesizeme.results.reported_numbers import NOT_STATED, ReportedNumber
from personalrm.studies.synthesizeme.results.settings_won import WITH_DEMONSTRATIONS, settings_of

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

Row = Mapping[str, Any]


class Tables(NamedTuple):
    """Tables of the run: `main_table`, `scaling_table` and `fidelity_table`; empty ones for what it does not have."""

    main: pd.DataFrame
    scaling: pd.DataFrame
    fidelity: pd.DataFrame


class Answers(NamedTuple):
    """What a run answers with: its identity, verdicts by data set, tables, and the settings of its bootstrap."""

    run: RunIdentity
    arrays: Mapping[str, VerdictArrays]
    tables: Tables
    seed: int
    n_resamples: int


class Claim(NamedTuple):
    """`status`, its reasons (of a comparable number: notes), and columns of the table of reported numbers, empty unless
    the status is one of `SHOWN`."""

    status: str
    reason: str
    ours: Mapping[str, Value] = MappingProxyType({})


def claims(number: ReportedNumber, answers: Answers) -> list[Claim]:
    """Ours for a number: the first of the best status, or all of it where its source names no data set or model."""
    look = LOOKS.get(number.statistic)
    why = ""
    if look is None and number.statistic != WON:
        why = "the tables have no such statistic"
    elif look is _judged and not number.method:
        why = "no such method here, or the source does not name the variant"
    elif look is _judged and number.model == NOT_STATED:
        why = "the source does not name the model"
    found = why or places(number, answers.run, answers.arrays)
    if isinstance(found, str):
        return [Claim(NOT_RUN, found)]
    if look is None:
        return [_settings_won(number, found, answers.tables)]
    each = [look(number, place, answers) for place in found]
    status = min((claim.status for claim in each), key=STATUSES.index)
    best = [claim for claim in each if claim.status == status]
    several = status in SHOWN and NOT_STATED in (number.data_set, number.model)
    return best if several else best[:1]


def _judged(number: ReportedNumber, place: Place, answers: Answers) -> Claim:
    """An accuracy, or a difference of two, of the cells that answer to a number."""
    judge, arrays = place.judge, answers.arrays[place.dataset]
    reasons = unlike(number, place)
    variants = variants_like(number.variant, judge, answers.run)
    cells: list[Condition] = []
    for method in filter(None, (number.method, number.against)):
        of_kind = [key for key in arrays.cells if key.judge_model == judge and key.own and key.method.name == method]
        if not of_kind:
            return Claim(NOT_RUN, f"{method} was not run with this model on this data")
        exact = [key for key in of_kind if not _mismatch(key, method, number.variant, variants)]
        # A Theta of the authors before one of ours.
        exact.sort(key=lambda key: (variants.get(str(key.variant), ""), key.names))
        last = max(of_kind, key=lambda key: key.names)
        reasons += [] if exact else [_mismatch(last, method, number.variant, variants)]
        cells += exact[:1]
    held = [arrays.cells[key] for key in cells]
    reasons += [cell.state for cell in held if cell.state != OK]
    reasons += [NOTES["outage"] for cell in held if cell.state == OK and cell.flags().outage]
    if reasons:
        return Claim(NOT_COMPARABLE, "; ".join(dict.fromkeys(reasons)))
    unknown = next((why for key in cells if (why := variants.get(str(key.variant), ""))), "")
    unknown = unknown or (TRAINED if any(is_trained(key.method.name) for key in cells) else "")
    notes = _notes([cell.flags()._asdict() for cell in held], "")
    remark = "; ".join(filter(None, [unknown, place.served.note if place.served else "", *notes]))
    names = _names_of(place, " - ".join(str(key.method) for key in cells), str(cells[0].variant))
    return Claim(BESIDE if unknown else COMPARABLE, remark, names | _numbers_of(cells, arrays, answers))


def _mismatch(key: Condition, method: str, variant: str, alike: Container[str]) -> str:
    """How a cell of the right method differs in what else the paper fixes; empty where it does not.

    The paper's verdicts are texts, on the test pairs, in both orders, with profiles from all context pairs. Where the
    variant matters, its numbers are those of the code as published: `corrected` mends defects that bear on them.
    """
    if key.method != MethodId(method):
        return f"judged as {key.method}, not by text on the test pairs"
    shown = METHODS[METHODS[method].shows or method].needs == "profile"
    if (shown or METHODS[method].by_k) and key.k != ALL:
        return f"k = {key.k}, not all context pairs"
    if shown and variant and str(key.variant) not in alike:
        return f"variant {key.variant}, not {variant.replace(f'+{DISTILLED}', ' with the Theta of the 70B model')}"
    return ""


def _numbers_of(cells: Sequence[Condition], arrays: VerdictArrays, answers: Answers) -> dict[str, Value]:
    """Accuracy of a cell, or the paired difference of two, with its bounds and counts."""
    if len(cells) == 2:
        paired = compare(arrays, *cells, seed=answers.seed, n_resamples=answers.n_resamples)
        columns = ("difference", "ci_low", "ci_high", "n_users", "n_judgments")
        return {ours: paired[name] for ours, name in zip((*OURS, "our_users", "our_judgments"), columns, strict=True)}
    cell = arrays.cells[cells[0]]
    users = int((cell.by_user(arrays.user_of)[1].sum(axis=1) > 0).sum())
    found = accuracy_of(arrays, cell, seed=answers.seed, n_resamples=answers.n_resamples)
    return {**dict(zip(OURS, found, strict=True)), "our_users": users, "our_judgments": cell.n_judgments}


def _names_of(place: Place, method: str, variant: str) -> dict[str, Value]:
    return {
        "our_data_set": place.dataset,
        "our_model": place.judge,
        "our_method": method,
        "our_variant": variant,
    }


def _claim(number: ReportedNumber, place: Place, why: str, notes: Sequence[str], ours: Row) -> Claim:
    """What is shown with a number: `why` names those of the number's conditions that are not known."""
    remark = "; ".join(filter(None, [why, *notes, place.served.note if place.served else ""]))
    numbers = {name: float(value) for name, value in ours.items()}
    return Claim(BESIDE, remark, _names_of(place, number.method, number.variant) | numbers)


def _notes(rows: Sequence[Row], *prefixes: str) -> list[str]:
    """Notes of the flags, except that of an outage, that any of the rows has."""
    names = ("unread", "lossy")
    return [NOTES[name] for name in names if any(row.get(prefix + name) for row in rows for prefix in prefixes)]


def _series(number: ReportedNumber, place: Place, answers: Answers) -> list[Row] | Claim:
    """Rows of the table of scaling, one per k, that answer to a number; or why there are none."""
    of_kind: list[Row] = [
        row
        for row in table_rows(answers.tables.scaling)
        if (row["dataset"], row["judge_model"], row["method"]) == (place.dataset, place.judge, number.method)
    ]
    if not of_kind:
        return Claim(NOT_RUN, f"{number.method} was not run with this model on this data")
    rows = [row for row in of_kind if row["variant"] == number.variant]
    reasons = unlike(number, place)
    reasons += [] if rows else [f"variant {of_kind[-1]['variant']}, not {number.variant}"]
    return Claim(NOT_COMPARABLE, "; ".join(reasons)) if reasons else rows


def _slope(number: ReportedNumber, place: Place, answers: Answers) -> Claim:
    rows = _series(number, place, answers)
    if isinstance(rows, Claim):
        return rows
    if any(row["outage"] for row in rows):
        return Claim(NOT_COMPARABLE, NOTES["outage"])
    first = rows[0]
    if str(first["slope"]) == "nan":
        return Claim(NOT_COMPARABLE, "no slope: there are not two k with answers to the same judgments")
    columns = ("slope", "slope_low", "slope_high", "slope_users")
    ours = {name: first[column] for name, column in zip((*OURS, "our_users"), columns, strict=True)}
    return _claim(number, place, UNNAMED, _notes(rows, ""), ours)


def _first_k(number: ReportedNumber, place: Place, answers: Answers) -> Claim:
    rows = _series(number, place, answers)
    if isinstance(rows, Claim):
        return rows
    if any(row[name] for row in rows for name in ("outage", "default_outage")):
        return Claim(NOT_COMPARABLE, NOTES["outage"])
    if len(rows) < 2:
        return Claim(NOT_COMPARABLE, f"k = {rows[0]['k']} alone was run")
    smallest, pairs = rows[0]["smallest_k"], rows[0]["smallest_k_pairs"]
    if smallest == UNUSED:
        return Claim(NOT_COMPARABLE, "no difference to Default has an interval")
    # Where no k is better, the sentence is on the largest that has one.
    shown = next((row for row in rows if row["k"] == smallest), [row for row in rows if row["claim"]][-1])
    words = words_of(Allowed(shown["claim"]), f"{number.method} at k = {shown['k']}").removesuffix(".")
    notes = [
        f"k = {', '.join(str(row['k']) for row in rows)} were run",
        words[:1].lower() + words[1:],
        *_notes(rows, "", "default_"),
    ]
    return _claim(number, place, UNNAMED, notes, {"ours": pairs, "our_users": max(row["n_users"] for row in rows)})


def _fidelity(number: ReportedNumber, place: Place, answers: Answers) -> Claim:
    of_kind = [
        row
        for row in table_rows(answers.tables.fidelity)
        if row["dataset"] == place.dataset and row["profile_model"] == place.judge and row["match_users"]
    ]
    if not of_kind:
        return Claim(NOT_RUN, "no personas of this model on this data were judged alone")
    exact, last = (number.variant, place.judge, ALL), of_kind[-1]
    rows = [row for row in of_kind if (row["variant"], row["judge_model"], row["k"]) == exact]
    reasons = unlike(number, place)
    reasons += [] if rows else [f"variant {last['variant']}, k {last['k']}, judged by {last['judge_model']}"]
    reasons += [NOTES["outage"]] if any(row["outage"] for row in rows) else []
    if reasons:
        return Claim(NOT_COMPARABLE, "; ".join(reasons))
    ours = {name: rows[0][column] for name, column in zip(OURS, MATCHES[number.statistic], strict=False)}
    return _claim(number, place, OTHER_PROTOCOL, _notes(rows, ""), ours | {"our_users": rows[0]["match_users"]})


def _settings_won(number: ReportedNumber, found: Sequence[Place], tables: Tables) -> Claim:
    """Of the settings of the run that are the paper's, how many a method with demonstrations is best in."""
    alike = [place for place in found if not unlike(number, place)]
    if not alike:
        reasons = dict.fromkeys(reason for place in found for reason in unlike(number, place))
        return Claim(NOT_COMPARABLE, "; ".join(reasons))
    outcomes = {
        (setting.dataset, setting.judge): setting.outcome
        for setting in settings_of(tables.main)[0]
        if (setting.variant, setting.pairs, setting.verdict) == (number.variant, "test", "text")
    }
    # One for each data set and model of the paper, however many of the run answer to it.
    won: dict[tuple[str, str], str] = {}
    for place in alike:
        if outcome := outcomes.get((place.dataset, place.judge)):
            won.setdefault((place.answer, place.model), outcome)
    if not won:
        return Claim(NOT_RUN, "no setting has methods with and without demonstrations")
    ours: dict[str, Value] = {"our_method": " or ".join(WITH_DEMONSTRATIONS), "our_variant": number.variant}
    ours["ours"] = float(list(won.values()).count("won"))
    remark = f"of {len(won)} of the paper's {number.n} settings, by accuracy alone, whatever the intervals"
    return Claim(COMPARABLE if len(won) == number.n else BESIDE, remark, ours)


LOOKS: dict[str, Callable[[ReportedNumber, Place, Answers], Claim]] = {
    "accuracy_percent": _judged,
    "difference_points": _judged,
    "points_per_pair": _slope,
    "context_pairs": _first_k,
    **dict.fromkeys(MATCHES, _fidelity),
}
