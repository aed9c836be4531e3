"""Judging the test pairs in both orders: baselines once, profiles for each (profile model, judge model, k).

INPUTS   data/<dataset>/shards/<shard>.jsonl, profiles/…
OUTPUTS  verdicts/<dataset>/baseline/<judge or none>/<shard>.jsonl
         verdicts/<dataset>/<variant>/<model>-to-<judge>/k<k>/<shard>.jsonl
"""


rule no_model:
    input:
        users=f"{RUN}/data/{{dataset}}/shards/{{shard}}.jsonl",
    output:
        f"{RUN}/verdicts/{{dataset}}/baseline/none/{{shard}}.jsonl",
    log:
        f"{RUN}/logs/verdicts/{{dataset}}/baseline/none/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/verdicts/{{dataset}}/baseline/none/{{shard}}.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        reads=support.fingerprint(CONFIG, "baseline"),
        config=RUN_CONFIG,
    message:
        "Judging without a model: {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm judge --config {params.config:q} --users {input.users:q} --out {output:q} > {log:q} 2>&1"


rule baseline:
    input:
        users=f"{RUN}/data/{{dataset}}/shards/{{shard}}.jsonl",
    output:
        f"{RUN}/verdicts/{{dataset}}/baseline/{{judge}}/{{shard}}.jsonl",
    log:
        f"{RUN}/logs/verdicts/{{dataset}}/baseline/{{judge}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/verdicts/{{dataset}}/baseline/{{judge}}/{{shard}}.tsv"
    conda:
        "../envs/personalrm.yml"
    threads: lambda wildcards: threads_for(wildcards.judge)
    resources:
        llm_calls=lambda wildcards: calls_for(wildcards.judge, batches=True),
        mem_mb=growing(1000),
        runtime=growing(240, batches_of=lambda wildcards: wildcards.judge),
    params:
        reads=lambda wildcards: support.fingerprint(
            CONFIG, "baseline", model=wildcards.judge
        ),
        config=RUN_CONFIG,
    message:
        "Judging without profiles: {wildcards.judge} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm judge --config {params.config:q} --users {input.users:q} --out {output:q}"
        " --judge {wildcards.judge:q} > {log:q} 2>&1"


rule judge:
    input:
        users=f"{RUN}/data/{{dataset}}/shards/{{shard}}.jsonl",
        profiles=f"{RUN}/profiles/{{dataset}}/{{variant}}/{{model}}/k{{k}}/{{shard}}.jsonl",
    output:
        f"{RUN}/verdicts/{{dataset}}/{{variant}}/{{model}}-to-{{judge}}/k{{k}}/{{shard}}.jsonl",
    log:
        f"{RUN}/logs/verdicts/{{dataset}}/{{variant}}/{{model}}-to-{{judge}}/k{{k}}/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/verdicts/{{dataset}}/{{variant}}/{{model}}-to-{{judge}}/k{{k}}/{{shard}}.tsv"
    conda:
        "../envs/personalrm.yml"
    threads: lambda wildcards: threads_for(wildcards.judge)
    resources:
        llm_calls=lambda wildcards: calls_for(wildcards.judge, batches=True),
        mem_mb=growing(1000),
        runtime=growing(240, batches_of=lambda wildcards: wildcards.judge),
    params:
        reads=lambda wildcards: support.fingerprint(
            CONFIG,
            "judge",
            model=wildcards.judge,
            profile=wildcards.model,
            k=support.read_k(wildcards.k),
        ),
        config=RUN_CONFIG,
    message:
        "Judging: profiles of {wildcards.model}, judge {wildcards.judge}, {wildcards.dataset}, k = {wildcards.k},"
        " shard {wildcards.shard}"
    shell:
        "python -m personalrm judge --config {params.config:q} --users {input.users:q} --profiles {input.profiles:q}"
        " --profile-model {wildcards.model:q} --judge {wildcards.judge:q} --out {output:q} > {log:q} 2>&1"
