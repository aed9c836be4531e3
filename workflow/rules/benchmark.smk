"""Tables and figure of the benchmark itself: what the data sets hold, and how they came to that.

INPUTS   data/<dataset>/shards/<shard>.jsonl, data/<dataset>/funnel.json, resources/reported/benchmark.csv,
         data/<dataset>/filter_sensitivity.jsonl (where the config has filters that ask models)
OUTPUTS  tables/{benchmark,funnel,filter_sensitivity}.{csv,md,tex,html},
         figures/{funnel,filter_sensitivity}.{pdf,svg,png,txt} (txt: the caption)
"""

from personalrm.studies.synthesizeme.results.benchmark_reported import (
    limits_of,
    reported_set,
)


rule table_benchmark:
    input:
        users=[path for name in CONFIG.datasets for path in PLAN.shard_paths(name)],
        reported=f"{workflow.basedir}/resources/reported/benchmark.csv",
    output:
        csv=f"{RUN}/tables/benchmark.csv",
        md=f"{RUN}/tables/benchmark.md",
        tex=f"{RUN}/tables/benchmark.tex",
        html=report(
            f"{RUN}/tables/benchmark.html",
            category="Tables",
            caption="../report/table_benchmark.rst",
        ),
    log:
        f"{RUN}/logs/table_benchmark.log",
    benchmark:
        f"{RUN}/benchmarks/table_benchmark.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(500),
        runtime=growing(30),
    params:
        datasets=list(CONFIG.datasets),
        answers_to={
            name: reported_set(entry) for name, entry in CONFIG.datasets.items()
        },
        limits={name: limits_of(entry) for name, entry in CONFIG.datasets.items()},
    message:
        "Making the table of the benchmark"
    script:
        "../scripts/table_benchmark.py"


rule table_funnel:
    input:
        funnels=expand(f"{RUN}/data/{{dataset}}/funnel.json", dataset=CONFIG.datasets),
    output:
        csv=f"{RUN}/tables/funnel.csv",
        md=f"{RUN}/tables/funnel.md",
        tex=f"{RUN}/tables/funnel.tex",
        html=report(
            f"{RUN}/tables/funnel.html",
            category="Tables",
            caption="../report/table_funnel.rst",
        ),
    log:
        f"{RUN}/logs/table_funnel.log",
    benchmark:
        f"{RUN}/benchmarks/table_funnel.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    message:
        "Making the table of the funnel"
    script:
        "../scripts/table_funnel.py"


rule figure_funnel:
    input:
        csv=f"{RUN}/tables/funnel.csv",
    output:
        pdf=f"{RUN}/figures/funnel.pdf",
        svg=report(
            f"{RUN}/figures/funnel.svg",
            category="Figures",
            caption="../report/figure_funnel.rst",
        ),
        png=f"{RUN}/figures/funnel.png",
        caption=f"{RUN}/figures/funnel.txt",
    log:
        f"{RUN}/logs/figure_funnel.log",
    benchmark:
        f"{RUN}/benchmarks/figure_funnel.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        title_note=f"run {CONFIG.run}",
    message:
        "Drawing the funnel"
    script:
        "../scripts/figure_funnel.py"


if PLAN.filtered:

    rule table_filter_sensitivity:
        input:
            sensitivity=expand(
                f"{RUN}/data/{{dataset}}/filter_sensitivity.jsonl",
                dataset=PLAN.filtered,
            ),
        output:
            csv=f"{RUN}/tables/filter_sensitivity.csv",
            md=f"{RUN}/tables/filter_sensitivity.md",
            tex=f"{RUN}/tables/filter_sensitivity.tex",
            html=report(
                f"{RUN}/tables/filter_sensitivity.html",
                category="Tables",
                caption="../report/table_filter_sensitivity.rst",
            ),
        log:
            f"{RUN}/logs/table_filter_sensitivity.log",
        benchmark:
            f"{RUN}/benchmarks/table_filter_sensitivity.tsv"
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        params:
            apply={name: CONFIG.datasets[name].filters.apply for name in PLAN.filtered},
            samples={
                name: CONFIG.datasets[name].filters.sample for name in PLAN.filtered
            },
            min_pairs={
                name: CONFIG.datasets[name].pairs_to_stay for name in PLAN.filtered
            },
        message:
            "Making the table of the filters' thresholds"
        script:
            "../scripts/table_filter_sensitivity.py"

    rule figure_filter_sensitivity:
        input:
            csv=f"{RUN}/tables/filter_sensitivity.csv",
        output:
            pdf=f"{RUN}/figures/filter_sensitivity.pdf",
            svg=report(
                f"{RUN}/figures/filter_sensitivity.svg",
                category="Figures",
                caption="../report/figure_filter_sensitivity.rst",
            ),
            png=f"{RUN}/figures/filter_sensitivity.png",
            caption=f"{RUN}/figures/filter_sensitivity.txt",
        log:
            f"{RUN}/logs/figure_filter_sensitivity.log",
        benchmark:
            f"{RUN}/benchmarks/figure_filter_sensitivity.tsv"
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(30),
        params:
            apply={name: CONFIG.datasets[name].filters.apply for name in PLAN.filtered},
            title_note=f"run {CONFIG.run}",
        message:
            "Drawing the filters' thresholds"
        script:
            "../scripts/figure_filter_sensitivity.py"
