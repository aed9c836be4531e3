"""Stage `prepare`: the pairs of a data set, one file per shard."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from personalrm.core.files import atomic_write_text
from personalrm.core.persona_pairs import SIDES, PersonaPair
from personalrm.core.records import write_records
from personalrm.data.pair_sets import PairSet, in_shards, read_pairs
from personalrm.data.retrieval import Agreement, agreement, with_retrieved
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.tailoring.plan import Plan


def prepare_stage(plan: Plan, dataset: str) -> None:
    """Write the pairs of one data set, and their counts. Files of another number of shards are removed."""
    settings = plan.config.datasets[dataset]
    pairs, retrieval = prepared(settings)
    files = {name: Path(plan.pairs(Wildcards(dataset=dataset, shard=name))) for name in plan.shards(dataset)}
    for name, mine in in_shards(pairs, settings.shards, list(files)).items():
        write_records(files[name], mine)
    for path in {*next(iter(files.values())).parent.glob("*.jsonl")} - {*files.values()}:
        path.unlink()
    counts = {
        "pairs": len(pairs),
        "splits": dict(sorted(Counter(pair.split for pair in pairs).items())),
        "undecided": sum(not pair.decides for pair in pairs),
        "gold": {side: sum(side in pair.gold for pair in pairs) for side in SIDES},
        **({"retrieval_as_shipped": retrieval._asdict()} if retrieval else {}),
    }
    atomic_write_text(Path(plan.counts(dataset)), json.dumps(counts, indent=2) + "\n")


def prepared(settings: PairSet) -> tuple[list[PersonaPair], Agreement | None]:
    """The pairs of a data set; where their personas were retrieved here, with how many are as shipped."""
    pairs = read_pairs(settings)
    if settings.retrieval == "shipped":
        return pairs, None
    found = with_retrieved(pairs, read_pairs(settings.model_copy(update={"splits": None, "max_pairs": None})))
    return found, agreement(found, pairs)


def _inputs(plan: Plan, job: Wildcards) -> Files:
    """Files of the hub, which rules fetch, and those local files that exist: a dry run needs no data, and before a real
    run the preflight names what is missing."""
    settings = plan.config.datasets[job.dataset]
    fetched = settings.hub is not None
    return {"rows": [str(path) for path in settings.source_files() if fetched or path.is_file()]}


PREPARE: Stage[Plan] = Stage(
    name="prepare",
    output=lambda plan, job: [*plan.pair_files(job.dataset), plan.counts(job.dataset)],
    combinations=lambda plan: [Wildcards(dataset=name) for name in plan.config.datasets],
    inputs=_inputs,
    reads=lambda plan, job: plan.config.datasets[job.dataset].model_dump(
        mode="json", exclude={"licence", "prompt", "reported"}
    ),
    work=prepare_stage,
)
