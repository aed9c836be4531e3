"""Scores of all pairs by named attributes, for the methods that learn a user's taste from them.

INPUTS   data/<dataset>/shards/<shard>.jsonl, fitted/<dataset>/attributes/<model>.jsonl
OUTPUTS  attributes/<dataset>/<model>/<shard>.jsonl
         tastes/<dataset>/<model>/<shard>.jsonl: each user's own weights, and the persona that they make
"""


rule score_attributes:
    input:
        unpack(inputs_of("score_attributes")),
    output:
        PLAN.template("score_attributes"),
    log:
        PLAN.log("score_attributes"),
    benchmark:
        PLAN.benchmark("score_attributes")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("score_attributes")
    resources:
        llm_calls=calls_of("score_attributes"),
        mem_mb=growing(1000),
        runtime=growing(240, "score_attributes"),
    params:
        reads=reads_of("score_attributes"),
        config=RUN_CONFIG,
    message:
        "Scoring the pairs of {wildcards.dataset} by attributes: {wildcards.model}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage score_attributes --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule taste:
    input:
        unpack(inputs_of("taste")),
    output:
        PLAN.template("taste"),
    log:
        PLAN.log("taste"),
    benchmark:
        PLAN.benchmark("taste")
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        reads=reads_of("taste"),
        config=RUN_CONFIG,
    message:
        "Measuring tastes: scores of {wildcards.model} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage taste --config {params.config:q} --out {output:q} > {log:q} 2>&1"
