"""The tables and figures of a run of this study: the files and settings that they are made from."""

from __future__ import annotations

from dataclasses import dataclass

from personalrm.studies.fspo.plan import Plan
from personalrm.studies.run_results import REPORTED
from personalrm.studies.stage_costs import CostSettings, paid_files

PACKAGES = ("personalrm.studies.fspo.results",)
"""Where results are declared."""


@dataclass(frozen=True, kw_only=True)
class ResultSettings(CostSettings):
    """What tables and figures read of the config, by the names of their parameters.

    - seed, n_resamples: of bootstraps.
    - title_note: text under the title of a figure.
    """

    seed: int
    n_resamples: int
    title_note: str


def result_settings(plan: Plan) -> ResultSettings:
    """Settings of the run's tables and figures."""
    config = plan.config
    return ResultSettings(
        seed=config.statistics.seed,
        n_resamples=config.statistics.resamples,
        title_note=f"run {config.run}",
        **CostSettings.values(plan),
    )


def result_files(plan: Plan) -> dict[str, str | list[str]]:
    """Input files of the run's tables and figures, by the names of their parameters."""
    return {
        "paid": paid_files(plan),
        "answers": plan.paths("answer_questions"),
        "users": plan.paths("describe_users"),
        "labels": plan.paths("label_pairs"),
        "comparisons": plan.paths("compare_answers"),
        "reported_fspo": str(REPORTED / "fspo.csv"),
    }


def conditions(plan: Plan) -> dict[str, bool]:
    """What a result may be declared to need (`Result.when`), and whether the run has it."""
    return {"": True, "compare": plan.config.compare is not None}
