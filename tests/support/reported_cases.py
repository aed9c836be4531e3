"""What the tests of reported numbers share: a number, a run that is the paper's, and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from personalrm.personas.records import UserFidelity
from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.tables.fidelity_table import fidelity_table
from personalrm.results.tables.main_table import main_table
from personalrm.results.tables.scaling_table import Labelled, scaling_table
from personalrm.studies.run_results import REPORTED
from personalrm.studies.synthesizeme.results.reported_claims import Tables
from personalrm.studies.synthesizeme.results.reported_matching import RunIdentity, ThetaOrigin
from personalrm.studies.synthesizeme.results.reported_numbers import ReportedNumber, read_served
from support.generated_verdicts import Cell, write_cells

NUMBERS, MODELS, MISSING = (REPORTED / f"{name}.csv" for name in ("synthesizeme", "models", "not_recovered"))
LLAMA, SMALL = "meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"


def number(**changes: object) -> ReportedNumber:
    """Default on PRISM by Llama-3.3-70B: 54.35 ± 1.24."""
    fields: dict[str, object] = {"table": "main results", "data_set": "prism", "revision": "0125", "model": LLAMA}
    fields |= {"label": "Default", "method": "default", "variant": "", "against": "", "statistic": "accuracy_percent"}
    fields |= {"value": 54.35, "half_width": 1.24, "interval": "95 %, judgments as independent", "n": 6066}
    fields |= {"source": "notes", "certainty": "secondary source", "confidence": "high", "note": ""}
    return ReportedNumber.model_validate(fields | changes)


def run(
    differs: tuple[str, ...] = (),
    model: str = f"together_ai/{LLAMA}",
    snapshot: str = "",
    answer: str = "prism",
    thetas: Mapping[str, ThetaOrigin] | None = None,
) -> RunIdentity:
    """A run whose data set `d` answers to PRISM and whose model `m` is the paper's."""
    served = read_served(MODELS)
    return RunIdentity({"d": answer}, {"d": differs}, {"m": (model, snapshot)}, served, thetas or {})


def tables_of(frame: pd.DataFrame, fidelity: Sequence[UserFidelity] = ()) -> Tables:
    """Main table and tables of scaling (every user has 8 context pairs) and fidelity of a run with these verdicts."""
    users = frame[["dataset", "user_id"]].drop_duplicates().itertuples(index=False)
    labelled = {(str(user.dataset), str(user.user_id)): Labelled(8) for user in users}
    return Tables(
        main_table(frame, collect_calls([]), seed=1, n_resamples=9),
        scaling_table(frame, labelled, seed=1, n_resamples=999),
        fidelity_table(fidelity, seed=1, n_resamples=199),
    )


NO_TABLES = Tables(pd.DataFrame(), pd.DataFrame(), fidelity_table([], seed=0, n_resamples=1))


def paper_like(folder: Path) -> tuple[pd.DataFrame, RunIdentity]:
    """Generated verdicts of a run that names the paper's data sets and models."""
    cells = []
    for dataset in ("arena", "prism"):
        cells.append(Cell("random", 0.5, None, variant="baseline", dataset=dataset))
        for model in ("large", "small"):
            cells += [
                Cell(name, 0.6, model, variant="baseline", dataset=dataset) for name in ("default", "demographics")
            ]
            profiled = Cell("memory", 0.62, model, model, "all", variant="as_published", dataset=dataset)
            cells += [profiled._replace(method=name) for name in ("memory", "demos", "persona", "both")]
    served = read_served(MODELS)
    models = {"large": (LLAMA, ""), "small": ("meta-llama/Llama-3.1-8B-Instruct", "")}
    identity = RunIdentity({"arena": "arena", "prism": "prism"}, {"arena": (), "prism": ()}, models, served)
    return collect_verdicts(write_cells(folder, cells, [4] * 12)), identity
