"""What models say of the personas: do they fit the person, state what was planted, along which axes?

INPUTS   data/<dataset>/shards/<shard>.jsonl, profiles/<dataset>/<variant>/<model>/k<k>/<shard>.jsonl
OUTPUTS  analysis/fidelity/<dataset>/<variant>/<model>-by-<judge>/<shard>.jsonl, analysis/axes/<dataset>/<variant>.jsonl,
         analysis/recovery/<dataset>/<variant>/<model>-by-<judge>/<shard>.jsonl,
         analysis/tags/<dataset>/<variant>/<model>/k<k>/<shard>.jsonl, tables/{fidelity,recovery,axes}.{csv,md,tex,html},
         figures/axes.{pdf,svg,png,txt} (txt: the caption); each where the config's `analysis` has it
"""

PERSONAS = []


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

    rule table_fidelity:
        input:
            fidelity=PLAN.fidelity_paths(),
        output:
            csv=f"{RUN}/tables/fidelity.csv",
            md=f"{RUN}/tables/fidelity.md",
            tex=f"{RUN}/tables/fidelity.tex",
            html=report(
                f"{RUN}/tables/fidelity.html",
                category="Tables",
                caption="../report/table_fidelity.rst",
            ),
        log:
            f"{RUN}/logs/table_fidelity.log",
        benchmark:
            f"{RUN}/benchmarks/table_fidelity.tsv"
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            seed=CONFIG.statistics.seed,
            n_resamples=CONFIG.statistics.resamples,
            others=CONFIG.analysis.fidelity.others,
        message:
            "Making the table of persona fidelity"
        script:
            "../scripts/table_fidelity.py"

    PERSONAS += rules.table_fidelity.output


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

    rule table_recovery:
        input:
            recovery=PLAN.recovery_paths(),
        output:
            csv=f"{RUN}/tables/recovery.csv",
            md=f"{RUN}/tables/recovery.md",
            tex=f"{RUN}/tables/recovery.tex",
            html=report(
                f"{RUN}/tables/recovery.html",
                category="Tables",
                caption="../report/table_recovery.rst",
            ),
        log:
            f"{RUN}/logs/table_recovery.log",
        benchmark:
            f"{RUN}/benchmarks/table_recovery.tsv"
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            seed=CONFIG.statistics.seed,
            n_resamples=CONFIG.statistics.resamples,
            others=CONFIG.analysis.recovery.others,
        message:
            "Making the table of recovery of planted tastes"
        script:
            "../scripts/table_recovery.py"

    PERSONAS += rules.table_recovery.output


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

    rule table_axes:
        input:
            axes=PLAN.axes_paths(),
            tags=PLAN.tag_paths(),
        output:
            csv=f"{RUN}/tables/axes.csv",
            md=f"{RUN}/tables/axes.md",
            tex=f"{RUN}/tables/axes.tex",
            html=report(
                f"{RUN}/tables/axes.html",
                category="Tables",
                caption="../report/table_axes.rst",
            ),
        log:
            f"{RUN}/logs/table_axes.log",
        benchmark:
            f"{RUN}/benchmarks/table_axes.tsv"
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            seed=CONFIG.statistics.seed,
            n_resamples=CONFIG.statistics.resamples,
            k=CONFIG.largest_k,
        message:
            "Making the table of persona axes"
        script:
            "../scripts/table_axes.py"

    rule figure_axes:
        input:
            csv=f"{RUN}/tables/axes.csv",
        output:
            pdf=f"{RUN}/figures/axes.pdf",
            svg=report(
                f"{RUN}/figures/axes.svg",
                category="Figures",
                caption="../report/figure_axes.rst",
            ),
            png=f"{RUN}/figures/axes.png",
            caption=f"{RUN}/figures/axes.txt",
        log:
            f"{RUN}/logs/figure_axes.log",
        benchmark:
            f"{RUN}/benchmarks/figure_axes.tsv"
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(30),
        params:
            title_note=f"run {CONFIG.run}",
        message:
            "Drawing the axes of the personas"
        script:
            "../scripts/figure_axes.py"

    PERSONAS += [*rules.table_axes.output, *rules.figure_axes.output]
