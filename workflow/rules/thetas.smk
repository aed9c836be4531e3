"""Theta: the persona prompt optimised on train users, where the config asks for it (paper, stage 2).

INPUTS   data/<dataset>/shards/<shard>.jsonl
OUTPUTS  thetas/<theta>/<model>.json: a program file, with its provenance and the score of every trial
"""

for _theta, _model in PLAN.optimised_thetas():

    rule:
        name:
            f"theta_{_theta}_{_model}"
        input:
            users=PLAN.theta_users(_theta),
        output:
            f"{RUN}/thetas/{_theta}/{_model}.json",
        log:
            f"{RUN}/logs/thetas/{_theta}/{_model}.log",
        benchmark:
            f"{RUN}/benchmarks/thetas/{_theta}/{_model}.tsv"
        conda:
            "../envs/personalrm.yml"
        threads: threads_for(*PLAN.theta_models(_theta, _model))
        resources:
            llm_calls=calls_for(_model),
            mem_mb=growing(2000),
            runtime=growing(480),
        params:
            reads=support.theta_fingerprint(CONFIG, _theta, _model),
            config=RUN_CONFIG,
            theta=_theta,
            model=_model,
            proposer=PLAN.theta_models(_theta, _model)[-1],
        message:
            f"Optimising the persona prompt: Theta {_theta}, {_model}"
        shell:
            "python -m personalrm theta --config {params.config:q} --theta {params.theta:q} --model {params.model:q}"
            " --users {input.users:q} --out {output:q} > {log:q} 2>&1"
