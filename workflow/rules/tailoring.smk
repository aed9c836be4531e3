"""The rules of "Whose Boat Does it Float?": personas of pairs, judgments of them, and comparisons of generated answers.

INPUTS   data/<dataset>/shards/<shard>.jsonl
OUTPUTS  personas/<dataset>/<model>/<shard>.jsonl
         verdicts/<dataset>/accuracy/<model>-by-<judge>/<shard>.jsonl
         verdicts/<dataset>/preference/<model>-by-<judge>/<shard>.jsonl
         given/<dataset>/<system>/<shard>.jsonl: answers that were generated elsewhere
         verdicts/<dataset>/answers/<system>-vs-<base>-by-<judge>/<shard>.jsonl
         policies/<dataset>/<policy>/<train>/sft/, dpo/: weights.safetensors, card.json
         answers/<dataset>/<system>/<shard>.jsonl, asked_answers/<dataset>/<system>/<shard>.jsonl

Training and generating need the extra `train`.
"""

PAGES = []


rule infer_personas:
    input:
        unpack(inputs_of("infer_personas")),
    output:
        PLAN.template("infer_personas"),
    log:
        PLAN.log("infer_personas"),
    benchmark:
        PLAN.benchmark("infer_personas")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("infer_personas")
    resources:
        llm_calls=calls_of("infer_personas"),
        mem_mb=growing(1000),
        runtime=growing(240, "infer_personas"),
    params:
        reads=reads_of("infer_personas"),
        config=RUN_CONFIG,
    message:
        "Inferring personas: {wildcards.model} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage infer_personas --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule judge_personas:
    input:
        unpack(inputs_of("judge_personas")),
    output:
        PLAN.template("judge_personas"),
    log:
        PLAN.log("judge_personas"),
    benchmark:
        PLAN.benchmark("judge_personas")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("judge_personas")
    resources:
        llm_calls=calls_of("judge_personas"),
        mem_mb=growing(1000),
        runtime=growing(240, "judge_personas"),
    params:
        reads=reads_of("judge_personas"),
        config=RUN_CONFIG,
    message:
        "Judging by personas of {wildcards.model}: {wildcards.judge} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage judge_personas --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule prefer_personas:
    input:
        unpack(inputs_of("prefer_personas")),
    output:
        PLAN.template("prefer_personas"),
    log:
        PLAN.log("prefer_personas"),
    benchmark:
        PLAN.benchmark("prefer_personas")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("prefer_personas")
    resources:
        llm_calls=calls_of("prefer_personas"),
        mem_mb=growing(1000),
        runtime=growing(240, "prefer_personas"),
    params:
        reads=reads_of("prefer_personas"),
        config=RUN_CONFIG,
    message:
        "Comparing personas of {wildcards.model}: {wildcards.judge} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage prefer_personas --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule given_answers:
    input:
        unpack(inputs_of("given_answers")),
    output:
        PLAN.template("given_answers"),
    log:
        PLAN.log("given_answers"),
    benchmark:
        PLAN.benchmark("given_answers")
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        reads=reads_of("given_answers"),
        config=RUN_CONFIG,
    message:
        "Reading answers of {wildcards.system} to {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage given_answers --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule judge_generations:
    input:
        unpack(inputs_of("judge_generations")),
    output:
        PLAN.template("judge_generations"),
    log:
        PLAN.log("judge_generations"),
    benchmark:
        PLAN.benchmark("judge_generations")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("judge_generations")
    resources:
        llm_calls=calls_of("judge_generations"),
        mem_mb=growing(1000),
        runtime=growing(240, "judge_generations"),
    params:
        reads=reads_of("judge_generations"),
        config=RUN_CONFIG,
    message:
        "Comparing {wildcards.system} with {wildcards.base}: {wildcards.judge} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage judge_generations --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule tailor_sft:
    input:
        unpack(inputs_of("tailor_sft")),
    output:
        card=PLAN.template("tailor_sft"),
        weights=PLAN.template("tailor_sft").replace("card.json", "weights.safetensors"),
    log:
        PLAN.log("tailor_sft"),
    benchmark:
        PLAN.benchmark("tailor_sft")
    conda:
        "../envs/personalrm.yml"
    threads: setting_of(PLAN.policy, "threads")
    resources:
        mem_mb=growing(setting_of(PLAN.policy, "mem_mb")),
        runtime=growing(600),
        gpu=setting_of(PLAN.policy, "gpus"),
    params:
        reads=reads_of("tailor_sft"),
        config=RUN_CONFIG,
    message:
        "Supervised fine-tuning on {wildcards.dataset}: {wildcards.reward}, train {wildcards.method}"
    shell:
        "python -m personalrm stage tailor_sft --config {params.config:q} --out {output.card:q} > {log:q} 2>&1"


rule tailor_dpo:
    input:
        unpack(inputs_of("tailor_dpo")),
    output:
        card=PLAN.template("tailor_dpo"),
        weights=PLAN.template("tailor_dpo").replace("card.json", "weights.safetensors"),
    log:
        PLAN.log("tailor_dpo"),
    benchmark:
        PLAN.benchmark("tailor_dpo")
    conda:
        "../envs/personalrm.yml"
    threads: setting_of(PLAN.policy, "threads")
    resources:
        mem_mb=growing(setting_of(PLAN.policy, "mem_mb")),
        runtime=growing(600),
        gpu=setting_of(PLAN.policy, "gpus"),
    params:
        reads=reads_of("tailor_dpo"),
        config=RUN_CONFIG,
    message:
        "Preference optimisation on {wildcards.dataset}: {wildcards.reward}, train {wildcards.method}"
    shell:
        "python -m personalrm stage tailor_dpo --config {params.config:q} --out {output.card:q} > {log:q} 2>&1"


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
        "Answers of {wildcards.system} to {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage generate_answers --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule ask_answers:
    input:
        unpack(inputs_of("ask_answers")),
    output:
        PLAN.template("ask_answers"),
    log:
        PLAN.log("ask_answers"),
    benchmark:
        PLAN.benchmark("ask_answers")
    conda:
        "../envs/personalrm.yml"
    threads: threads_of("ask_answers")
    resources:
        llm_calls=calls_of("ask_answers"),
        mem_mb=growing(1000),
        runtime=growing(240, "ask_answers"),
    params:
        reads=reads_of("ask_answers"),
        config=RUN_CONFIG,
    message:
        "Asking for answers of {wildcards.system} to {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage ask_answers --config {params.config:q} --out {output:q} > {log:q} 2>&1"
