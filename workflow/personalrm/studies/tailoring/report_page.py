"""What the report shows of persona inference: one verdict on the first screen, and a few pairs with both personas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from personalrm.core.persona_pairs import PairPersonas, PersonaPair
from personalrm.core.records import read_all
from personalrm.results import claims
from personalrm.results.lazy import pd
from personalrm.results.table_formats import table_rows
from personalrm.studies.report.judgments import Key, choose_whole
from personalrm.studies.report.shown import Demonstration, Headline, Number, People, Person, PersonaText, short
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.results.persona_accuracy_table import ALL, JUDGED_KEY, read_accuracy_table

MOST_PAIRS = 6


def run_headline(plan: Plan) -> Headline | None:
    """The headline of a run; None where no judge read personas."""
    path = Path(plan.run) / "tables" / "persona_accuracy.csv"
    return headline(read_accuracy_table(path)) if path.is_file() else None


def headline(table: pd.DataFrame) -> Headline | None:
    """Whether personas of the first data set, model and judge of the table lead a judge to the response that they were
    inferred from. The first, and not the best: nothing is picked by its result. None without a number.

    Pairs are the independent units here, as there are no users.
    """
    rows = [row for row in table_rows(table) if not math.isnan(row["accuracy"]) and not row["outage"]]
    top = next((row for row in rows if row["side"] == ALL), None)
    if top is None:
        return None
    doing = (
        f"a judge ({top['judge']}) that reads a persona by {top['model']} picks the response that the persona was "
        "inferred from"
    )
    alike = [row for row in rows if all(row[key] == top[key] for key in JUDGED_KEY)]
    said = {
        ALL: "of these picks are right",
        "chosen": "with personas of chosen responses",
        "rejected": "with personas of rejected ones",
    }
    numbers = [
        Number(
            f"{row['accuracy']:.1f} %",
            said[row["side"]],
            f"95 % interval {row['ci_low']:.1f} to {row['ci_high']:.1f} %, {row['n_pairs']:,} pairs.",
        )
        for row in sorted(alike, key=lambda row: list(said).index(row["side"]))
    ]
    verdict = claims.against_chance({**top, "n_users": top["n_pairs"]}, doing)
    several = len({row["dataset"] for row in rows}) > 1
    return Headline(f"{top['dataset']}: {verdict}" if several else verdict, numbers)


def some_pairs(plan: Plan) -> People:
    """Pairs with personas of both responses by the first model, chosen as those of the transcripts are."""
    personas: dict[Key, PairPersonas] = {}
    for row in read_all(map(Path, plan.paths("infer_personas")), PairPersonas):
        if len(row.personas) > 1:
            personas.setdefault((row.dataset, row.pair_id), row)
    keys = choose_whole(dict.fromkeys(personas, 1), MOST_PAIRS)
    pairs = {(pair.dataset, pair.pair_id): pair for pair in _pairs(plan) if (pair.dataset, pair.pair_id) in keys}
    shown = [_shown(personas[key], pairs[key]) for key in sorted(keys)]
    return People(shown, sum(1 for _ in _pairs(plan)), heading="Some pairs and their personas", noun="pairs")


def _pairs(plan: Plan) -> Iterator[PersonaPair]:
    return read_all((Path(path) for name in plan.config.datasets for path in plan.pair_files(name)), PersonaPair)


def _shown(row: PairPersonas, pair: PersonaPair) -> Person:
    return Person(
        dataset=row.dataset,
        user=short(pair.prompt),
        pair=row.pair_id,
        personas=[
            PersonaText(f"Who would prefer the {side} response, by {row.model}", text)
            for side, text in row.personas.items()
        ],
        demonstrations=[Demonstration("", short(pair.chosen), short(pair.rejected))],
        demonstrations_title="Both responses",
    )
