"""The command line. The signature of a function declares its sub-command; what does the work is imported when it runs.

The workflow's rules call those of `OF_RULES`; people call the others.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import typer.core

from personalrm import __version__
from personalrm.app import streams
from personalrm.app.rule_commands import OF_RULES, add_rule_commands
from personalrm.app.votes_commands import add_votes_commands
from personalrm.core.errors import BudgetExceeded, ConfigError, PersonalRMError
from personalrm.core.extras import explained, require_extra
from personalrm.core.files import said

E = TypeVar("E", bound=Exception)
EXIT_ERROR = 1
EXIT_UNMET = 4  # of `check`
EXIT_BUDGET = 3
"""The budget is spent: the same command continues once the budget is raised."""


class _TwoGroups(typer.core.TyperGroup):
    """Help with the commands for people, then those of the rules."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - types of the click that typer brings
        """Write both groups."""
        named = {name: self.commands[name].get_short_help_str(80) for name in self.list_commands(ctx)}
        for title, of_rules in (("Commands", False), ("Commands of the workflow's rules", True)):
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, text in named.items() if (name in OF_RULES) is of_rules])


_group = partial(
    typer.Typer, rich_markup_mode=None, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
cli = _group(help="Personalised reward models from a few votes.", cls=_TwoGroups)
models = _group(help="List, fetch and locate embedded models.")
store = _group(help="Convert response stores.")
cli.add_typer(models, name="models")
cli.add_typer(store, name="store")
add_votes_commands(cli)
add_rule_commands(cli)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="Config file, such as config/quickstart.yaml.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, such as results/quickstart.")]
ModelIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, as `models list` prints them.")]
StudyName = Annotated[str, typer.Option("--study", help="Which study's config: synthesizeme, tailoring or fspo.")]
CacheDir = Annotated[Path | None, typer.Option(help="Default: $PERSONALRM_CACHE, or the user's cache folder.")]

ModelSource = StrEnum("ModelSource", ["CACHE", "HUB", "INDEX"])
"""Where model files come from, except a path of the user's own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit status; an expected error becomes one message on standard error."""
    streams.open_closed()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpcore", "LiteLLM", "openai", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    code = EXIT_ERROR
    try:
        try:
            cli(args=arguments, prog_name="personalrm")
        finally:
            streams.flush()
    except* SystemExit as ended:
        code = int(getattr(ended.exceptions[0], "code", 0) or 0)
    except* ModuleNotFoundError as errors:
        lacking = [text for error in _flat(errors) if (text := explained(error))]
        if not lacking:
            raise
        sys.stderr.write(f"personalrm: this command {lacking[0]}\n")
    except* PersonalRMError as errors:
        # Users are processed concurrently, so that one cause may arrive several times.
        for text in dict.fromkeys(map(str, _flat(errors))):
            sys.stderr.write(f"personalrm: {text}\n")
        code = EXIT_BUDGET if errors.subgroup(BudgetExceeded) else EXIT_ERROR
    except* OSError as errors:
        told = [said(error) for error in _flat(errors)]
        if None in told:
            raise
        sys.stderr.writelines(f"personalrm: {text}\n" for text in dict.fromkeys(told))
    return code


def _flat(group: BaseExceptionGroup[E]) -> Iterator[E]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"personalrm {__version__}\n")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@cli.command()
def run(
    config: ConfigFile,
    cores: str = "all",
    arguments: Annotated[list[str] | None, typer.Argument(help="Further arguments of Snakemake, after --.")] = None,
) -> None:
    """Run a config with Snakemake. Shows one line of progress, then the main table; a log file has the full output."""
    from personalrm.app.progress import require_cache, run_snakemake
    from personalrm.studies.config_load import load_config
    from personalrm.studies.study import study_of

    require_extra("workflow", "personalrm run")
    require_cache()
    loaded = load_config(config)
    results = loaded.results / loaded.run
    options = [*_workflow_of_checkout(), "--cores", cores, f"--configfile={config}", *(arguments or ())]
    code = run_snakemake(options, results / "logs" / "run.log", sys.stderr)
    if code == 0:
        sys.stdout.write(study_of(loaded.study).shown(results))
    raise typer.Exit(code)


