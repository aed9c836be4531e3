"""Stages 2 and 3: demonstration search, persona induction, search with the persona.

INPUTS   data/<dataset>/shards/<shard>.jsonl, traces/…, the program file of a Theta
OUTPUTS  profiles/<dataset>/<variant>/<model>/k<k>/<shard>.jsonl
"""


rule profile:
    input:
        unpack(inputs_of("profile")),
    output:
        PLAN.template("profile"),
    log:
        PLAN.log("profile"),
    benchmark:
        PLAN.benchmark("profile")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("profile")
    resources:
        llm_calls=calls_of("profile"),
        mem_mb=growing(1000),
        runtime=growing(240),
    params:
        reads=reads_of("profile"),
        config=RUN_CONFIG,
    message:
        "Learning profiles: {wildcards.model} on {wildcards.dataset}, k = {wildcards.k}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage profile --config {params.config:q} --out {output:q} > {log:q} 2>&1"
