"""All tables and figures, and the manifest.

INPUTS   what `studies/*/run_results.py` and `studies/*/study.py` say
OUTPUTS  tables/<name>.{csv,md,tex,html}, figures/<name>.{pdf,svg,png,txt} (txt: the caption), manifest.json
"""

# All tables and figures of the run, in the order of the report.
RESULTS = support.RunResults(PLAN)


# A rule for each table and figure, as table_main and figure_scaling: a module declares it, and names what it reads
# (workflow/personalrm/results/spec.py).
for made in RESULTS.results:

    rule:
        name:
            made.rule
        input:
            **RESULTS.inputs(made),
        output:
            **{
                name: (
                    report(
                        path, category=made.category, caption="../report/result.rst"
                    )
                    if name == made.shown
                    else path
                )
                for name, path in made.outputs(RUN).items()
            },
        log:
            f"{RUN}/logs/{made.rule}.log",
        benchmark:
            f"{RUN}/benchmarks/{made.rule}.tsv"
        conda:
            "../envs/personalrm.yml"
        resources:
            mem_mb=growing(made.mem_mb),
            runtime=growing(made.runtime),
        params:
            result=made.rule,
            reads=RESULTS.fingerprint(made),
            caption=made.caption,
            config=RUN_CONFIG,
        message:
            made.message
        shell:
            "python -m personalrm result {params.result:q} --config {params.config:q} > {log:q} 2>&1"


rule manifest:
    input:
        **STUDY.made_of(PLAN),
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
