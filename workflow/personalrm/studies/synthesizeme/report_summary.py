"""The report's sentences, made from the numbers: what was run, what came out, what failed, what was not run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from personalrm.core.conditions import MethodId
from personalrm.core.records import BASELINE
from personalrm.methods.registry import METHODS
from personalrm.methods.synthesizeme.variants import CORRECTED, PUBLISHED
from personalrm.results.conditions import ROW_KEY
from personalrm.results.labels import OK, UNUSED, method_label
from personalrm.results.marks import NOTES, RETRY
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.main_table import FAILURE_COLUMNS, cuts, gaps, is_outage, row_flags
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.results.benchmark_reported import limits_of, reported_set

if TYPE_CHECKING:
    import pandas as pd

FEW_USERS = 20
"""Below this many users a bootstrap over users is called rough (our choice: where level A begins)."""
LEVEL = 0.05
REPORTED = {"prism": "PRISM", "arena": "Chatbot Arena"}
"""The paper's data sets by their names in `resources/reported/benchmark.csv`."""

Row = Mapping[str, Any]


def what_was_run(manifest: Mapping[str, Any], main: pd.DataFrame) -> list[str]:
    """Data sets, users, pairs, models, calls. `manifest` is manifest.json, `main` the main table."""
    sentences = []
    for name, facts in manifest["data"].items():
        rows = [row for row in table_rows(main) if row["dataset"] == name and _method(row).pairs == "test"]
        users, pairs = facts["funnel"]["users_written"], sum(facts["funnel"]["split_pairs"].values())
        judged = f"{_most(rows, 'n_users')} judged, on {_most(rows, 'n_pairs')} test pairs"
        sentences.append(f"{name}: {_count(users, 'user')} with {_count(pairs, 'pair')}; {judged}.")
    models = [f"{name} ({facts['backend']})" for name, facts in manifest["models"].items()]
    usage, cost = manifest["usage"], manifest["usage"]["cost_usd_list"]
    return [
        *sentences,
        f"Models: {', '.join(models)}." if models else "No model was used.",
        f"{_count(len(main), 'way')} of judging gave {_count(int(main['n_judgments'].sum()), 'judgment')}. All results "
        f"rest on {_count(usage['calls'], 'stored answer')}: {usage['tokens_in']:,} tokens in, "
        f"{usage['tokens_out']:,} out, list cost {'not known' if cost is None else f'${cost:,.2f}'}."
        + (f" Tokens of {estimated:,} of them are estimates." if (estimated := usage.get("estimated_calls")) else ""),
    ]


