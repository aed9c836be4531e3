"""The tables and figures of a run of this study: the files and settings that they are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from personalrm.core.persona_pairs import RELEASED
from personalrm.personas.saliency import Contrast
from personalrm.studies.run_results import REPORTED
from personalrm.studies.stage_costs import CostSettings, paid_files
from personalrm.studies.tailoring.plan import Plan

PACKAGES = ("personalrm.studies.tailoring.results",)
"""Where results are declared."""
OF_RELEASED = "Llama-3.1-405B"
"""The model of the released personas, in the paper's names."""

PAPER_JUDGE = "prometheus-7b-v2.0"
"""The paper's judge of answers; what its id ends with wherever it is served."""


@dataclass(frozen=True, kw_only=True)
class ResultSettings(CostSettings):
    """What tables and figures read of the config, by the names of their parameters.

    - seed, n_resamples: of bootstraps.
    - reported_datasets, reported_models: data sets and models of the run to their names in the paper.
    - released: whether the personas that data sets come with are in the results.
    - given: names of the personas of users that another run learned.
    - contrasts, cutoff, top: of the saliency of words.
    - clean_up: what is removed from answers before they are judged.
    - compared: data set, test system and base system of all comparisons.
    - reported_comparisons: test system, base system and the paper's comparison.
    - paper_judges: judges that are the paper's, asked by its prompt.
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
    clean_up: str
    compared: Sequence[tuple[str, str, str]]
    reported_comparisons: Sequence[tuple[str, str, str]]
    paper_judges: Sequence[str]
    title_note: str


def result_settings(plan: Plan) -> ResultSettings:
    """Settings of the run's tables and figures."""
    config, compare = plan.config, plan.config.compare
    graded = {name: config.models[name].model for name in compare.prometheus.judges}
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
        clean_up=compare.clean_up,
        compared=compare.jobs(config.systems),
        reported_comparisons=[(pair.test, pair.base, pair.reported) for pair in compare.pairs if pair.reported],
        paper_judges=[name for name, model in graded.items() if model.endswith(PAPER_JUDGE)],
        **CostSettings.values(plan),
        title_note=f"run {config.run}",
    )


def result_files(plan: Plan) -> dict[str, str | list[str]]:
    """Input files of the run's tables and figures, by the names of their parameters."""
    return {
        "pairs": [path for name in plan.config.datasets for path in plan.pair_files(name)],
        "counts": [plan.counts(name) for name in plan.config.datasets],
        "paid": paid_files(plan),
        "personas": plan.paths("infer_personas"),
        "judged_personas": plan.paths("judge_personas"),
        "judged_preferences": plan.paths("prefer_personas"),
        "judged_answers": plan.paths("judge_generations"),
        "reported_tailoring": str(REPORTED / "tailoring.csv"),
        "reported_answers": str(REPORTED / "tailoring_answers.csv"),
    }


def conditions(plan: Plan) -> dict[str, bool]:
    """What a result may be declared to need (`Result.when`), and whether the run has it."""
    config, answers = plan.config, bool(plan.jobs("judge_generations"))
    known = any(entry.reported for entry in config.datasets.values()) and any(p.reported for p in config.compare.pairs)
    return {
        "": True,
        "personas": bool(config.personas_of),
        "accuracy": bool(config.personas_of and config.judge.accuracy),
        "preference": bool(config.preference_pairs),
        "answers": answers,
        "reported_answers": answers and known,
    }
