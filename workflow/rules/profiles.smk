"""Stages 2 and 3: demonstration search, persona induction, search with the persona.

INPUTS   data/<dataset>/shards/<shard>.jsonl, traces/…, the program file of a Theta
OUTPUTS  profiles/<dataset>/<variant>/<model>/k<k>/<shard>.jsonl
"""


rule profile:
    input:
        users=f"{RUN}/data/{{dataset}}/shards/{{shard}}.jsonl",
        traces=f"{RUN}/traces/{{dataset}}/{{variant}}/{{model}}/{{shard}}.jsonl",
        theta=lambda wildcards: PLAN.theta_files(wildcards.variant, wildcards.model),
    output:
        f"{RUN}/profiles/{{dataset}}/{{variant}}/{{model}}/k{{k}}/{{shard}}.jsonl",
    log:
        f"{RUN}/logs/profiles/{{dataset}}/{{variant}}/{{model}}/k{{k}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/profiles/{{dataset}}/{{variant}}/{{model}}/k{{k}}/{{shard}}.tsv"
    conda:
        "../envs/personalrm.yml"
    threads: lambda wildcards: threads_for(wildcards.model)
    resources:
        llm_calls=lambda wildcards: calls_for(wildcards.model),
        mem_mb=growing(1000),
        runtime=growing(240),
    params:
        reads=lambda wildcards: support.fingerprint(
            CONFIG,
            "profile",
            model=wildcards.model,
            variant=wildcards.variant,
            k=support.read_k(wildcards.k),
        ),
        config=RUN_CONFIG,
    message:
        "Learning profiles: {wildcards.model} on {wildcards.dataset}, k = {wildcards.k}, shard {wildcards.shard}"
    shell:
        "python -m personalrm profile --config {params.config:q} --users {input.users:q} --traces {input.traces:q}"
        " --out {output:q} --model {wildcards.model:q} --variant {wildcards.variant:q} --k {wildcards.k:q}"
        " > {log:q} 2>&1"
