"""Reward models trained on votes: features of answers, training, and verdicts. Needs the extra `train`.

INPUTS   data/<dataset>/shards/<shard>.jsonl
OUTPUTS  features/<dataset>/<encoder>/<shard>.safetensors
         reward_models/<dataset>/<name>/<method>/<seed>/: weights.safetensors, card.json
         verdicts/<dataset>/reward/<name>/<shard>.jsonl
"""


def entry_of(wildcards):
    """The entry of `reward_models` that a job belongs to."""
    entries = CONFIG.reward_models
    if hasattr(wildcards, "reward"):
        return entries[wildcards.reward]
    return next(e for e in entries.values() if e.encoder_id == wildcards.encoder)


def trains(amount):
    """Memory that grows with each attempt (`mem_mb`), or what the entry says."""
    return lambda wildcards: getattr(entry_of(wildcards), amount)


REWARD_MB, REWARD_THREADS = trains("mem_mb"), trains("threads")


def reward_gpus(wildcards):
    """One where torch computes on a GPU."""
    return int(entry_of(wildcards).device != "cpu")


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
    threads: REWARD_THREADS
    resources:
        mem_mb=growing(REWARD_MB),
        runtime=growing(240),
        gpu=reward_gpus,
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
    threads: REWARD_THREADS
    resources:
        mem_mb=growing(REWARD_MB),
        runtime=growing(240),
        gpu=reward_gpus,
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
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        reads=reads_of("score"),
        config=RUN_CONFIG,
    message:
        "Judging by the reward models of {wildcards.reward}: {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m personalrm stage score --config {params.config:q} --out {output:q} > {log:q} 2>&1"
