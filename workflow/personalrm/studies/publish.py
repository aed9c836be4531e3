"""Copy results of a run into the documentation, if the present config, prompts and code would give them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.errors import DataError
from personalrm.studies.config_load import config_hash, load_config
from personalrm.studies.manifest import fingerprint_of_code, prompts_in_use
from personalrm.studies.study import plan_of
from personalrm.studies.study_config import StudyConfig

MANIFEST = "manifest.json"
_KINDS = (("tables", ("csv", "md")), ("figures", ("png", "txt")))


def publish(config_file: Path, folder: Path, names: Sequence[str]) -> list[Path]:
    """Copy the tables (csv, md) and figures (png, txt) of these names and the manifest to `folder`; returns the copies.

    A result without a figure has its table copied. What the folder has of other results stays. Raises DataError if the
    run is not finished, or was made with another config, other prompts or other code than there are now.
    """
    config = load_config(config_file)
    run = Path(config.results) / config.run
    found = [
        path
        for place, kinds in _KINDS
        for name in names
        for path in (run / place / f"{name}.{kind}" for kind in kinds)
        if path.is_file()
    ]
    needed = (*(f"tables/{name}.csv" for name in names), MANIFEST)
    missing = [name for name in needed if not (run / name).is_file()]
    if missing:
        raise DataError(f"{run}: no {', '.join(missing)}; run the workflow first")
    problems = differences(json.loads((run / MANIFEST).read_text(encoding="utf-8")), config)
    if problems:
        raise DataError(f"{run} is not what the tree gives: {'; '.join(problems)}. Run the workflow again.")
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(path, folder)) for path in (*found, run / MANIFEST)]


def differences(manifest: Mapping[str, Any], config: StudyConfig) -> list[str]:
    """Differences between the run of `manifest` and a run of `config` with today's prompts and code; empty if none.

    The code of tables and figures is not compared.
    """
    found = []
    if manifest["config_sha256"] != config_hash(config):
        found.append("the config is another one")
    then, now = manifest["prompts"], prompts_in_use(plan_of(config))
    changed = sorted(name for name in now if then.get(name) != now[name])
    if changed:
        found.append(f"other prompts: {', '.join(changed)}")
    if manifest.get("code") != fingerprint_of_code():
        found.append("the code of paid stages, or what serves embedded models, is another one")
    return found
