"""Comparisons: each method against Default, accuracy against context pairs, profiles of one model shown to another.

INPUTS   data/verdicts.parquet; for scaling also data/<dataset>/shards/<shard>.jsonl (numbers of labelled pairs)
OUTPUTS  tables/{differences,scaling,transfer}.{csv,md,tex,html},
         figures/{scaling,scaling_labels,transfer}.{pdf,svg,png,txt} (txt: the caption); transfer where the config has it
"""


rule table_differences:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
    output:
        csv=f"{RUN}/tables/differences.csv",
        md=f"{RUN}/tables/differences.md",
        tex=f"{RUN}/tables/differences.tex",
        html=report(
            f"{RUN}/tables/differences.html",
            category="Tables",
            caption="../report/table_differences.rst",
        ),
    log:
        f"{RUN}/logs/table_differences.log",
    benchmark:
        f"{RUN}/benchmarks/table_differences.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        pools=POOLS,
        seed=CONFIG.statistics.seed,
        n_resamples=CONFIG.statistics.resamples,
        model_order=list(CONFIG.models),
    message:
        "Making the table of paired differences"
    script:
        "../scripts/table_differences.py"


rule table_scaling:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
        users=[path for name in CONFIG.datasets for path in PLAN.shard_paths(name)],
    output:
        csv=f"{RUN}/tables/scaling.csv",
        md=f"{RUN}/tables/scaling.md",
        tex=f"{RUN}/tables/scaling.tex",
        html=report(
            f"{RUN}/tables/scaling.html",
            category="Tables",
            caption="../report/table_scaling.rst",
        ),
    log:
        f"{RUN}/logs/table_scaling.log",
    benchmark:
        f"{RUN}/benchmarks/table_scaling.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        seed=CONFIG.statistics.seed,
        n_resamples=CONFIG.statistics.resamples,
        model_order=list(CONFIG.models),
    message:
        "Making the table of scaling"
    script:
        "../scripts/table_scaling.py"


rule figure_scaling:
    input:
        csv=f"{RUN}/tables/scaling.csv",
    output:
        pdf=f"{RUN}/figures/scaling.pdf",
        svg=report(
            f"{RUN}/figures/scaling.svg",
            category="Figures",
            caption="../report/figure_scaling.rst",
        ),
        png=f"{RUN}/figures/scaling.png",
        caption=f"{RUN}/figures/scaling.txt",
    log:
        f"{RUN}/logs/figure_scaling.log",
    benchmark:
        f"{RUN}/benchmarks/figure_scaling.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        title_note=f"run {CONFIG.run}",
    message:
        "Drawing accuracy against context pairs"
    script:
        "../scripts/figure_scaling.py"


rule figure_scaling_labels:
    input:
        csv=f"{RUN}/tables/scaling.csv",
    output:
        pdf=f"{RUN}/figures/scaling_labels.pdf",
        svg=report(
            f"{RUN}/figures/scaling_labels.svg",
            category="Figures",
            caption="../report/figure_scaling_labels.rst",
        ),
        png=f"{RUN}/figures/scaling_labels.png",
        caption=f"{RUN}/figures/scaling_labels.txt",
    log:
        f"{RUN}/logs/figure_scaling_labels.log",
    benchmark:
        f"{RUN}/benchmarks/figure_scaling_labels.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        title_note=f"run {CONFIG.run}",
        axis="labels_used",
    message:
        "Drawing accuracy against labels used"
    script:
        "../scripts/figure_scaling.py"


COMPARISONS = [
    *rules.table_differences.output,
    *rules.table_scaling.output,
    *rules.figure_scaling.output,
    *rules.figure_scaling_labels.output,
]


if CONFIG.transfer_pairs:

    rule table_transfer:
        input:
            verdicts=f"{RUN}/data/verdicts.parquet",
        output:
            csv=f"{RUN}/tables/transfer.csv",
            md=f"{RUN}/tables/transfer.md",
            tex=f"{RUN}/tables/transfer.tex",
            html=report(
                f"{RUN}/tables/transfer.html",
                category="Tables",
                caption="../report/table_transfer.rst",
            ),
        log:
            f"{RUN}/logs/table_transfer.log",
        benchmark:
            f"{RUN}/benchmarks/table_transfer.tsv"
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            pools=POOLS,
            seed=CONFIG.statistics.seed,
            n_resamples=CONFIG.statistics.resamples,
            model_order=list(CONFIG.models),
        message:
            "Making the table of transfer"
        script:
            "../scripts/table_transfer.py"

    rule figure_transfer:
        input:
            csv=f"{RUN}/tables/transfer.csv",
        output:
            pdf=f"{RUN}/figures/transfer.pdf",
            svg=report(
                f"{RUN}/figures/transfer.svg",
                category="Figures",
                caption="../report/figure_transfer.rst",
            ),
            png=f"{RUN}/figures/transfer.png",
            caption=f"{RUN}/figures/transfer.txt",
        log:
            f"{RUN}/logs/figure_transfer.log",
        benchmark:
            f"{RUN}/benchmarks/figure_transfer.tsv"
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(30),
        params:
            title_note=f"run {CONFIG.run}",
        message:
            "Drawing the transfer"
        script:
            "../scripts/figure_transfer.py"

    COMPARISONS += [*rules.table_transfer.output, *rules.figure_transfer.output]
