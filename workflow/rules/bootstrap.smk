"""Stage 1: bootstrap reasoning, independent of k.

INPUTS   data/<dataset>/shards/<shard>.jsonl
OUTPUTS  traces/<dataset>/<variant>/<model>/<shard>.jsonl
"""


rule bootstrap:
    input:
        unpack(inputs_of("bootstrap")),
    output:
        PLAN.template("bootstrap"),
    log:
        PLAN.log("bootstrap"),
    benchmark:
        PLAN.benchmark("bootstrap")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("bootstrap")
    resources:
        llm_calls=calls_of("bootstrap"),
        mem_mb=growing(1000),
        runtime=growing(240),
    params:
        reads=reads_of("bootstrap"),
        config=RUN_CONFIG,
    message:
        "Bootstrapping reasoning: {wildcards.model} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage bootstrap --config {params.config:q} --out {output:q} > {log:q} 2>&1"
