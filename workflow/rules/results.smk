"""Scores, tables, figures and the manifest.

INPUTS   verdicts/…
OUTPUTS  data/verdicts.parquet, data/calls.parquet, tables/main.{csv,md,tex,html},
         figures/main.{pdf,svg,png,txt} (txt: the caption), manifest.json
"""


rule collect_scores:
    input:
        verdicts=PLAN.verdict_paths(),
    output:
        verdicts=f"{RUN}/data/verdicts.parquet",
        calls=f"{RUN}/data/calls.parquet",
    log:
        f"{RUN}/logs/collect_scores.log",
    benchmark:
        f"{RUN}/benchmarks/collect_scores.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    message:
        "Collecting verdicts"
    script:
        "../scripts/collect_scores.py"


rule table_main:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
        calls=f"{RUN}/data/calls.parquet",
    output:
        csv=f"{RUN}/tables/main.csv",
        md=f"{RUN}/tables/main.md",
        tex=f"{RUN}/tables/main.tex",
        html=report(
            f"{RUN}/tables/main.html",
            category="Tables",
            caption="../report/table_main.rst",
        ),
    log:
        f"{RUN}/logs/table_main.log",
    benchmark:
        f"{RUN}/benchmarks/table_main.tsv"
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
        evaluated=CONFIG.evaluate_users,
    message:
        "Making the main table"
    script:
        "../scripts/table_main.py"


rule figure_main:
    input:
        csv=f"{RUN}/tables/main.csv",
    output:
        pdf=f"{RUN}/figures/main.pdf",
        svg=report(
            f"{RUN}/figures/main.svg",
            category="Figures",
            caption="../report/figure_main.rst",
        ),
        png=f"{RUN}/figures/main.png",
        caption=f"{RUN}/figures/main.txt",
    log:
        f"{RUN}/logs/figure_main.log",
    benchmark:
        f"{RUN}/benchmarks/figure_main.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        pools=POOLS,
        title_note=f"run {CONFIG.run}",
    message:
        "Drawing the main figure"
    script:
        "../scripts/figure_main.py"


rule manifest:
    input:
        scores=f"{RUN}/data/calls.parquet",
        cards=expand(f"{RUN}/data/{{dataset}}/funnel.json", dataset=CONFIG.datasets),
        analysis=[
            *PLAN.fidelity_paths(),
            *PLAN.recovery_paths(),
            *PLAN.axes_paths(),
            *PLAN.tag_paths(),
        ],
    output:
        f"{RUN}/manifest.json",
    log:
        f"{RUN}/logs/manifest.log",
    benchmark:
        f"{RUN}/benchmarks/manifest.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        config=RUN_CONFIG,
        # The manifest holds the config, so any edit makes it out of date (but of the budget, which changes no result).
        config_sha=support.config_hash(CONFIG),
    message:
        "Writing the manifest"
    shell:
        "python -m personalrm manifest --config {params.config:q} --out {output:q} > {log:q} 2>&1"
