"""Papers on personal preferences, replicated: from raw votes and pairs to every table and figure.

The key `study` of the config names the paper: `synthesizeme` (default), `tailoring` or `fspo`.

snakemake --cores 16                                        the full replication, as config/config.yaml describes it
snakemake --cores 2 --configfile config/quickstart.yaml     embedded models, bundled data
snakemake --cores 2 --configfile config/tailoring_quickstart.yaml  personas of pairs, embedded models
snakemake --cores 2 --configfile config/fspo_quickstart.yaml       synthetic users, embedded model
snakemake --cores 1 results/quickstart/figures/main.pdf     one result of a run that was made here before
"""

import sys

from snakemake.utils import min_version

from personalrm.app import snakefile_support as support

min_version("9.27")


if not workflow.overwrite_configfiles:

    configfile: support.default_configfile(sys.argv[1:])


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: f"workflow/rules/{CONFIG.study}.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        RESULTS.outputs(),
        rules.manifest.output,
        rules.report.output,
        PAGES,