def _most(rows: Sequence[Row], column: str) -> str:
    return f"{max((int(row[column]) for row in rows), default=0):,}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def what_came_out(main: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """The best method of each data set, its interval, its paired difference to Default, and all of them counted."""
    compared = _against_default(differences)
    found = [sentence for name in main["dataset"].unique() for sentence in _best(name, main, compared)]
    return [*found, *_ceiling(main), *_all_comparisons(compared)]


def _against_default(differences: pd.DataFrame) -> list[Row]:
    """Rows that compare a method that could be used with Default: not the oracle, which is given the answer."""
    return [
        row for row in table_rows(differences) if MethodId.parse(row["reference"]).name == "default" and _is_real(row)
    ]


def _known(value: float) -> bool:
    return not math.isnan(value)


def _method(row: Row) -> MethodId:
    return MethodId.parse(str(row["method"]))


def _is_real(row: Row) -> bool:
    return _method(row).name != "oracle" and _method(row).pairs == "test"


def _best(dataset: str, main: pd.DataFrame, compared: Sequence[Row]) -> Iterator[str]:
    here = table_rows(main[main["dataset"] == dataset])
    rows = [row for row in here if _is_real(row)]
    scored = [row for row in rows if _known(row["accuracy"]) and not is_outage(row)]
    if not scored:
        yield f"{dataset}: no method has an accuracy."
        return
    top = max(row["accuracy"] for row in scored)
    best = [row for row in scored if row["accuracy"] == top]
    aside = ", oracle aside," if len(rows) < len(here) else ""
    reached = _and(_name(row, scored) + _interval(row, " %", _chance(row)) for row in best)
    yield f"{dataset}: the highest accuracy of {len(scored)} ways to judge test pairs{aside} is {top:.1f} %: {reached}."
    for row in best:
        yield _difference(row, scored, compared)
    if len(scored) > 1:
        users = int(best[0]["n_users"])
        rough = f" With {_count(users, 'user')} the interval is rough, too." if users < FEW_USERS else ""
        yield f"The highest is picked after the fact, which flatters it.{rough}"


def _name(row: Row, rows: Sequence[Row]) -> str:
    """A method with what distinguishes it from other rows: judge, profile model, k and variant where they differ."""
    own = {key: row[key] for key in ("judge_model", "k", "variant") if row[key] not in (UNUSED, BASELINE)}
    if row["profile_model"] not in (UNUSED, row["judge_model"]):
        own["profile_model"] = row["profile_model"]
    words = {"judge_model": "judge", "k": "k =", "variant": "variant", "profile_model": "profile by"}
    said = [
        f"{words[key]} {text}"
        for key, text in own.items()
        if len({str(other[key]) for other in rows} - {UNUSED, BASELINE}) > 1
    ]
    return method_label(str(row["method"])) + (f" ({', '.join(said)})" if said else "")


def _and(texts: Iterator[str]) -> str:
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def _interval(row: Row, unit: str, more: str = "") -> str:
    if not _known(row["ci_low"]):
        return " (no interval: one user)"
    sign = "+" if unit == " points" else ""
    return f" (95 % interval {row['ci_low']:{sign}.1f} to {row['ci_high']:{sign}.1f}{unit}{more})"


def _chance(row: Row) -> str:
    if row["ci_low"] > 50:
        return ""
    return "; below chance" if row["ci_high"] < 50 else "; chance, 50 %, is not excluded"


def _difference(row: Row, rows: Sequence[Row], compared: Sequence[Row]) -> str:
    """The paired difference of one row to Default, and in plain words what it shows."""
    name = _name(row, rows)
    if _method(row).name == "default":
        return f"{name} is the unpersonalised judge itself: nothing that was learned of a user lies above it."
    match = [other for other in compared if all(other[key] == row[key] for key in ROW_KEY)]
    if not match:
        return f"{name} has no judge of its own, and so no paired difference to Default."
    found = match[0]
    if found["status"] != OK or found["outage"]:
        return f"{name} against Default: {'no result: provider errors' if found['outage'] else found['status']}."
    points = f"{found['difference']:+.1f} points{_interval(found, ' points')}"
    verdict = {
        1: "the interval lies above 0",
        0: "the interval holds 0, so that a difference is not shown",
        -1: "the interval lies below 0",
        None: "without an interval nothing can be said",
    }[_side(found)]
    holm = float(found["p_holm"])
    adjusted = f"; p = {holm:.2g} after Holm's adjustment for all comparisons of the table" if _known(holm) else ""
    doubt = ", so that chance is not ruled out" if _side(found) and holm >= LEVEL else ""
    return f"{name} against Default on the same judgments: {points}: {verdict}{adjusted}{doubt}."


def _side(row: Row) -> int | None:
    """Where a difference's interval lies: 1 above 0, -1 below, 0 if it holds 0 (an end at 0 included), None without."""
    if not _known(row["ci_low"]):
        return None
    return 1 if row["ci_low"] > 0 else -1 if row["ci_high"] < 0 else 0


def _ceiling(main: pd.DataFrame) -> Iterator[str]:
    """Accuracy of a judge that is given the planted preferences."""
    oracles = [row for row in table_rows(main) if _method(row)[:2] == ("oracle", "test")]
    for row in oracles:
        if _known(row["accuracy"]) and not is_outage(row):
            yield (
                f"{row['dataset']}: {_name(row, oracles)} reaches {row['accuracy']:.1f} %{_interval(row, ' %')}: it is "
                "told what no method can know."
            )


def _all_comparisons(compared: Sequence[Row]) -> Iterator[str]:
    sound = [row for row in compared if row["status"] == OK and not row["outage"]]
    if not sound:
        return
    above, below = (sum(_side(row) == sign for row in sound) for sign in (1, -1))
    kept = sum(row["p_holm"] < LEVEL for row in sound)
    yield (
        f"Against Default, of {_count(len(sound), 'comparison')}: {above} above and {below} below it with an interval "
        f"that excludes 0, {len(sound) - above - below} without a difference shown; {kept} with p < {LEVEL:g} after "
        "Holm's adjustment."
    )


