"""Scores of all pairs by named attributes, for the methods that learn a user's taste from them.

INPUTS   data/<dataset>/shards/<shard>.jsonl
OUTPUTS  attributes/<dataset>/<model>/<shard>.jsonl
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
