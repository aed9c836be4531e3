"""The commands `import` and `init`, declared as those of `cli.py`: a first config for a file of votes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

VotesFile = Annotated[Path, typer.Argument(metavar="FILE", help="Votes: JSON, CSV, TSV or Parquet.")]
Columns = Annotated[
    list[str] | None, typer.Option("--column", metavar="FIELD=COLUMN", help="Such as user_id=rater; may be repeated.")
]
NewConfig = Annotated[Path | None, typer.Option("--config", help="Config file to write (default: config/NAME.yaml).")]
RunName = Annotated[str | None, typer.Option(help="Name of the run and its data set (default: the file's).")]


def import_votes(file: VotesFile, column: Columns = None, config: NewConfig = None, name: RunName = None) -> None:
    """Show what is understood of a file of votes. Writes a config of methods that need no model."""
    _first_config(file, column, config, name)


def init(
    file: VotesFile,
    model: Annotated[str | None, typer.Option(help="Such as openai/gpt-4o-mini, or embedded/NAME.")] = None,
    api_base: Annotated[str | None, typer.Option(help="Address of a server of your own.")] = None,
    column: Columns = None,
    config: NewConfig = None,
    name: RunName = None,
) -> None:
    """Write a config for a file of votes and a model. Asks on a terminal for what is not given."""
    if model is None and not sys.stdin.isatty():
        raise typer.BadParameter(
            "give --model, such as openai/gpt-4o-mini, or use `import` for methods without a model"
        )
    _first_config(file, column, config, name, model=model, api_base=api_base, ask=True)


def _first_config(
    file: Path,
    column: Sequence[str] | None,
    config: Path | None,
    name: str | None,
    *,
    model: str | None = None,
    api_base: str | None = None,
    ask: bool = False,
) -> None:
    from personalrm.app.own_votes import config_of, described, name_of, understand, write_config

    given = dict(each.partition("=")[::2] for each in column or ())
    found = understand(file, given)
    sys.stdout.write(described(found))
    ask = ask and sys.stdin.isatty()
    if ask and "user_id" not in {*found.fields, *found.columns}:
        found = understand(file, {**given, "user_id": typer.prompt(f"Column of the user ({', '.join(found.fields)})")})
        sys.stdout.write(described(found))
    if ask and model is None:
        model = typer.prompt("Model, such as openai/gpt-4o-mini or embedded/qwen2.5-coder-1.5b")
        if "/" not in str(model) and api_base is None:
            api_base = typer.prompt("Address of the server", default="http://127.0.0.1:8000/v1")
    name = name or name_of(file)
    out = config or Path("config", f"{name}.yaml")
    write_config(config_of(found, name, model, api_base), out)
    sys.stdout.write(f"\nWritten: {out}. Run it: personalrm run {out}\n")


def add_votes_commands(cli: typer.Typer) -> None:
    """Declare the commands."""
    cli.command("import")(import_votes)
    cli.command()(init)
