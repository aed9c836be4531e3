"""Reward models trained on votes: features of answers, training, and verdicts. Needs the extra `train`.

Methods that fine-tune the base read no features; those that are told of the user read profiles or tastes.

INPUTS   data/<dataset>/shards/<shard>.jsonl, data/<dataset>/unfiltered/<shard>.jsonl
         profiles/<dataset>/<variant>/<model>/k<k>/<shard>.jsonl, tastes/<dataset>/<model>/<shard>.jsonl
OUTPUTS  features/<dataset>/<encoder>/<shard>.safetensors
         reward_models/<dataset>/<name>/<method>/<seed>/: weights.safetensors, card.json
         verdicts/<dataset>/reward/<name>/<shard>.jsonl
"""


rule features:
    input:
        unpack(inputs_of("features")),
    output:
        PLAN.template("features"),
    log:
        PLAN.log("features"),
    benchmark:
        PLAN.benchmark("features")
    conda:
        "../envs/personalrm.yml"
    threads: of_reward("threads")
    resources:
        mem_mb=growing(REWARD_MB),
        runtime=growing(240),
        gpu=of_reward("gpus"),
    params:
        reads=reads_of("features"),
        config=RUN_CONFIG,
    message:
        "Features of {wildcards.dataset}: {wildcards.encoder}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage features --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule reward_model:
    input:
        unpack(inputs_of("reward_model")),
    output:
        card=PLAN.template("reward_model"),
        weights=PLAN.template("reward_model").replace(
            "card.json", "weights.safetensors"
        ),
    log:
        PLAN.log("reward_model"),
    benchmark:
        PLAN.benchmark("reward_model")
    conda:
        "../envs/personalrm.yml"
    threads: of_reward("threads")
    resources:
        mem_mb=growing(REWARD_MB),
        runtime=growing(240),
        gpu=of_reward("gpus"),
    params:
        reads=reads_of("reward_model"),
        config=RUN_CONFIG,
    message:
        "Training on {wildcards.dataset}: {wildcards.method} of {wildcards.reward}, seed {wildcards.seed}"
    shell:
        "python -m personalrm stage reward_model --config {params.config:q} --out {output.card:q} > {log:q} 2>&1"


rule score:
    input:
        unpack(inputs_of("score")),
    output:
        PLAN.template("score"),
    log:
        PLAN.log("score"),
    benchmark:
        PLAN.benchmark("score")
    conda:
        "../envs/personalrm.yml"
    threads: of_reward("score_threads")
    resources:
        mem_mb=growing(of_reward("score_mb")),
        runtime=growing(60),
        gpu=of_reward("score_gpus"),
    params:
        reads=reads_of("score"),
        config=RUN_CONFIG,
    message:
        "Judging by the reward models of {wildcards.reward}: {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage score --config {params.config:q} --out {output:q} > {log:q} 2>&1"
