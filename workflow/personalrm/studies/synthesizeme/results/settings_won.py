"""In how many settings a method with demonstrations is best: what the paper reports as 6 of 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

from personalrm.core.records import BASELINE
from personalrm.results.comparisons import method_parts
from personalrm.results.labels import ALL, NOT_APPLICABLE, OK, UNUSED, VERDICT_LABELS
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.main_table import is_outage

if TYPE_CHECKING:
    import pandas as pd

WITH_DEMONSTRATIONS: tuple[str, ...] = ("demos", "both")
CEILING = "oracle"
"""It is told the taste that a method has to find out, and so is no rival."""
REPORTED_WON = "The paper reports 6 of 6 (two data sets, three Llama models; a second-hand account)."


class Setting(NamedTuple):
    """A data set and a judge, with the variant and the kind of verdict that are compared in it; who is best there: a
    method with demonstrations (`won`), one without (`lost`), or one of each (`tied`)."""

    variant: str
    suffix: str
    dataset: str
    judge: str
    outcome: Literal["won", "tied", "lost"]


def settings_of(main: pd.DataFrame) -> tuple[list[Setting], int]:
    """The settings of a main table by variant, kind of verdict, data set and judge; and how many lack answers.

    Rivals of a learned method are those of the same variant with all context pairs and the judge's own profiles, and
    what needs no profile, on the same pairs with the same kind of verdict; Random and Longer are rivals everywhere. A
    setting counts where methods with and without demonstrations have an accuracy.
    """
    rows = [row for row in table_rows(main) if row["status"] != NOT_APPLICABLE and _shown(row)]
    keys = sorted({_place(row) for row in rows if _demonstrates(row)})
    settings, voided = [], 0
    for place in keys:
        here = [row for row in rows if _stands(row, place)]
        if all(_demonstrates(row) for row in here):
            continue
        if any(row["status"] != OK or is_outage(row) for row in here):
            voided += 1
            continue
        ours, others = (
            max(float(str(row["accuracy"])) for row in here if _demonstrates(row) == demonstrates)
            for demonstrates in (True, False)
        )
        settings.append(Setting(*place, "won" if ours > others else "tied" if ours == others else "lost"))
    return settings, voided


def _shown(row: Mapping[str, object]) -> bool:
    base = method_parts(str(row["method"]))[0]
    own = row["profile_model"] in (row["judge_model"], UNUSED)
    return base != CEILING and own and row["k"] in (ALL, UNUSED)


def _demonstrates(row: Mapping[str, object]) -> bool:
    return method_parts(str(row["method"]))[0] in WITH_DEMONSTRATIONS


def _place(row: Mapping[str, object]) -> tuple[str, str, str, str]:
    suffix = method_parts(str(row["method"]))[1]
    return str(row["variant"]), suffix, str(row["dataset"]), str(row["judge_model"])


def _stands(row: Mapping[str, object], place: tuple[str, str, str, str]) -> bool:
    """Whether a row is shown in a setting; without a judge there is no kind of verdict, but the pairs are the same."""
    variant, suffix, dataset, judge = place
    own, kind, where, by = _place(row)
    if where != dataset or own not in (variant, BASELINE):
        return False
    return (by, kind) in ((judge, suffix), (UNUSED, suffix.partition(".")[0]))


def won_notes(main: pd.DataFrame) -> list[str]:
    """The sentence under the main table; nothing where no setting has methods with and without demonstrations."""
    settings, voided = settings_of(main)
    if not settings:
        return []
    parts = []
    for (variant, suffix), group in groupby(settings, key=lambda setting: setting[:2]):
        outcomes = [setting.outcome for setting in group]
        name = variant + VERDICT_LABELS.get(suffix.removeprefix("."), suffix)
        parts.append(f"{name}: {outcomes.count('won')} of {len(outcomes)}{_tied(outcomes)}")
    return [
        "Best of all methods is one with demonstrations (SynthesizeMe: demonstrations, persona + demonstrations) in so "
        f"many settings, by accuracy alone, whatever the intervals: {'; '.join(parts)}. A setting is a data set and a "
        "judge with its own profiles of all context pairs; a tie with a method without demonstrations is not counted "
        "as best; Oracle is no rival."
        + (f" Left out, as a row lost judgments to provider errors or has none: {voided}." if voided else "")
        + f" {REPORTED_WON}"
    ]


def _tied(outcomes: Sequence[str]) -> str:
    count = outcomes.count("tied")
    return f" ({count} tied)" if count else ""
