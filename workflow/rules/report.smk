"""The report of a run, and the browser of its transcripts.

INPUTS   all tables and figures, manifest.json, data/verdicts.parquet, verdicts/…, profiles/…, the response store
OUTPUTS  report.html, transcripts.html; each opens offline
"""


rule report:
    input:
        manifest=f"{RUN}/manifest.json",
        verdicts=f"{RUN}/data/verdicts.parquet",
        main=f"{RUN}/tables/main.csv",
        differences=f"{RUN}/tables/differences.csv",
        profiles=f"{RUN}/tables/profiles.csv",
        tables=[path for path in RESULTS.outputs() if path.endswith(".html")],
        figures=[path for path in RESULTS.outputs() if path.endswith(".svg")],
        figure_captions=[path for path in RESULTS.outputs() if path.endswith(".txt")],
    output:
        f"{RUN}/report.html",
    log:
        f"{RUN}/logs/report.log",
    benchmark:
        f"{RUN}/benchmarks/report.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        config=RUN_CONFIG,
        # Of all that the workflow can make, whether or not this run makes it.
        captions=support.captions(),
    message:
        "Writing the report"
    shell:
        "python -m personalrm report --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule transcripts:
    input:
        users=[path for name in CONFIG.datasets for path in PLAN.shard_paths(name)],
        profiles=PLAN.profile_paths(),
        tastes=PLAN.paths("taste"),
        verdicts=PLAN.verdict_paths(),
    output:
        f"{RUN}/transcripts.html",
    log:
        f"{RUN}/logs/transcripts.log",
    benchmark:
        f"{RUN}/benchmarks/transcripts.tsv"
    conda:
        "../envs/personalrm.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        config=RUN_CONFIG,
    message:
        "Writing the transcripts"
    shell:
        "python -m personalrm transcripts --config {params.config:q} --out {output:q} > {log:q} 2>&1"