def what_failed(main: pd.DataFrame, differences: pd.DataFrame, verdicts: pd.DataFrame) -> list[str]:
    """Judgments that were no verdict or lost, rows that an outage spoils or that rest on lost calls, users and
    comparisons without a number."""
    total = int(main["n_judgments"].sum())
    counts = {column: int(main[column].sum()) for column in FAILURE_COLUMNS}
    lost = counts.pop("provider_error")
    said = [f"{number:,} × {column.replace('_', ' ')}" for column, number in counts.items() if number]
    found = [
        f"Of {_count(total, 'judgment')}: {', '.join(said)}; each counts as not right."
        if said
        else f"All {total:,} judgments named one of the two answers."
    ]
    if lost:
        found.append(f"{_count(lost, 'more judgment')} lost to provider errors: in no accuracy and no difference.")
    rows = table_rows(main)
    spoilt = [row for row in rows if is_outage(row)]
    found += [
        f"{row['dataset']}: {_name(row, rows)} is no result: {row['provider_error']:,} of "
        f"{row['n_judgments'] + row['provider_error']:,} judgments were lost to provider errors."
        for row in spoilt
    ]
    found += [f"{row['dataset']}: {_name(row, rows)}: {NOTES['unread']}" for row in rows if row_flags(row).unread]
    lossy = [row for row in rows if row["lossy_profiles"]]
    found += [
        f"{row['dataset']}: {_name(row, rows)}: {_count(row['lossy_profiles'], 'profile')} learned with lost calls."
        for row in lossy
    ]
    found += [RETRY] if lost or lossy else []
    missing = differences.loc[differences["status"] != OK, "status"].value_counts().sort_index()
    found += [f"{_count(int(number), 'paired comparison')} without a number: {why}." for why, number in missing.items()]
    return found + cuts(verdicts) + gaps(verdicts)


def what_servers_did(manifest: Mapping[str, Any]) -> list[str]:
    """What is noteworthy of the models' servers. `manifest` is manifest.json."""
    return [
        f"{name}: {text}." for name, facts in manifest["models"].items() for text in facts.get("remarks", {}).values()
    ]


def what_was_not_run(config: Config, made: Sequence[str], known: Sequence[str]) -> list[tuple[str, str]]:
    """What this run does not have, and why: the key of the config that would bring it.

    `made` are the names of this run's tables and figures; `known` those of all that the workflow can make.
    """
    used = {MethodId.parse(spec).name for spec in config.methods}
    methods = [method_label(name) for name in METHODS if name not in used and METHODS[name].needs != "reward"]
    variants = [name for name in (PUBLISHED, CORRECTED) if name not in config.variants]
    answered = {reported_set(entry) for entry in config.datasets.values()}
    papers = [title for name, title in REPORTED.items() if name not in answered]
    limited = [(name, limits) for name, entry in config.datasets.items() if (limits := limits_of(entry))]
    unasked = "this run's config does not ask for it"
    cases = [
        *(
            (name not in made, f"Table or figure {name.replace('_', ' ')}", _REASONS.get(name, unasked))
            for name in known
        ),
        (methods, f"Methods: {', '.join(methods)}", "not listed under methods"),
        (variants, f"Variants: {', '.join(variants)}", "not listed under variants"),
        (len(config.ks) < 2, "Scaling with the number of context pairs", "k has one value"),
        (len(config.learn.models) < 2, "Other model families", "learn.models has fewer than two models"),
        (papers, f"The paper's data: {' and '.join(papers)}", "not among datasets; no number is compared"),
        *((True, f"The rest of {name}", f"limited by {limits}") for name, limits in limited),
        (
            config.evaluate_users == "test",
            "Users of level A's train and validation parts",
            "evaluate_users is test, as in the paper",
        ),
    ]
    return [(what, why) for absent, what, why in cases if absent]


_REASONS: dict[str, str] = {
    "transfer": "transfer.pairs lists no pair of models",
    "filter_sensitivity": "no data set has filters that ask models",
    "fidelity": "analysis.fidelity is not set",
    "recovery": "analysis.recovery is not set",
    "axes": "analysis.axes is not set",
    "dumbbells": "methods does not list default and another method that a model judges",
    "orders": "default has no verdict on one order of showing (models.<name>.verdicts)",
    "search": "no method of the run needs a profile",
    "demographics": "needs data with a survey (PRISM), and demographics under methods",
}
"""Why a table or figure is not in a run, where the reason is more than that the config does not ask for it."""
