"""Theta: the persona prompt optimised on train users, where the config asks for it (paper, stage 2).

INPUTS   data/<dataset>/shards/<shard>.jsonl
OUTPUTS  thetas/<theta>/<model>.json: a program file, with its provenance and the score of every trial
"""

for _job in PLAN.jobs("theta"):

    _names = {"theta": _job.theta, "model": _job.model}

    rule:
        name:
            "theta_{theta}_{model}".format(**_names)
        input:
            unpack(inputs_of("theta", **_names)),
        output:
            PLAN.path("theta", **_names),
        log:
            PLAN.log("theta", **_names),
        benchmark:
            PLAN.benchmark("theta", **_names)
        conda:
            "../envs/personalrm.yml"
        threads: threads_of("theta", **_names)
        resources:
            llm_calls=calls_of("theta", **_names),
            mem_mb=growing(2000),
            runtime=growing(480),
        params:
            reads=reads_of("theta", **_names),
            config=RUN_CONFIG,
        message:
            "Optimising the persona prompt: Theta {theta}, {model}".format(**_names)
        shell:
            "python -m personalrm stage theta --config {params.config:q} --out {output:q} > {log:q} 2>&1"