def _workflow_of_checkout() -> list[str]:
    """Snakemake's option for the workflow of the checkout that this package lies in; none in a folder that has a
    workflow. Raises ConfigError where there is neither."""
    if any(Path(folder, name).is_file() for folder in ("", "workflow") for name in ("Snakefile", "snakefile")):
        return []
    own = Path(__file__).resolve().parents[3] / "Snakefile"
    if not own.is_file():
        raise ConfigError(
            "personalrm run: no Snakefile in this folder, and none is installed with the package; run it in a checkout "
            "of the repository"
        )
    return ["--snakefile", str(own)]


@cli.command()
def estimate(
    config: Annotated[Path, typer.Option(help="Config file of the run.")],
    cores: int = os.cpu_count() or 1,
    users: Annotated[int | None, typer.Option(help="Sampled users per data set (default: half a minute's).")] = None,
    assume: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Replace an assumption.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    untimed: Annotated[bool, typer.Option("--untimed", help="Do not measure the speed of embedded models.")] = False,
) -> None:
    """Estimate what a run takes. Calls, tokens and dollars by stage and model, and the time of embedded models."""
    from personalrm.studies.estimate.command import estimate as estimated

    timed = not untimed
    sys.stdout.write(estimated(config, cores, users=users, assume=assume or (), as_json=as_json, timed=timed))


@cli.command()
def summary(run: RunFolder) -> None:
    """Print the main table of a run. Says where its results are, too."""
    from personalrm.studies.synthesizeme.summary import summarise

    sys.stdout.write(summarise(run))


@cli.command()
def check(
    run: RunFolder,
    min_accuracy: Annotated[float, typer.Option(help="Percent that each of the rows must reach.")],
    method: Annotated[str | None, typer.Option(help="Only rows of this method, by its name in main.csv.")] = None,
    judge: Annotated[str | None, typer.Option(help="Only rows of this judge.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only rows of this data set.")] = None,
    k: Annotated[str | None, typer.Option(help="Only rows of this k.")] = None,
    lower_bound: Annotated[bool, typer.Option("--lower-bound", help="Compare the interval's lower end.")] = False,
) -> None:
    """Check the accuracies of a run. Exit code 0: all rows reach the minimum; 4: one does not; 1: there is none."""
    from personalrm.app.check import check as checked

    wanted = {"method": method, "judge_model": judge, "dataset": dataset, "k": k}
    held, text = checked(run, min_accuracy, wanted, lower_bound=lower_bound)
    sys.stdout.write(text)
    raise typer.Exit(0 if held else EXIT_UNMET)


@cli.command()
def retry(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, or its config file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
) -> None:
    """Remove what depends on lost calls. The next run then makes the calls again that provider errors lost."""
    from personalrm.app.retry import retry as remove_lost

    sys.stdout.write(remove_lost(run, dry_run=dry_run))


@cli.command()
def publish(
    config: ConfigFile,
    folder: Annotated[Path, typer.Argument(help="Such as docs/quickstart.")],
    names: Annotated[list[str], typer.Argument(help="Results, such as main.")],
    pages: Annotated[bool, typer.Option("--pages", help="Also report.html and the files that it links to.")] = False,
) -> None:
    """Copy results of a finished run to a folder. The manifest of the run is copied, too."""
    from personalrm.studies.publish import publish as copied

    sys.stdout.writelines(f"{path}\n" for path in copied(config, folder, names, pages=pages))


