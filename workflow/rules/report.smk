"""The report of a run.

INPUTS   all tables and figures, manifest.json, and what the study names (`studies/*/study.py`)
OUTPUTS  report.html, which opens offline
"""


rule report:
    input:
        **STUDY.reported_from(PLAN),
        manifest=f"{RUN}/manifest.json",
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
        captions=support.captions(CONFIG.study),
    message:
        "Writing the report"
    shell:
        "python -m personalrm report --config {params.config:q} --out {output:q} > {log:q} 2>&1"
