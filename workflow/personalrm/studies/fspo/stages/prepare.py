"""Stage `prepare`: the users of a domain by its traits, and the questions that it is given. No model is asked."""

from __future__ import annotations

from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import write_records
from personalrm.core.synthetic import SyntheticQuestion
from personalrm.personas.synthetic.settings import Domain
from personalrm.personas.synthetic.users import seed_users
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.fspo.plan import Plan


def prepare_stage(plan: Plan, dataset: str) -> None:
    """Write the `SeedUser`s of a domain, and its given questions."""
    domain = plan.config.datasets[dataset]
    write_records(Path(plan.users(dataset)), seed_users(domain, plan.config.seed))
    write_records(Path(plan.seeds(dataset)), given_questions(domain))


def given_questions(domain: Domain) -> list[SyntheticQuestion]:
    """The questions of the domain's file, one per line that is not blank; those with a trait are not among them.

    Raises DataError for a file that cannot be read as text.
    """
    path = domain.questions.seeds
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"datasets.{domain.name}.questions.seeds: {path} is no UTF-8 text: {error}") from None
    texts = dict.fromkeys(line.strip() for line in lines if line.strip())
    return [
        SyntheticQuestion(dataset=domain.name, question_id=question_id(text), text=text, source="seed")
        for text in texts
    ]


def question_id(text: str) -> str:
    """Id of a question, from its text alone."""
    return stable_hash("question", text)[:12]


def _inputs(plan: Plan, job: Wildcards) -> Files:
    """The file of questions, if it exists: before a real run the preflight names one that is missing."""
    return {"rows": [str(path) for path in plan.config.datasets[job.dataset].source_files() if path.is_file()]}


PREPARE: Stage[Plan] = Stage(
    name="prepare",
    output=lambda plan, job: [plan.users(job.dataset), plan.seeds(job.dataset)],
    combinations=Plan.domains,
    inputs=_inputs,
    reads=lambda plan, job: {
        "seed": plan.config.seed,
        **plan.config.datasets[job.dataset].model_dump(mode="json", include={"name", "traits", "people"}),
        "seeds": str(plan.config.datasets[job.dataset].questions.seeds or ""),
    },
    work=prepare_stage,
)
