"""The report's sentences, made from the numbers: what was run, what came out, what failed, what was not run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from personalrm.core.conditions import MethodId
from personalrm.core.records import BASELINE
from personalrm.methods.registry import METHODS
from personalrm.methods.synthesizeme.variants import CORRECTED, PUBLISHED
from personalrm.results import claims
from personalrm.results.conditions import ROW_KEY
from personalrm.results.labels import OK, UNUSED, is_told, method_label
from personalrm.results.lazy import pd
from personalrm.results.marks import NOTES, RETRY
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.main_table import FAILURE_COLUMNS, cuts, gaps, is_outage, row_flags
from personalrm.studies.manifest import usage_text
from personalrm.studies.report.shown import Headline, Number
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.results.benchmark_reported import limits_of, reported_set

FEW_USERS = 20
"""Below this many users a bootstrap over users is called rough (our choice: as many as a user split needs)."""
NOBODY = "Default, the same judge without the user"
"""What a stranger has to know of Default."""
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
    usage = manifest["usage"]
    return [
        *sentences,
        f"Models: {', '.join(models)}." if models else "No model was used.",
        f"{_count(len(main), 'way')} of judging gave {_count(int(main['n_judgments'].sum()), 'judgment')}. All results "
        f"rest on {_count(usage['calls'], 'stored answer')}: {usage_text(usage)}",
    ]


def _most(rows: Sequence[Row], column: str) -> str:
    return f"{max((int(row[column]) for row in rows), default=0):,}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def headline(main: pd.DataFrame, differences: pd.DataFrame) -> Headline | None:
    """What the first screen says: of the first data set with comparisons, the method with the largest paired difference
    to Default, and what the difference allows to be said; and one sentence on each further data set.

    None without a comparison. Holm's p-value covers that the largest of several differences is picked.
    """
    compared = [row for row in _against_default(differences) if _is_sound(row) and _known(row["difference"])]
    names = [name for name in main["dataset"].unique() if any(row["dataset"] == name for row in compared)]
    if not names:
        return None
    tops = {name: _largest(row for row in compared if row["dataset"] == name) for name in names}
    said = {name: claims.in_words(top, _name(top, compared), NOBODY) for name, top in tops.items()}
    first, *rest = names
    top, many = tops[first], len(compared) > 1
    picked = f"The largest of {_count(len(compared), 'difference')} to Default." if many else ""
    numbers = [
        Number(f"{top['difference']:+.1f} points", f"{_name(top, compared)}, less Default", _ends(top, picked)),
        *_accuracy_of(main, top),
        Number(
            _count(top["n_pairs"], "pair"), f"of {_count(top['n_users'], 'user')}", "Nothing was learned from these."
        ),
    ]
    before = f"{first}: " if rest else ""
    return Headline(before + said[first], numbers, [f"{name}: {said[name]}" for name in rest])


def telling_rows(differences: pd.DataFrame, most: int) -> dict[str, dict[str, Row]]:
    """By data set and name, at most `most` rows with a paired difference to Default: that with the largest one first
    (no outage, if there is such), then others of its judge in the order of the table."""
    compared = [row for row in _against_default(differences) if _known(row["difference"])]
    found: dict[str, dict[str, Row]] = {}
    for dataset in dict.fromkeys(row["dataset"] for row in compared):
        here = [row for row in compared if row["dataset"] == dataset]
        top = _largest([row for row in here if _is_sound(row)] or here)
        alike = [row for row in here if row["judge_model"] == top["judge_model"]]
        shown = [top, *(row for row in alike if row is not top)][:most]
        found[dataset] = {_name(row, shown): row for row in shown}
    return found


def _largest(rows: Iterable[Row]) -> Row:
    return max(rows, key=lambda row: float(row["difference"]))


def _ends(row: Row, more: str = "") -> str:
    held = f"95 % interval {row['ci_low']:+.1f} to {row['ci_high']:+.1f}." if _known(row["ci_low"]) else "No interval."
    return f"{held} {more}".rstrip()


def _accuracy_of(main: pd.DataFrame, compared: Row) -> list[Number]:
    """The accuracies of a method and of the Default that it is compared with, as the main table has them."""
    rows = table_rows(main)
    own = [row for row in rows if all(row[key] == compared[key] for key in ROW_KEY)]
    shared = ("dataset", "judge_model")
    base = [
        row
        for row in rows
        if row["method"] == compared["reference"] and all(row[key] == compared[key] for key in shared)
    ]
    if not own or not base:
        return []
    interval = _interval(own[0], " %").strip(" ()")
    detail = f"{interval[:1].upper()}{interval[1:]}. Default: {base[0]['accuracy']:.1f} %."
    return [Number(f"{own[0]['accuracy']:.1f} %", "of its predictions are right", detail)]


def what_came_out(main: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """The best method of each data set, its interval, its paired difference to Default, and all of them counted."""
    compared = _against_default(differences)
    found = [sentence for name in main["dataset"].unique() for sentence in _best(name, main, compared)]
    return [*found, *_ceiling(main), *_all_comparisons(compared)]


def _against_default(differences: pd.DataFrame) -> list[Row]:
    """Rows that compare a method that could be used with Default: not one that is told the taste."""
    return [
        row for row in table_rows(differences) if MethodId.parse(row["reference"]).name == "default" and _is_real(row)
    ]


def _known(value: float) -> bool:
    return not math.isnan(value)


def _method(row: Row) -> MethodId:
    return MethodId.parse(str(row["method"]))


def _is_real(row: Row) -> bool:
    return not is_told(row["method"]) and _method(row).pairs == "test"


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
    # How verdicts are read is said where it differs.
    verdicts = {_method(other).verdict for other in rows if other["judge_model"] != UNUSED}
    method = _method(row) if len(verdicts) > 1 else _method(row)._replace(verdict="text")
    return method_label(str(method)) + (f" ({', '.join(said)})" if said else "")


def _and(texts: Iterator[str]) -> str:
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def _interval(row: Row, unit: str, more: str = "") -> str:
    if not _known(row["ci_low"]):
        return " (no interval: one user)"
    sign = "+" if unit == " points" else ""
    return f" (95 % interval {row['ci_low']:{sign}.1f} to {row['ci_high']:{sign}.1f}{unit}{more})"


def _chance(row: Row) -> str:
    if claims.claim_of_accuracy(row) is claims.Claim.WORSE:
        return "; below chance"
    return "; chance, 50 %, is not excluded" if row["ci_low"] <= claims.CHANCE <= row["ci_high"] else ""


def _difference(row: Row, rows: Sequence[Row], compared: Sequence[Row]) -> str:
    """The paired difference of one row to Default, and in plain words what it shows."""
    name = _name(row, rows)
    if _method(row).name == "default":
        return f"{name} is the unpersonalised judge itself: no method has a higher accuracy here."
    match = [other for other in compared if all(other[key] == row[key] for key in ROW_KEY)]
    if not match:
        return f"{name} has no judge of its own, and so no paired difference to Default."
    found = match[0]
    if found["status"] != OK or found["outage"]:
        return f"{name} against Default: {'no result: provider errors' if found['outage'] else found['status']}."
    points = f"{found['difference']:+.1f} points{_interval(found, ' points')}"
    size = f"on {_count(found['n_pairs'], 'pair')} of {_count(found['n_users'], 'user')}"
    holm = float(found["p_holm"])
    adjusted = f"; p = {holm:.2g} after Holm's adjustment for all comparisons of the table" if _known(holm) else ""
    return f"{claims.in_words(found, name)} The difference {size} is {points}{adjusted}."


def _ceiling(main: pd.DataFrame) -> Iterator[str]:
    """Accuracy of a judge that is given the planted preferences."""
    oracles = [row for row in table_rows(main) if is_told(row["method"]) and _method(row).pairs == "test"]
    for row in oracles:
        if _known(row["accuracy"]) and not is_outage(row):
            yield (
                f"{row['dataset']}: {_name(row, oracles)} reaches {row['accuracy']:.1f} %{_interval(row, ' %')}: it is "
                "told what no method can know."
            )


def _is_sound(row: Row) -> bool:
    return row["status"] == OK and not row["outage"]


def _all_comparisons(compared: Sequence[Row]) -> Iterator[str]:
    found = Counter(claims.claim_of(row) for row in compared if _is_sound(row))
    if found:
        better, worse, small, few = (found[claim] for claim in claims.Claim)
        yield (
            f"Against Default, of {_count(found.total(), 'comparison')}: {better} better, {worse} worse, {small} about "
            f"equal, {few} with too few pairs to tell. Better and worse: {claims.RULE}."
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
