"""From raw votes to users with split pairs.

INPUTS   datasets.<name>.path of the config
OUTPUTS  data/<dataset>/shards/<shard>.jsonl, funnel.json, card.md
"""

for _dataset in CONFIG.datasets:

    rule:
        name:
            f"prepare_{_dataset}"
        input:
            votes=PLAN.sources(_dataset),
        output:
            shards=PLAN.shard_paths(_dataset),
            funnel=f"{RUN}/data/{_dataset}/funnel.json",
            card=f"{RUN}/data/{_dataset}/card.md",
        log:
            f"{RUN}/logs/prepare/{_dataset}.log",
        benchmark:
            f"{RUN}/benchmarks/prepare/{_dataset}.tsv"
        # Bad data stay bad.
        retries: 0
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=1000,
            runtime=30,
        params:
            reads=PLAN.dataset_fingerprint(_dataset),
            config=RUN_CONFIG,
            dataset=_dataset,
        message:
            f"Reading votes of {_dataset}, filtering users, splitting their pairs"
        shell:
            "python -m personalrm prepare --config {params.config:q} --dataset {params.dataset:q} > {log:q} 2>&1"