@cli.command()
def export(
    run: RunFolder,
    dataset: str,
    out: Path,
    licence: Annotated[str, typer.Option(help="Licence, for the data set card.")] = "",
    personas: Annotated[str, typer.Option(help="Study tailoring: model whose personas are added.")] = "",
) -> None:
    """Write the benchmark of a run for `datasets`. The folder can be loaded with `datasets.load_dataset`."""
    if not personas and (run / "data" / dataset / "counts.json").is_file():
        raise typer.BadParameter("a run of the study tailoring: give --personas MODEL (or: released)")
    if personas:
        from personalrm.studies.tailoring.export import export_personas

        counts: Mapping[Any, int] = export_personas(run, dataset, out, personas, licence)
    else:
        from personalrm.studies.synthesizeme.export import export_stage

        counts = export_stage(run, dataset, out, licence)
    rows = ", ".join(f"{part} {count}" for part, count in counts.items()) or "none"
    sys.stdout.write(f"{out}: rows {rows}\n")


@cli.command()
def synthesise(
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder for the files.")],
    scripted: Annotated[bool, typer.Option("--scripted", help="Compose texts from a vocabulary: no model.")] = False,
    run: Annotated[Path | None, typer.Option(help="Folder of a finished run of the study fspo.")] = None,
    domain: Annotated[str, typer.Option(help="Data set of that run.")] = "",
    users: int = 100,
    pairs: Annotated[int, typer.Option(help="Pairs of each user.")] = 15,
    seed: int = 0,
    axes: Annotated[str, typer.Option(help="Axes of own tastes: names or groups, with commas (default: all).")] = "",
    tastes: Annotated[int, typer.Option(help="Axes, or bundles, on which each user has a taste.")] = 3,
    rank: Annotated[int | None, typer.Option(help="Number of bundles into which axes are dealt.")] = None,
    types: Annotated[int | None, typer.Option(help="Number of tastes that users share; even.")] = None,
    temperature: Annotated[float, typer.Option(help="Temperature of the noise in votes.")] = 0.5,
    label_noise: Annotated[float, typer.Option(help="Share of votes that are turned round.")] = 0.0,
    population: Annotated[float, typer.Option(help="Weight of the taste that all users share.")] = 1.0,
    null: Annotated[float, typer.Option(help="Share of users without a taste of their own.")] = 0.0,
    contrarian: Annotated[float, typer.Option(help="Share of users who want the opposite of all others.")] = 0.0,
    unseen_combination: Annotated[float, typer.Option(help="Share of test users unlike any train user.")] = 0.0,
    kinds: Annotated[str, typer.Option(help="Write only these kinds of users: own, unseen, …, with commas.")] = "",
    pool: Annotated[int | None, typer.Option(help="Number of pairs, which all users share.")] = None,
    short: Annotated[bool, typer.Option("--short", help="Answers of one sentence, on users' own axes.")] = False,
    user_split: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of train, validation and test users.")
    ] = (0.25, 0.15, 0.6),
    force: Annotated[bool, typer.Option("--force", help="Replace the files of an earlier call.")] = False,
) -> None:
    """Write votes of invented users with planted tastes. Prints what they hold, and how a config reads them.

    Texts come from a vocabulary (--scripted), or from a finished run of the study fspo (--run, --domain).
    """
    options = locals()
    if scripted == (run is not None) or (run is None) == bool(domain):
        raise typer.BadParameter("give --scripted, or --run RUN with --domain NAME (a finished run of the study fspo)")
    if run is not None:
        from personalrm.studies.fspo.export import export_votes
        from personalrm.studies.fspo.export import summary as listed

        sys.stdout.write(listed(export_votes(run, domain, out_dir, force=force), out_dir))
        return
    from personalrm.data.scripted.settings import ScriptedSettings
    from personalrm.data.scripted.synthesise import summary as summed_up
    from personalrm.data.scripted.synthesise import synthesise as written

    others = ("out_dir", "scripted", "force", "run", "domain")
    chosen = {name: value for name, value in options.items() if name not in others}
    lists = {name: tuple(filter(None, map(str.strip, chosen[name].split(",")))) for name in ("axes", "kinds")}
    card = written(ScriptedSettings(**{**chosen, **lists}), out_dir, force=force)
    sys.stdout.write(summed_up(card, out_dir))


