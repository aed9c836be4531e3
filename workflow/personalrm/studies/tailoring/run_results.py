"""The tables and figures of a run of this study: the files and settings that they are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from personalrm.core.persona_pairs import RELEASED
from personalrm.personas.saliency import Contrast
from personalrm.studies.run_results import REPORTED
from personalrm.studies.tailoring.plan import Plan

PACKAGES = ("personalrm.studies.tailoring.results",)
"""Where results are declared."""
OF_RELEASED = "Llama-3.1-405B"
"""The model of the released personas, in the paper's names."""


@dataclass(frozen=True)
class ResultSettings:
    """What tables and figures read of the config, by the names of their parameters.

    - seed, n_resamples: of bootstraps.
    - reported_datasets, reported_models: data sets and models of the run to their names in the paper.
    - released: whether the personas that data sets come with are in the results.
    - given: names of the personas of users that another run learned.
    - contrasts, cutoff, top: of the saliency of words.
    - title_note: text under the title of a figure.
    """

    seed: int
    n_resamples: int
    reported_datasets: Mapping[str, str]
    reported_models: Mapping[str, str]
    released: bool
    given: Sequence[str]
    contrasts: Sequence[Contrast]
    cutoff: int
    top: int
    title_note: str


def result_settings(plan: Plan) -> ResultSettings:
    """Settings of the run's tables and figures."""
    config = plan.config
    return ResultSettings(
        seed=config.statistics.seed,
        n_resamples=config.statistics.resamples,
        reported_datasets={name: entry.reported for name, entry in config.datasets.items() if entry.reported},
        reported_models={RELEASED: OF_RELEASED, **config.infer.reported},
        released=config.infer.released,
        given=list(config.infer.given),
        contrasts=config.saliency.contrast,
        cutoff=config.saliency.cutoff,
        top=config.saliency.top,
        title_note=f"run {config.run}",
    )


def result_files(plan: Plan) -> dict[str, str | list[str]]:
    """Input files of the run's tables and figures, by the names of their parameters."""
    return {
        "pairs": [path for name in plan.config.datasets for path in plan.pair_files(name)],
        "personas": plan.paths("infer_personas"),
        "judged_personas": plan.paths("judge_personas"),
        "judged_preferences": plan.paths("prefer_personas"),
        "reported_tailoring": str(REPORTED / "tailoring.csv"),
    }


def conditions(plan: Plan) -> dict[str, bool]:
    """What a result may be declared to need (`Result.when`), and whether the run has it."""
    config = plan.config
    return {"": True, "accuracy": bool(config.judge.accuracy), "preference": bool(config.preference_pairs)}
