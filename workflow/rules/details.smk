"""Details: what a closer look at the verdicts shows, each user, outcome and position, power, parts and groups.

INPUTS   data/verdicts.parquet; for power also resources/reported/synthesizeme.csv; for demographics also
         data/<dataset>/shards/<shard>.jsonl (surveys, and where in a conversation a pair stood); profiles/…
OUTPUTS  tables/{profiles,users,outcomes,position_bias,power,families,ablation,demographics}.{csv,md,tex,html},
         figures/demographics.{pdf,svg,png,txt} (txt: the caption)
"""

from personalrm.studies.synthesizeme.results.benchmark_reported import reported_set


rule table_users:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
    output:
        csv=f"{RUN}/tables/users.csv",
        md=f"{RUN}/tables/users.md",
        tex=f"{RUN}/tables/users.tex",
        html=report(
            f"{RUN}/tables/users.html",
            category="Tables",
            caption="../report/table_users.rst",
        ),
    log:
        f"{RUN}/logs/table_users.log",
    benchmark:
        f"{RUN}/benchmarks/table_users.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        model_order=list(CONFIG.models),
    message:
        "Making the table of users"
    script:
        "../scripts/table_users.py"


rule table_profiles:
    input:
        profiles=PLAN.profile_paths(),
    output:
        csv=f"{RUN}/tables/profiles.csv",
        md=f"{RUN}/tables/profiles.md",
        tex=f"{RUN}/tables/profiles.tex",
        html=report(
            f"{RUN}/tables/profiles.html",
            category="Tables",
            caption="../report/table_profiles.rst",
        ),
    log:
        f"{RUN}/logs/table_profiles.log",
    benchmark:
        f"{RUN}/benchmarks/table_profiles.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        pools=POOLS,
        variants=CONFIG.variants,
        model_order=list(CONFIG.models),
    message:
        "Making the table of profiles"
    script:
        "../scripts/table_profiles.py"


rule table_outcomes:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
    output:
        csv=f"{RUN}/tables/outcomes.csv",
        md=f"{RUN}/tables/outcomes.md",
        tex=f"{RUN}/tables/outcomes.tex",
        html=report(
            f"{RUN}/tables/outcomes.html",
            category="Tables",
            caption="../report/table_outcomes.rst",
        ),
    log:
        f"{RUN}/logs/table_outcomes.log",
    benchmark:
        f"{RUN}/benchmarks/table_outcomes.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        model_order=list(CONFIG.models),
    message:
        "Making the table of outcomes"
    script:
        "../scripts/table_outcomes.py"


rule table_position_bias:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
    output:
        csv=f"{RUN}/tables/position_bias.csv",
        md=f"{RUN}/tables/position_bias.md",
        tex=f"{RUN}/tables/position_bias.tex",
        html=report(
            f"{RUN}/tables/position_bias.html",
            category="Tables",
            caption="../report/table_position_bias.rst",
        ),
    log:
        f"{RUN}/logs/table_position_bias.log",
    benchmark:
        f"{RUN}/benchmarks/table_position_bias.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        model_order=list(CONFIG.models),
    message:
        "Making the table of position bias"
    script:
        "../scripts/table_position_bias.py"


rule table_power:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
        numbers=f"{workflow.basedir}/resources/reported/synthesizeme.csv",
    output:
        csv=f"{RUN}/tables/power.csv",
        md=f"{RUN}/tables/power.md",
        tex=f"{RUN}/tables/power.tex",
        html=report(
            f"{RUN}/tables/power.html",
            category="Tables",
            caption="../report/table_power.rst",
        ),
    log:
        f"{RUN}/logs/table_power.log",
    benchmark:
        f"{RUN}/benchmarks/table_power.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        pools=POOLS,
        datasets=COMPARED,
        answers_to={
            name: reported_set(entry) for name, entry in CONFIG.datasets.items()
        },
        model_order=list(CONFIG.models),
    message:
        "Making the table of power"
    script:
        "../scripts/table_power.py"


rule table_families:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
    output:
        csv=f"{RUN}/tables/families.csv",
        md=f"{RUN}/tables/families.md",
        tex=f"{RUN}/tables/families.tex",
        html=report(
            f"{RUN}/tables/families.html",
            category="Tables",
            caption="../report/table_families.rst",
        ),
    log:
        f"{RUN}/logs/table_families.log",
    benchmark:
        f"{RUN}/benchmarks/table_families.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        pools=POOLS,
        seed=CONFIG.statistics.seed,
        n_resamples=CONFIG.statistics.resamples,
        datasets=COMPARED,
        models=list(CONFIG.models),
    message:
        "Making the table of model families"
    script:
        "../scripts/table_families.py"


rule table_ablation:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
    output:
        csv=f"{RUN}/tables/ablation.csv",
        md=f"{RUN}/tables/ablation.md",
        tex=f"{RUN}/tables/ablation.tex",
        html=report(
            f"{RUN}/tables/ablation.html",
            category="Tables",
            caption="../report/table_ablation.rst",
        ),
    log:
        f"{RUN}/logs/table_ablation.log",
    benchmark:
        f"{RUN}/benchmarks/table_ablation.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        pools=POOLS,
        seed=CONFIG.statistics.seed,
        n_resamples=CONFIG.statistics.resamples,
        datasets=COMPARED,
        model_order=list(CONFIG.models),
    message:
        "Making the table of the ablation"
    script:
        "../scripts/table_ablation.py"


rule table_demographics:
    input:
        verdicts=f"{RUN}/data/verdicts.parquet",
        users=[path for name in CONFIG.datasets for path in PLAN.shard_paths(name)],
    output:
        csv=f"{RUN}/tables/demographics.csv",
        md=f"{RUN}/tables/demographics.md",
        tex=f"{RUN}/tables/demographics.tex",
        html=report(
            f"{RUN}/tables/demographics.html",
            category="Tables",
            caption="../report/table_demographics.rst",
        ),
    log:
        f"{RUN}/logs/table_demographics.log",
    benchmark:
        f"{RUN}/benchmarks/table_demographics.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        methods=["default", "both"],
        model_order=list(CONFIG.models),
    message:
        "Making the table of demographics"
    script:
        "../scripts/table_demographics.py"


rule figure_demographics:
    input:
        csv=f"{RUN}/tables/demographics.csv",
    output:
        pdf=f"{RUN}/figures/demographics.pdf",
        svg=report(
            f"{RUN}/figures/demographics.svg",
            category="Figures",
            caption="../report/figure_demographics.rst",
        ),
        png=f"{RUN}/figures/demographics.png",
        caption=f"{RUN}/figures/demographics.txt",
    log:
        f"{RUN}/logs/figure_demographics.log",
    benchmark:
        f"{RUN}/benchmarks/figure_demographics.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        title_note=f"run {CONFIG.run}",
    message:
        "Drawing accuracy by group"
    script:
        "../scripts/figure_demographics.py"


DETAILS = [
    *rules.table_profiles.output,
    *rules.table_users.output,
    *rules.table_outcomes.output,
    *rules.table_position_bias.output,
    *rules.table_power.output,
    *rules.table_families.output,
    *rules.table_ablation.output,
    *rules.table_demographics.output,
    *rules.figure_demographics.output,
]
