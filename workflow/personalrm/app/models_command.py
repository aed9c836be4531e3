"""`python -m personalrm models list | fetch ID... | path ID`: embedded models by hand."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from personalrm.core.errors import EmbeddedModelError
from personalrm.llm.local import cache
from personalrm.llm.local.catalogue import get_entry, load_catalogue
from personalrm.llm.local.fetch import SOURCES, Source, ensure_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `models` to a (sub)parser."""
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="the models of the catalogue, and which are in the cache")
    fetch = actions.add_parser("fetch", help="bring models into the cache, and print their paths")
    path = actions.add_parser("path", help="print where the cache has a model; fails if it has not")
    fetch.add_argument("ids", nargs="+", metavar="ID")
    path.add_argument("ids", nargs=1, metavar="ID")
    for action in (listing, fetch, path):
        action.add_argument("--cache-dir", type=Path, help="default: $PERSONALRM_CACHE or the user's cache")
    fetch.add_argument(
        "--source",
        action="append",
        choices=[source for source in SOURCES if source != "local"],
        help="allow only this source; may be given more than once",
    )
    fetch.add_argument("--no-hub", action="store_true", help="do not try the Hugging Face hub")


def run(args: argparse.Namespace) -> int:
    """Do what was asked; the exit status. Paths go to standard output, progress and errors to standard error."""
    folder: Path = args.cache_dir or cache.default_cache_dir()
    try:
        if args.action == "list":
            _list(folder)
        else:
            sources: tuple[Source, ...] = ("cache",) if args.action == "path" else _sources(args)
            for entry in [get_entry(model_id) for model_id in args.ids]:
                sys.stdout.write(f"{ensure_model(entry, cache_dir=folder, sources=sources)}\n")
                sys.stdout.flush()
    except EmbeddedModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _sources(args: argparse.Namespace) -> tuple[Source, ...]:
    wanted = args.source or SOURCES
    return tuple(source for source in SOURCES if source in wanted and not (source == "hub" and args.no_hub))


def _list(folder: Path) -> None:
    for entry in load_catalogue():
        here = "in the cache" if cache.cached_path(folder, entry).exists() else "not fetched"
        size = f"{entry.bytes / 1e6:.0f} MB"
        sys.stdout.write(f"{entry.id:20} {size:>8}  {entry.licence:12} context {entry.context_length:>6}  {here}\n")
