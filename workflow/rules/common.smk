"""Config, names and helpers of all rules.

INPUTS   the config files
OUTPUTS  RUN_CONFIG, the resolved config that the stages read
"""

from snakemake.exceptions import WorkflowError

from personalrm.core.errors import PersonalRMError

try:
    support.check_folder(workflow.basedir)
    CONFIG = support.load_for_snakemake(workflow.configfiles, config)
    PLAN = support.plan_run(CONFIG)
    STUDY = support.study_of(CONFIG.study)
    RUN_CONFIG = support.write_run_config(CONFIG)
except (PersonalRMError, OSError) as error:
    raise WorkflowError(f"The configuration has problems:\n{error}") from None

RUN = PLAN.run

# Job processes and embedded model servers watch this process and end with it.
CORES = workflow.resource_settings.cores or 1
support.export_paths(workflow.basedir)
if workflow.is_main_process or workflow.remote_exec:
    support.export_environment(CORES, RUN_CONFIG)
if workflow.is_main_process:
    support.clear_stale_lock()


wildcard_constraints:
    **PLAN.constraints,


# What the declaration of a stage (personalrm/studies/*/stages) says of a job, as functions of its wildcards; `fixed`
# are those of rules that have none, because they are made in a loop.
def inputs_of(stage, **fixed):
    """Input files by name, for `unpack`."""
    return lambda wildcards: PLAN.inputs(stage, **fixed, **dict(wildcards.items()))


def reads_of(stage, **fixed):
    """Settings of the config that the job depends on: it is run again when they change."""
    return lambda wildcards: PLAN.reads(stage, **fixed, **dict(wildcards.items()))


def threads_of(stage, **fixed):
    """All cores where an embedded model is used, so that two servers never compete; else one."""

    def ask(wildcards):
        models = PLAN.models(stage, **fixed, **dict(wildcards.items()))
        embedded = any(CONFIG.models[name].backend == "embedded" for name in models)
        return CORES if embedded else 1

    return ask


def calls_of(stage, **fixed):
    """Share of the global `llm_calls` resource: calls of one job that may be in flight; none where they wait in
    batches."""

    def ask(wildcards):
        entry = CONFIG.models[PLAN.models(stage, **fixed, **dict(wildcards.items()))[0]]
        return (
            0 if PLAN.stages[stage].batches and entry.batch else entry.max_concurrency
        )

    return ask


def setting_of(entry, field):
    """A field of the section of the config that `entry` finds for the wildcards."""
    return lambda wildcards: getattr(entry(wildcards), field)


def growing(amount, stage=None):
    """Memory or run time that is asked for again, and more, when an attempt has failed; the run time of a job of
    `stage` whose calls wait in batches is at least the time that they may wait. `amount` may be a function of the
    wildcards.
    """
    batches = stage is not None and PLAN.stages[stage].batches

    def ask(wildcards, attempt):
        models = PLAN.models(stage, **dict(wildcards.items())) if batches else ()
        batch = CONFIG.models[models[0]].batch if models else None
        least = amount(wildcards) if callable(amount) else amount
        return max(least * attempt, int(60 * batch.max_wait_h) if batch else 0)

    return ask


onstart:
    try:
        support.begin_run(CONFIG)
        support.preflight(
            PLAN, workflow.dag.needrun_jobs(), here=workflow.local_exec
        )
    except (PersonalRMError, OSError) as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    support.end_run()


onerror:
    support.end_run()
    support.say_budget(CONFIG)
