"""From raw votes to users with split pairs.

INPUTS   datasets.<name>.path or datasets.<name>.hub of the config
OUTPUTS  data/<dataset>/shards/<shard>.jsonl, funnel.json, card.md, of processed sets judgments.jsonl;
         for all runs, data/hub/<repo>/<revision>/
"""

for _dataset in PLAN.fetches:

    rule:
        name:
            f"fetch_{_dataset}"
        output:
            # `update`: files that are there, fetched for another run or put there by hand, are checked, not deleted.
            [update(path) for path in PLAN.files("fetch", dataset=_dataset)],
        log:
            PLAN.log("fetch", dataset=_dataset),
        benchmark:
            PLAN.benchmark("fetch", dataset=_dataset)
        # Beside the stage's own attempts.
        retries: 2
        # Compute nodes often have no way out.
        localrule: True
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(500),
            runtime=growing(240),
        message:
            f"Fetching the files of {_dataset} from the hub"
        # Nothing of this run stands in `params`: the files are shared by all runs, and fetched for none of them again.
        shell:
            f'python -m personalrm stage fetch --config "$PERSONALRM_RUN_CONFIG" --dataset {_dataset} > {{log:q}} 2>&1'


for _dataset in CONFIG.datasets:

    rule:
        name:
            f"prepare_{_dataset}"
        input:
            unpack(inputs_of("prepare", dataset=_dataset)),
        output:
            PLAN.files("prepare", dataset=_dataset),
        log:
            PLAN.log("prepare", dataset=_dataset),
        benchmark:
            PLAN.benchmark("prepare", dataset=_dataset)
        # Bad data stay bad.
        retries: 0
        conda:
            "../envs/personalrm.yml"
        resources:
            # Twice what building 1 GB of votes takes at most (benchmarks, `big`).
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            reads=reads_of("prepare", dataset=_dataset),
            config=RUN_CONFIG,
            dataset=_dataset,
        message:
            f"Preparing the data of {_dataset}"
        shell:
            "python -m personalrm stage prepare --config {params.config:q} --dataset {params.dataset:q} > {log:q} 2>&1"
