"""What models say of the personas: do they fit the person, state what was planted, along which axes?

INPUTS   data/<dataset>/shards/<shard>.jsonl, profiles/<dataset>/<variant>/<model>/k<k>/<shard>.jsonl
OUTPUTS  analysis/fidelity/<dataset>/<variant>/<model>-by-<judge>/<shard>.jsonl, analysis/axes/<dataset>/<variant>.jsonl,
         analysis/recovery/<dataset>/<variant>/<model>-by-<judge>/<shard>.jsonl,
         analysis/tags/<dataset>/<variant>/<model>/k<k>/<shard>.jsonl; each where the config's `analysis` has it
"""

if CONFIG.analysis.fidelity:

    rule fidelity:
        input:
            unpack(inputs_of("fidelity")),
        output:
            PLAN.template("fidelity"),
        log:
            PLAN.log("fidelity"),
        benchmark:
            PLAN.benchmark("fidelity")
        conda:
            "../envs/personalrm.yml"
        threads: threads_of("fidelity")
        resources:
            llm_calls=calls_of("fidelity"),
            mem_mb=growing(1000),
            runtime=growing(240, "fidelity"),
        params:
            reads=reads_of("fidelity"),
            config=RUN_CONFIG,
        message:
            "Judging the fidelity of personas: {wildcards.model} by {wildcards.judge}, {wildcards.dataset},"
            " shard {wildcards.shard}"
        shell:
            "python -m personalrm stage fidelity --config {params.config:q} --out {output:q} > {log:q} 2>&1"


if CONFIG.analysis.recovery:

    rule recovery:
        input:
            unpack(inputs_of("recovery")),
        output:
            PLAN.template("recovery"),
        log:
            PLAN.log("recovery"),
        benchmark:
            PLAN.benchmark("recovery")
        conda:
            "../envs/personalrm.yml"
        threads: threads_of("recovery")
        resources:
            llm_calls=calls_of("recovery"),
            mem_mb=growing(1000),
            runtime=growing(240),
        params:
            reads=reads_of("recovery"),
            config=RUN_CONFIG,
        message:
            "Looking for planted tastes in personas: {wildcards.model} by {wildcards.judge}, {wildcards.dataset},"
            " shard {wildcards.shard}"
        shell:
            "python -m personalrm stage recovery --config {params.config:q} --out {output:q} > {log:q} 2>&1"


if CONFIG.axes_models:

    rule axes:
        input:
            unpack(inputs_of("axes")),
        output:
            PLAN.template("axes"),
        log:
            PLAN.log("axes"),
        benchmark:
            PLAN.benchmark("axes")
        conda:
            "../envs/personalrm.yml"
        threads: threads_of("axes")
        resources:
            llm_calls=1,
            mem_mb=growing(1000),
            runtime=growing(60),
        params:
            reads=reads_of("axes"),
            config=RUN_CONFIG,
        message:
            "Naming the axes of the personas of {wildcards.dataset}"
        shell:
            "python -m personalrm stage axes --config {params.config:q} --out {output:q} > {log:q} 2>&1"

    rule tag:
        input:
            unpack(inputs_of("tag")),
        output:
            PLAN.template("tag"),
        log:
            PLAN.log("tag"),
        benchmark:
            PLAN.benchmark("tag")
        conda:
            "../envs/personalrm.yml"
        threads: threads_of("tag")
        resources:
            llm_calls=calls_of("tag"),
            mem_mb=growing(1000),
            runtime=growing(240, "tag"),
        params:
            reads=reads_of("tag"),
            config=RUN_CONFIG,
        message:
            "Tagging personas of {wildcards.model} on {wildcards.dataset}, k = {wildcards.k}, shard {wildcards.shard}"
        shell:
            "python -m personalrm stage tag --config {params.config:q} --out {output:q} > {log:q} 2>&1"
