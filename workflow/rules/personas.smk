"""What models say of the personas: do they fit the person, state what was planted, along which axes?

INPUTS   data/<dataset>/shards/<shard>.jsonl, profiles/<dataset>/<variant>/<model>/k<k>/<shard>.jsonl
OUTPUTS  analysis/fidelity/<dataset>/<variant>/<model>-by-<judge>/<shard>.jsonl, analysis/axes/<dataset>/<variant>.jsonl,
         analysis/recovery/<dataset>/<variant>/<model>-by-<judge>/<shard>.jsonl,
         analysis/tags/<dataset>/<variant>/<model>/k<k>/<shard>.jsonl; each where the config's `analysis` has it
"""

if CONFIG.analysis.fidelity:

    rule fidelity:
        input:
            users=f"{RUN}/data/{{dataset}}/shards/{{shard}}.jsonl",
            # Of all shards: another user's persona may come from any.
            profiles=lambda wildcards: PLAN.profiles_of(
                wildcards.dataset, wildcards.variant, wildcards.model, CONFIG.largest_k
            ),
        output:
            f"{RUN}/analysis/fidelity/{{dataset}}/{{variant}}/{{model}}-by-{{judge}}/{{shard}}.jsonl",
        log:
            f"{RUN}/logs/analysis/fidelity/{{dataset}}/{{variant}}/{{model}}-by-{{judge}}/{{shard}}.log",
        benchmark:
            f"{RUN}/benchmarks/analysis/fidelity/{{dataset}}/{{variant}}/{{model}}-by-{{judge}}/{{shard}}.tsv"
        conda:
            "../envs/personalrm.yml"
        threads: lambda wildcards: threads_for(wildcards.judge)
        resources:
            llm_calls=lambda wildcards: calls_for(wildcards.judge, batches=True),
            mem_mb=growing(1000),
            runtime=growing(240, batches_of=lambda wildcards: wildcards.judge),
        params:
            reads=lambda wildcards: support.analysis_fingerprint(
                CONFIG, "fidelity", wildcards.judge
            ),
            config=RUN_CONFIG,
        message:
            "Judging the fidelity of personas: {wildcards.model} by {wildcards.judge}, {wildcards.dataset},"
            " shard {wildcards.shard}"
        shell:
            "python -m personalrm fidelity --config {params.config:q} --users {input.users:q}"
            " --profiles {input.profiles:q} --variant {wildcards.variant:q} --model {wildcards.model:q}"
            " --judge {wildcards.judge:q} --out {output:q} > {log:q} 2>&1"


if CONFIG.analysis.recovery:

    rule recovery:
        input:
            users=f"{RUN}/data/{{dataset}}/shards/{{shard}}.jsonl",
            # Of all shards: another user's persona may come from any.
            profiles=lambda wildcards: PLAN.profiles_of(
                wildcards.dataset, wildcards.variant, wildcards.model, CONFIG.largest_k
            ),
            rubric=str(CONFIG.analysis.recovery.rubric),
        output:
            f"{RUN}/analysis/recovery/{{dataset}}/{{variant}}/{{model}}-by-{{judge}}/{{shard}}.jsonl",
        log:
            f"{RUN}/logs/analysis/recovery/{{dataset}}/{{variant}}/{{model}}-by-{{judge}}/{{shard}}.log",
        benchmark:
            f"{RUN}/benchmarks/analysis/recovery/{{dataset}}/{{variant}}/{{model}}-by-{{judge}}/{{shard}}.tsv"
        conda:
            "../envs/personalrm.yml"
        threads: lambda wildcards: threads_for(wildcards.judge)
        resources:
            llm_calls=lambda wildcards: calls_for(wildcards.judge),
            mem_mb=growing(1000),
            runtime=growing(240),
        params:
            reads=lambda wildcards: support.analysis_fingerprint(
                CONFIG, "recovery", wildcards.judge
            ),
            config=RUN_CONFIG,
        message:
            "Looking for planted tastes in personas: {wildcards.model} by {wildcards.judge}, {wildcards.dataset},"
            " shard {wildcards.shard}"
        shell:
            "python -m personalrm recovery --config {params.config:q} --users {input.users:q}"
            " --profiles {input.profiles:q} --rubric {input.rubric:q} --variant {wildcards.variant:q}"
            " --model {wildcards.model:q} --judge {wildcards.judge:q} --out {output:q} > {log:q} 2>&1"


if CONFIG.axes_models:

    rule axes:
        input:
            profiles=lambda wildcards: PLAN.personas_for_axes(
                wildcards.dataset, wildcards.variant
            ),
        output:
            f"{RUN}/analysis/axes/{{dataset}}/{{variant}}.jsonl",
        log:
            f"{RUN}/logs/analysis/axes/{{dataset}}/{{variant}}.log",
        benchmark:
            f"{RUN}/benchmarks/analysis/axes/{{dataset}}/{{variant}}.tsv"
        conda:
            "../envs/personalrm.yml"
        threads: threads_for(CONFIG.axes_asked)
        resources:
            llm_calls=1,
            mem_mb=growing(1000),
            runtime=growing(60),
        params:
            reads=support.analysis_fingerprint(CONFIG, "axes", CONFIG.axes_asked),
            model=CONFIG.axes_asked,
            config=RUN_CONFIG,
        message:
            "Naming the axes of the personas of {wildcards.dataset}"
        shell:
            "python -m personalrm axes --config {params.config:q} --dataset {wildcards.dataset:q}"
            " --variant {wildcards.variant:q} --profiles {input.profiles:q} --out {output:q} > {log:q} 2>&1"

    rule tag:
        input:
            profiles=f"{RUN}/profiles/{{dataset}}/{{variant}}/{{model}}/k{{k}}/{{shard}}.jsonl",
            axes=f"{RUN}/analysis/axes/{{dataset}}/{{variant}}.jsonl",
        output:
            f"{RUN}/analysis/tags/{{dataset}}/{{variant}}/{{model}}/k{{k}}/{{shard}}.jsonl",
        log:
            f"{RUN}/logs/analysis/tags/{{dataset}}/{{variant}}/{{model}}/k{{k}}/{{shard}}.log",
        benchmark:
            f"{RUN}/benchmarks/analysis/tags/{{dataset}}/{{variant}}/{{model}}/k{{k}}/{{shard}}.tsv"
        conda:
            "../envs/personalrm.yml"
        threads: threads_for(CONFIG.axes_asked)
        resources:
            llm_calls=calls_for(CONFIG.axes_asked, batches=True),
            mem_mb=growing(1000),
            runtime=growing(240, batches_of=lambda wildcards: CONFIG.axes_asked),
        params:
            reads=support.analysis_fingerprint(CONFIG, "tag", CONFIG.axes_asked),
            model=CONFIG.axes_asked,
            config=RUN_CONFIG,
        message:
            "Tagging personas of {wildcards.model} on {wildcards.dataset}, k = {wildcards.k}, shard {wildcards.shard}"
        shell:
            "python -m personalrm tag --config {params.config:q} --profiles {input.profiles:q} --axes {input.axes:q}"
            " --out {output:q} > {log:q} 2>&1"
