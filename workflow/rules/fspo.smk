"""The rules of FSPO's synthetic users: questions, answers, pairs of answers, descriptions, labels, comparisons.

INPUTS   data/<domain>/users.jsonl, seeds.jsonl
OUTPUTS  questions/<domain>.jsonl
         answers/<domain>/<model>/<shard>.jsonl
         pairs/<domain>.jsonl
         users/<domain>.jsonl
         labels/<domain>/<shard>.jsonl
         generations/<domain>/<system>/<shard>.jsonl, or policy_answers/<domain>/<system>/<shard>.jsonl
         comparisons/<domain>/<system>-by-<judge>/<shard>.jsonl
"""

PAGES = []


rule ask_questions:
    input:
        unpack(inputs_of("ask_questions")),
    output:
        PLAN.template("ask_questions"),
    log:
        PLAN.log("ask_questions"),
    benchmark:
        PLAN.benchmark("ask_questions")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("ask_questions")
    resources:
        llm_calls=calls_of("ask_questions"),
        mem_mb=growing(1000),
        runtime=growing(240),
    params:
        reads=reads_of("ask_questions"),
        config=RUN_CONFIG,
    message:
        "Writing questions of {wildcards.dataset}"
    shell:
        "python -m personalrm stage ask_questions --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule answer_questions:
    input:
        unpack(inputs_of("answer_questions")),
    output:
        PLAN.template("answer_questions"),
    log:
        PLAN.log("answer_questions"),
    benchmark:
        PLAN.benchmark("answer_questions")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("answer_questions")
    resources:
        llm_calls=calls_of("answer_questions"),
        mem_mb=growing(1000),
        runtime=growing(240),
    params:
        reads=reads_of("answer_questions"),
        config=RUN_CONFIG,
    message:
        "Answering questions: {wildcards.model} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage answer_questions --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule pair_answers:
    input:
        unpack(inputs_of("pair_answers")),
    output:
        PLAN.template("pair_answers"),
    log:
        PLAN.log("pair_answers"),
    benchmark:
        PLAN.benchmark("pair_answers")
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        reads=reads_of("pair_answers"),
        config=RUN_CONFIG,
    message:
        "Pairing answers of {wildcards.dataset}"
    shell:
        "python -m personalrm stage pair_answers --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule describe_users:
    input:
        unpack(inputs_of("describe_users")),
    output:
        PLAN.template("describe_users"),
    log:
        PLAN.log("describe_users"),
    benchmark:
        PLAN.benchmark("describe_users")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("describe_users")
    resources:
        llm_calls=calls_of("describe_users"),
        mem_mb=growing(2000),
        runtime=growing(480),
    params:
        reads=reads_of("describe_users"),
        config=RUN_CONFIG,
    message:
        "Describing users of {wildcards.dataset}"
    shell:
        "python -m personalrm stage describe_users --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule label_pairs:
    input:
        unpack(inputs_of("label_pairs")),
    output:
        PLAN.template("label_pairs"),
    log:
        PLAN.log("label_pairs"),
    benchmark:
        PLAN.benchmark("label_pairs")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("label_pairs")
    resources:
        llm_calls=calls_of("label_pairs"),
        mem_mb=growing(2000),
        runtime=growing(240, "label_pairs"),
    params:
        reads=reads_of("label_pairs"),
        config=RUN_CONFIG,
    message:
        "Labelling pairs of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage label_pairs --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule write_answers:
    input:
        unpack(inputs_of("write_answers")),
    output:
        PLAN.template("write_answers"),
    log:
        PLAN.log("write_answers"),
    benchmark:
        PLAN.benchmark("write_answers")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("write_answers")
    resources:
        llm_calls=calls_of("write_answers"),
        mem_mb=growing(2000),
        runtime=growing(240, "write_answers"),
    params:
        reads=reads_of("write_answers"),
        config=RUN_CONFIG,
    message:
        "Answering held-out questions: {wildcards.method} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage write_answers --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule generate_answers:
    input:
        unpack(inputs_of("generate_answers")),
    output:
        PLAN.template("generate_answers"),
    log:
        PLAN.log("generate_answers"),
    benchmark:
        PLAN.benchmark("generate_answers")
    conda:
        "../envs/personalrm.yml"
    threads: setting_of(PLAN.policy, "threads")
    resources:
        mem_mb=growing(setting_of(PLAN.policy, "mem_mb")),
        runtime=growing(240),
        gpu=setting_of(PLAN.policy, "gpus"),
    params:
        reads=reads_of("generate_answers"),
        config=RUN_CONFIG,
    message:
        "Answering held-out questions: {wildcards.method} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage generate_answers --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule compare_answers:
    input:
        unpack(inputs_of("compare_answers")),
    output:
        PLAN.template("compare_answers"),
    log:
        PLAN.log("compare_answers"),
    benchmark:
        PLAN.benchmark("compare_answers")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("compare_answers")
    resources:
        llm_calls=calls_of("compare_answers"),
        mem_mb=growing(2000),
        runtime=growing(240, "compare_answers"),
    params:
        reads=reads_of("compare_answers"),
        config=RUN_CONFIG,
    message:
        "Comparing {wildcards.method} with Base: {wildcards.judge} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage compare_answers --config {params.config:q} --out {output:q} > {log:q} 2>&1"
