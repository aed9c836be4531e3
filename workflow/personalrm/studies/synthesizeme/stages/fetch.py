"""Stages `fetch-data` and `convert-data`: the files of a data set, from the Hugging Face hub, and as Parquet."""

from __future__ import annotations

import sys
from pathlib import Path

from personalrm.core.errors import ConfigError
from personalrm.data.hub.hub import check_files, fetch_files, shared_source
from personalrm.data.hub.hub_parquet import convert_files
from personalrm.data.settings import HubSource
from personalrm.studies.preflight import load_environment
from personalrm.studies.synthesizeme.config_load import read_resolved


def fetch_stage(config_file: Path, dataset: str) -> None:
    """Fetch all that the data sets of the config want of the revision that `dataset` is read from."""
    load_environment()
    fetch_files(dataset, _source(config_file, dataset), _say)


def convert_stage(config_file: Path, dataset: str) -> None:
    """Make Parquet files of what `fetch_stage` fetched, once more where a file is another one than before."""
    source = _source(config_file, dataset)
    check_files(dataset, source)
    convert_files(dataset, source, _say)


def _source(config_file: Path, dataset: str) -> HubSource:
    config = read_resolved(config_file)
    if dataset not in config.datasets:
        raise ConfigError(f"datasets.{dataset}: no such data set; the config has {', '.join(config.datasets)}")
    return shared_source(config.datasets, dataset)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
