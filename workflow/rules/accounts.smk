"""Accounts: numbers reported of SynthesizeMe beside ours, and what the run took.

INPUTS   data/verdicts.parquet, data/calls.parquet, tables/main.csv, resources/reported/{synthesizeme,models}.csv,
         data/<dataset>/ratings/…, data/<dataset>/panel/… (where the config has filters that ask models), profiles/…, analysis/… (where it
         has analyses of personas);
         for cost also benchmarks/… and the store, as they are at that moment
OUTPUTS  tables/{reported,cost}.{csv,md,tex,html}, figures/{reported,cost}.{pdf,svg,png,txt} (txt: the caption)
"""

from personalrm.studies.synthesizeme.results.reported_matching import (
    answering_sets,
    how_sets_differ,
    identities,
)


rule table_reported:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
        numbers=f"{workflow.basedir}/resources/reported/synthesizeme.csv",
        models=f"{workflow.basedir}/resources/reported/models.csv",
    output:
        csv=f"{RUN}/tables/reported.csv",
        md=f"{RUN}/tables/reported.md",
        tex=f"{RUN}/tables/reported.tex",
        html=report(
            f"{RUN}/tables/reported.html",
            category="Tables",
            caption="../report/table_reported.rst",
        ),
    log:
        f"{RUN}/logs/table_reported.log",
    benchmark:
        f"{RUN}/benchmarks/table_reported.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        answers_to=answering_sets(CONFIG),
        differs=how_sets_differ(CONFIG),
        models=identities(CONFIG),
        seed=CONFIG.statistics.seed,
        n_resamples=CONFIG.statistics.resamples,
    message:
        "Setting reported numbers beside ours"
    script:
        "../scripts/table_reported.py"


rule figure_reported:
    input:
        csv=f"{RUN}/tables/reported.csv",
    output:
        pdf=f"{RUN}/figures/reported.pdf",
        svg=report(
            f"{RUN}/figures/reported.svg",
            category="Figures",
            caption="../report/figure_reported.rst",
        ),
        png=f"{RUN}/figures/reported.png",
        caption=f"{RUN}/figures/reported.txt",
    log:
        f"{RUN}/logs/figure_reported.log",
    benchmark:
        f"{RUN}/benchmarks/figure_reported.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        title_note=f"run {CONFIG.run}",
    message:
        "Drawing the forest of reported numbers"
    script:
        "../scripts/figure_reported.py"


rule table_cost:
    input:
        calls=f"{RUN}/data/calls.parquet",
        main=f"{RUN}/tables/main.csv",
        ratings=[path for name in PLAN.filtered for path in PLAN.rating_paths(name)],
        panels=[path for name in PLAN.filtered for path in PLAN.panel_paths(name)],
        profiles=PLAN.analysed_profiles(),
        fidelity=PLAN.fidelity_paths(),
        recovery=PLAN.recovery_paths(),
        axes=PLAN.axes_paths(),
        tags=PLAN.tag_paths(),
    output:
        csv=f"{RUN}/tables/cost.csv",
        md=f"{RUN}/tables/cost.md",
        tex=f"{RUN}/tables/cost.tex",
        html=report(
            f"{RUN}/tables/cost.html",
            category="Tables",
            caption="../report/table_cost.rst",
        ),
    log:
        f"{RUN}/logs/table_cost.log",
    benchmark:
        f"{RUN}/benchmarks/table_cost.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        pools=POOLS,
        # No inputs: both grow while the run goes on, and a store may be shared by many runs.
        benchmarks=f"{RUN}/benchmarks",
        store=str(CONFIG.store),
        jobs=PLAN.job_patterns(),
    message:
        "Making the table of cost"
    script:
        "../scripts/table_cost.py"


rule figure_cost:
    input:
        csv=f"{RUN}/tables/cost.csv",
    output:
        pdf=f"{RUN}/figures/cost.pdf",
        svg=report(
            f"{RUN}/figures/cost.svg",
            category="Figures",
            caption="../report/figure_cost.rst",
        ),
        png=f"{RUN}/figures/cost.png",
        caption=f"{RUN}/figures/cost.txt",
    log:
        f"{RUN}/logs/figure_cost.log",
    benchmark:
        f"{RUN}/benchmarks/figure_cost.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        title_note=f"run {CONFIG.run}",
    message:
        "Drawing accuracy against cost"
    script:
        "../scripts/figure_cost.py"


ACCOUNTS = [
    *rules.table_reported.output,
    *rules.figure_reported.output,
    *rules.table_cost.output,
    *rules.figure_cost.output,
]
