"""Judging the test pairs in both orders: baselines once, profiles for each (profile model, judge model, k).

INPUTS   data/<dataset>/shards/<shard>.jsonl, profiles/…, attributes/…, tastes/…
OUTPUTS  fitted/<dataset>/<method>/<model or none>.jsonl: what a method learned from other users
         verdicts/<dataset>/baseline/<judge or none>/<shard>.jsonl
         verdicts/<dataset>/attributes/<model that scored the pairs>/<shard>.jsonl
         verdicts/<dataset>/<variant>/<model>-to-<judge>/k<k>/<shard>.jsonl
         verdicts/<dataset>/measured/<model>-to-<judge>/<shard>.jsonl
         data/verdicts.parquet, data/calls.parquet: all verdicts made flat
"""


rule fit:
    input:
        unpack(inputs_of("fit")),
    output:
        PLAN.template("fit"),
    log:
        PLAN.log("fit"),
    benchmark:
        PLAN.benchmark("fit")
    conda:
        "../envs/personalrm.yml"
    threads: of_method("threads")
    resources:
        mem_mb=growing(FIT_MB),
        runtime=growing(FIT_MINUTES),
        gpu=of_method("gpus"),
    params:
        reads=reads_of("fit"),
        config=RUN_CONFIG,
    message:
        "Learning from other users: {wildcards.method} on {wildcards.dataset}"
    shell:
        "python -m personalrm stage fit --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule no_model:
    input:
        unpack(inputs_of("no_model")),
    output:
        PLAN.template("no_model"),
    log:
        PLAN.log("no_model"),
    benchmark:
        PLAN.benchmark("no_model")
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        reads=reads_of("no_model"),
        config=RUN_CONFIG,
    message:
        "Judging without a model: {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage no_model --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule weigh:
    input:
        unpack(inputs_of("weigh")),
    output:
        PLAN.template("weigh"),
    log:
        PLAN.log("weigh"),
    benchmark:
        PLAN.benchmark("weigh")
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        reads=reads_of("weigh"),
        config=RUN_CONFIG,
    message:
        "Judging by the scores of {wildcards.judge}: {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage weigh --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule baseline:
    input:
        unpack(inputs_of("baseline")),
    output:
        PLAN.template("baseline"),
    log:
        PLAN.log("baseline"),
    benchmark:
        PLAN.benchmark("baseline")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("baseline")
    resources:
        llm_calls=calls_of("baseline"),
        mem_mb=growing(1000),
        runtime=growing(240, "baseline"),
    params:
        reads=reads_of("baseline"),
        config=RUN_CONFIG,
    message:
        "Judging without profiles: {wildcards.judge} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage baseline --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule judge:
    input:
        unpack(inputs_of("judge")),
    output:
        PLAN.template("judge"),
    log:
        PLAN.log("judge"),
    benchmark:
        PLAN.benchmark("judge")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("judge")
    resources:
        llm_calls=calls_of("judge"),
        mem_mb=growing(1000),
        runtime=growing(240, "judge"),
    params:
        reads=reads_of("judge"),
        config=RUN_CONFIG,
    message:
        "Judging: profiles of {wildcards.model}, judge {wildcards.judge}, {wildcards.dataset}, k = {wildcards.k},"
        " shard {wildcards.shard}"
    shell:
        "python -m personalrm stage judge --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule judge_taste:
    input:
        unpack(inputs_of("judge_taste")),
    output:
        PLAN.template("judge_taste"),
    log:
        PLAN.log("judge_taste"),
    benchmark:
        PLAN.benchmark("judge_taste")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("judge_taste")
    resources:
        llm_calls=calls_of("judge_taste"),
        mem_mb=growing(1000),
        runtime=growing(240, "judge_taste"),
    params:
        reads=reads_of("judge_taste"),
        config=RUN_CONFIG,
    message:
        "Judging by measured personas: tastes by {wildcards.model}, judge {wildcards.judge}, {wildcards.dataset},"
        " shard {wildcards.shard}"
    shell:
        "python -m personalrm stage judge_taste --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule collect_scores:
    input:
        verdicts=PLAN.verdict_paths(),
    output:
        verdicts=f"{RUN}/data/verdicts.parquet",
        calls=f"{RUN}/data/calls.parquet",
    log:
        f"{RUN}/logs/collect_scores.log",
    benchmark:
        f"{RUN}/benchmarks/collect_scores.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        config=RUN_CONFIG,
    message:
        "Collecting verdicts"
    shell:
        "python -m personalrm collect --config {params.config:q} > {log:q} 2>&1"
