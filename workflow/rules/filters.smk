"""The filters that ask models: ratings, a panel of judges, and what they leave (paper, benchmark).

INPUTS   data/<dataset>/unfiltered/<shard>.jsonl, and judgments.jsonl where those of the release are read instead
OUTPUTS  data/<dataset>/ratings/<shard>.jsonl, data/<dataset>/panel/<model>/<shard>.jsonl,
         data/<dataset>/shards/<shard>.jsonl, funnel.json, card.md, filter_sensitivity.jsonl
"""


rule rate:
    input:
        unpack(inputs_of("rate")),
    output:
        PLAN.template("rate"),
    log:
        PLAN.log("rate"),
    benchmark:
        PLAN.benchmark("rate")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("rate")
    resources:
        llm_calls=calls_of("rate"),
        mem_mb=growing(1000),
        runtime=growing(240, "rate"),
    params:
        reads=reads_of("rate"),
        model=lambda wildcards: PLAN.rater(wildcards.dataset),
        config=RUN_CONFIG,
    message:
        "Rating how personal the pairs of {wildcards.dataset} are: {params.model}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage rate --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule panel:
    input:
        unpack(inputs_of("panel")),
    output:
        PLAN.template("panel"),
    log:
        PLAN.log("panel"),
    benchmark:
        PLAN.benchmark("panel")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("panel")
    resources:
        llm_calls=calls_of("panel"),
        mem_mb=growing(1000),
        runtime=growing(240, "panel"),
    params:
        reads=reads_of("panel"),
        config=RUN_CONFIG,
    message:
        "Panel vote of {wildcards.model} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage panel --config {params.config:q} --out {output:q} > {log:q} 2>&1"


for _dataset in [job.dataset for job in PLAN.jobs("released")]:

    rule:
        name:
            f"released_{_dataset}"
        input:
            unpack(inputs_of("released", dataset=_dataset)),
        output:
            PLAN.files("released", dataset=_dataset),
        log:
            PLAN.log("released", dataset=_dataset),
        benchmark:
            PLAN.benchmark("released", dataset=_dataset)
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
            "python -m personalrm stage released --config {params.config:q} --dataset {params.name:q} > {log:q} 2>&1"


for _dataset in PLAN.filtered:

    rule:
        name:
            f"filter_{_dataset}"
        input:
            unpack(inputs_of("filter", dataset=_dataset)),
        output:
            PLAN.files("filter", dataset=_dataset),
        log:
            PLAN.log("filter", dataset=_dataset),
        benchmark:
            PLAN.benchmark("filter", dataset=_dataset)
        retries: 0
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            reads=reads_of("filter", dataset=_dataset),
            config=RUN_CONFIG,
            name=_dataset,
        message:
            f"Filtering the pairs of {_dataset}"
        shell:
            "python -m personalrm stage filter --config {params.config:q} --dataset {params.name:q} > {log:q} 2>&1"
