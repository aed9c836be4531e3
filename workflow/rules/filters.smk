"""The filters that ask models: ratings, a panel of judges, and what they leave (paper, benchmark).

INPUTS   data/<dataset>/unfiltered/<shard>.jsonl, and judgments.jsonl where those of the release are read instead
OUTPUTS  data/<dataset>/ratings/<shard>.jsonl, data/<dataset>/panel/<model>/<shard>.jsonl,
         data/<dataset>/shards/<shard>.jsonl, funnel.json, card.md, filter_sensitivity.jsonl
"""


rule rate:
    input:
        users=f"{RUN}/data/{{dataset}}/unfiltered/{{shard}}.jsonl",
    output:
        f"{RUN}/data/{{dataset}}/ratings/{{shard}}.jsonl",
    log:
        f"{RUN}/logs/rate/{{dataset}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/rate/{{dataset}}/{{shard}}.tsv"
    conda:
        "../envs/personalrm.yml"
    threads: lambda wildcards: threads_for(PLAN.rater(wildcards.dataset))
    resources:
        llm_calls=lambda wildcards: calls_for(
            PLAN.rater(wildcards.dataset), batches=True
        ),
        mem_mb=growing(1000),
        runtime=growing(240, batches_of=lambda wildcards: PLAN.rater(wildcards.dataset)),
    params:
        reads=lambda wildcards: support.filter_fingerprint(
            CONFIG, wildcards.dataset, "rate", PLAN.rater(wildcards.dataset)
        ),
        model=lambda wildcards: PLAN.rater(wildcards.dataset),
        config=RUN_CONFIG,
    message:
        "Rating how personal the pairs of {wildcards.dataset} are: {params.model}, shard {wildcards.shard}"
    shell:
        "python -m personalrm rate --config {params.config:q} --dataset {wildcards.dataset:q} --users {input.users:q}"
        " --out {output:q} > {log:q} 2>&1"


rule panel:
    input:
        users=f"{RUN}/data/{{dataset}}/unfiltered/{{shard}}.jsonl",
        ratings=lambda wildcards: PLAN.ratings_before_panel(
            wildcards.dataset, wildcards.shard
        ),
    output:
        f"{RUN}/data/{{dataset}}/panel/{{model}}/{{shard}}.jsonl",
    log:
        f"{RUN}/logs/panel/{{dataset}}/{{model}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/panel/{{dataset}}/{{model}}/{{shard}}.tsv"
    conda:
        "../envs/personalrm.yml"
    threads: lambda wildcards: threads_for(wildcards.model)
    resources:
        llm_calls=lambda wildcards: calls_for(wildcards.model, batches=True),
        mem_mb=growing(1000),
        runtime=growing(240, batches_of=lambda wildcards: wildcards.model),
    params:
        reads=lambda wildcards: support.filter_fingerprint(
            CONFIG, wildcards.dataset, "panel", wildcards.model
        ),
        ratings=lambda wildcards, input: (
            f"--ratings {input.ratings}" if input.ratings else ""
        ),
        config=RUN_CONFIG,
    message:
        "Panel vote of {wildcards.model} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm panel --config {params.config:q} --dataset {wildcards.dataset:q} --users {input.users:q}"
        " {params.ratings} --model {wildcards.model:q} --out {output:q} > {log:q} 2>&1"


for _dataset in filter(PLAN.released_files, CONFIG.datasets):

    rule:
        name:
            f"released_{_dataset}"
        input:
            users=PLAN.prepared_paths(_dataset),
            judgments=PLAN.judgment_files(_dataset),
        output:
            PLAN.released_files(_dataset),
        log:
            f"{RUN}/logs/released/{_dataset}.log",
        benchmark:
            f"{RUN}/benchmarks/released/{_dataset}.tsv"
        retries: 0
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            config=RUN_CONFIG,
            name=_dataset,
        message:
            f"Reading the ratings and votes that {_dataset} was released with"
        shell:
            "python -m personalrm released --config {params.config:q} --dataset {params.name:q} > {log:q} 2>&1"


for _dataset in PLAN.filtered:

    rule:
        name:
            f"filter_{_dataset}"
        input:
            users=PLAN.prepared_paths(_dataset),
            funnel=f"{PLAN.prepared_folder(_dataset)}/funnel.json",
            ratings=PLAN.rating_paths(_dataset),
            panel=PLAN.panel_paths(_dataset),
        output:
            shards=PLAN.shard_paths(_dataset),
            funnel=f"{RUN}/data/{_dataset}/funnel.json",
            card=f"{RUN}/data/{_dataset}/card.md",
            sensitivity=f"{RUN}/data/{_dataset}/filter_sensitivity.jsonl",
        log:
            f"{RUN}/logs/filter/{_dataset}.log",
        benchmark:
            f"{RUN}/benchmarks/filter/{_dataset}.tsv"
        retries: 0
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            reads=PLAN.filter_settings(_dataset),
            config=RUN_CONFIG,
            name=_dataset,
        message:
            f"Filtering the pairs of {_dataset}"
        shell:
            "python -m personalrm filter --config {params.config:q} --dataset {params.name:q} > {log:q} 2>&1"
