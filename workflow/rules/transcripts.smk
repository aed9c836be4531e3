"""The browser of a run's transcripts.

INPUTS   what the study names (`studies/*/study.py`), and the response store
OUTPUTS  transcripts.html, which opens offline
"""


rule transcripts:
    input:
        **STUDY.transcribed_from(PLAN),
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