@cli.command()
def schema(study: StudyName = "synthesizeme") -> None:
    """Print the JSON schema of the config. It is kept in workflow/schemas/."""
    from personalrm.studies.config_load import config_schema

    sys.stdout.write(config_schema(study))


@cli.command()
def keys(study: StudyName = "synthesizeme") -> None:
    """Print every key of the config with its meaning. It is kept in config/README.md."""
    from personalrm.studies.config_reference import config_reference

    sys.stdout.write(config_reference(study))


@models.command("list")
def list_models(cache_dir: CacheDir = None) -> None:
    """List the models of the catalogue. Says which are in the cache."""
    from personalrm.llm.local.catalogue import load_catalogue
    from personalrm.llm.local.fetch import cached_path, default_cache_dir

    for entry in load_catalogue():
        cached = cached_path(cache_dir or default_cache_dir(), entry).exists()
        size, state = f"{entry.bytes / 1e6:.0f} MB", "in the cache" if cached else "not fetched"
        sys.stdout.write(f"{entry.id:20} {size:>8}  {entry.licence:12} context {entry.context_length:>6}  {state}\n")


@models.command("fetch")
def fetch_models(
    ids: ModelIds,
    cache_dir: CacheDir = None,
    source: Annotated[list[ModelSource] | None, typer.Option(help="Allow only this source; may be repeated.")] = None,
    no_hub: Annotated[bool, typer.Option("--no-hub", help="Do not try the Hugging Face hub.")] = False,
) -> None:
    """Download models into the cache and print their paths."""
    from personalrm.llm.local.catalogue import get_entry
    from personalrm.llm.local.fetch import SOURCES, ensure_model

    allowed = {*(source or ModelSource)} - ({ModelSource.HUB} if no_hub else set())
    sources = [name for name in SOURCES if name in allowed]
    for entry in [get_entry(model_id, encoders=True) for model_id in ids]:
        sys.stdout.write(f"{ensure_model(entry, cache_dir=cache_dir, sources=sources)}\n")
        sys.stdout.flush()


@models.command("path")
def model_paths(ids: ModelIds, cache_dir: CacheDir = None) -> None:
    """Print where the cache holds models. Fails where it does not hold one."""
    fetch_models(ids, cache_dir, [ModelSource.CACHE])


@store.command()
def migrate(
    old: Annotated[Path, typer.Argument(metavar="STORE", help="Such as store/responses.sqlite.")],
    to: Annotated[Path | None, typer.Option(help="New file (default: in place; STORE.v1 is the old one).")] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(help="Config file of a run on this store: names the endpoints of its answers; may be repeated."),
    ] = None,
) -> None:
    """Convert an earlier version's store. Every answer is kept."""
    from personalrm.llm.cache.migrate import migrate as migrated
    from personalrm.studies.config_load import load_config
    from personalrm.studies.preflight import load_environment

    load_environment()
    done = migrated(old, [spec for path in config or () for spec in load_config(path).specs.values()], to)
    lines = [f"{done.path}: {done.answers} answers kept; the old file is {done.kept_as}."]
    if done.bad:
        lines.append(f"{done.bad} more failed their checksum: they stay in the old file, and are asked again.")
    lines += [f"  {count} of {identity}" for identity, count in done.claimed.items()]
    again = (
        f"before the next run, move {done.path} away and convert the old file again: python -m personalrm store "
        f"migrate {done.kept_as} --to {done.path} --config CONFIG"
    )
    lines += [
        f"  {count} of {identity} may come from more than one entry of `models`, and are given to none of them. If "
        f"all came from one entry, {again} (a config file that has this entry alone)."
        for identity, count in done.ambiguous.items()
    ]
    if done.unclaimed:
        lines.append(
            f"Kept for hosted and embedded models of this id. If a server of your own gave them, {again} (the config "
            "file that names its endpoint):"
        )
        lines += [f"  {count} of {identity}" for identity, count in done.unclaimed.items()]
    sys.stdout.write("\n".join((*lines, "")))
