"""Config, names and helpers of all rules.

INPUTS   the config files
OUTPUTS  RUN_CONFIG, the resolved config that the stages read
"""

from snakemake.exceptions import WorkflowError

from personalrm.core.errors import PersonalRMError

try:
    CONFIG = support.load_for_snakemake(workflow.configfiles, config)
    PLAN = support.Plan(CONFIG)
except PersonalRMError as error:
    raise WorkflowError(f"The configuration has problems:\n{error}") from None

RUN = PLAN.run
RUN_CONFIG = support.write_run_config(CONFIG)

# Job processes and embedded model servers watch this process and end with it.
CORES = workflow.resource_settings.cores or 1
support.export_paths(workflow.basedir)
if workflow.is_main_process or workflow.remote_exec:
    support.export_environment(CORES, RUN_CONFIG)
if workflow.is_main_process:
    support.clear_stale_lock()
    support.settle_times(RUN)


wildcard_constraints:
    dataset=support.either(CONFIG.datasets),
    model=support.either(CONFIG.models),
    judge=support.either(CONFIG.models),
    variant=support.either(CONFIG.variants),
    shard=r"[a-z0-9-]+",
    k=r"\d+|all|halves|types",


def threads_for(*models):
    """All cores where an embedded model is used, so that two servers never compete; else one."""
    embedded = any(CONFIG.models[name].backend == "embedded" for name in models)
    return CORES if embedded else 1


def calls_for(model, batches=False):
    """Share of the global `llm_calls` resource: calls of one job that may be in flight; none where they wait in
    batches."""
    entry = CONFIG.models[model]
    return 0 if batches and entry.batch else entry.max_concurrency


def growing(amount, batches_of=lambda wildcards: None):
    """Memory or run time that is asked for again, and more, when an attempt has failed; run time of a job whose calls
    wait in batches of the model that `batches_of` names is at least the time that they may wait.
    """

    def ask(wildcards, attempt):
        model = batches_of(wildcards)
        batch = CONFIG.models[model].batch if model else None
        return max(amount * attempt, int(60 * batch.max_wait_h) if batch else 0)

    return ask


onstart:
    support.begin_run(CONFIG)
    try:
        support.preflight(CONFIG, workflow.dag.needrun_jobs())
    except PersonalRMError as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    support.end_run()


onerror:
    support.end_run()
    support.say_budget(CONFIG)
