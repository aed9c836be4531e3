"""Stage 1: bootstrap reasoning, independent of k.

INPUTS   data/<dataset>/shards/<shard>.jsonl
OUTPUTS  traces/<dataset>/<variant>/<model>/<shard>.jsonl
"""


rule bootstrap:
    input:
        users=f"{RUN}/data/{{dataset}}/shards/{{shard}}.jsonl",
    output:
        f"{RUN}/traces/{{dataset}}/{{variant}}/{{model}}/{{shard}}.jsonl",
    log:
        f"{RUN}/logs/bootstrap/{{dataset}}/{{variant}}/{{model}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/bootstrap/{{dataset}}/{{variant}}/{{model}}/{{shard}}.tsv"
    conda:
        "../envs/personalrm.yml"
    threads: lambda wildcards: threads_for(wildcards.model)
    resources:
        llm_calls=lambda wildcards: calls_for(wildcards.model),
        mem_mb=growing(1000),
        runtime=growing(240),
    params:
        reads=lambda wildcards: support.fingerprint(
            CONFIG, "bootstrap", model=wildcards.model, variant=wildcards.variant
        ),
        config=RUN_CONFIG,
    message:
        "Bootstrapping reasoning: {wildcards.model} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm bootstrap --config {params.config:q} --users {input.users:q} --out {output:q}"
        " --model {wildcards.model:q} --variant {wildcards.variant:q} > {log:q} 2>&1"
