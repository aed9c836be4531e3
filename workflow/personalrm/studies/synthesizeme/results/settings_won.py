"""In how many settings a method with demonstrations is best: what the paper reports as 6 of 6."""

from __future__ import annotations

from itertools import groupby
from typing import Literal, NamedTuple

from personalrm.core.conditions import PAIRS, Pairs
from personalrm.core.records import BASELINE
from personalrm.results.conditions import Condition
from personalrm.results.labels import ALL, NOT_APPLICABLE, OK, UNUSED, VERDICT_LABELS, is_told
from personalrm.results.lazy import pd
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.main_table import is_outage

WITH_DEMONSTRATIONS: tuple[str, ...] = ("demos", "both")
REPORTED_WON = "The paper reports 6 of 6 (two data sets, three Llama models; a second-hand account)."


class Setting(NamedTuple):
    """A data set and a judge, with the variant, the pairs and the kind of verdict that are compared in it; who is best
    there: a method with demonstrations (`won`), one without (`lost`), or one of each (`tied`)."""

    variant: str
    pairs: str
    verdict: str
    dataset: str
    judge: str
    outcome: Literal["won", "tied", "lost"]


def settings_of(main: pd.DataFrame) -> tuple[list[Setting], int]:
    """The settings of a main table by variant, pairs, kind of verdict, data set and judge; and how many lack answers.

    Rivals of a learned method are those of the same variant with all context pairs and the judge's own profiles, and
    what needs no profile, on the same pairs with the same kind of verdict; Random and Longer are rivals everywhere. A
    setting counts where methods with and without demonstrations have an accuracy.
    """
    named = [(Condition.of(row), row) for row in table_rows(main) if row["status"] != NOT_APPLICABLE]
    rows = [(k, row) for k, row in named if not is_told(str(k.method)) and k.own and k.k in (ALL, UNUSED)]
    keys = sorted({_place(key) for key, _ in rows if _demonstrates(key)}, key=_order)
    settings, voided = [], 0
    for place in keys:
        here = [(key, row) for key, row in rows if _stands(key, place)]
        if all(_demonstrates(key) for key, _ in here):
            continue
        if any(row["status"] != OK or is_outage(row) for _, row in here):
            voided += 1
            continue
        ours, others = (
            max(row["accuracy"] for key, row in here if _demonstrates(key) == demonstrates)
            for demonstrates in (True, False)
        )
        settings.append(Setting(*place, "won" if ours > others else "tied" if ours == others else "lost"))
    return settings, voided


def _demonstrates(key: Condition) -> bool:
    return key.method.name in WITH_DEMONSTRATIONS


Place = tuple[str, Pairs, str, str, str]
"""The fields of `Setting` but the last."""


def _place(key: Condition) -> Place:
    return str(key.variant), key.method.pairs, key.method.verdict, key.dataset, key.judge_model


def _order(place: Place) -> tuple[object, ...]:
    variant, pairs, verdict, *rest = place
    return variant, PAIRS.index(pairs), list(VERDICT_LABELS).index(verdict), *rest


def _stands(key: Condition, place: Place) -> bool:
    """Whether a row is shown in a setting; without a judge there is no kind of verdict, but the pairs are the same."""
    variant, pairs, verdict, dataset, judge = place
    if key.dataset != dataset or str(key.variant) not in (variant, BASELINE) or key.method.pairs != pairs:
        return False
    return (key.judge_model, key.method.verdict) in ((judge, verdict), (UNUSED, "text"))


def won_notes(main: pd.DataFrame) -> list[str]:
    """The sentence under the main table; nothing where no setting has methods with and without demonstrations."""
    settings, voided = settings_of(main)
    if not settings:
        return []
    parts = []
    for (variant, _, verdict), group in groupby(settings, key=lambda setting: setting[:3]):
        outcomes = [setting.outcome for setting in group]
        won, tied = outcomes.count("won"), outcomes.count("tied")
        parts.append(f"{variant}{VERDICT_LABELS[verdict]}: {won} of {len(outcomes)}" + f" ({tied} tied)" * (tied > 0))
    return [
        "Best of all methods is one with demonstrations (SynthesizeMe: demonstrations, persona + demonstrations) in so "
        f"many settings, by accuracy alone, whatever the intervals: {'; '.join(parts)}. A setting is a data set and a "
        "judge with its own profiles of all context pairs; a tie with a method without demonstrations is not counted "
        "as best; Oracle is no rival."
        + (f" Left out, as a row lost judgments to provider errors or has none: {voided}." if voided else "")
        + f" {REPORTED_WON}"
    ]
