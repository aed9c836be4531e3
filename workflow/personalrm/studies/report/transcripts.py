"""The page on which every judgment of a run can be read, with what was sent and what came back."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from personalrm.core.errors import ConfigError
from personalrm.core.files import atomic_write_text
from personalrm.studies.config_load import read_resolved
from personalrm.studies.preflight import load_environment
from personalrm.studies.report.page_parts import asset, embedded_json, render, script_hash, style
from personalrm.studies.study import study_of

SCRIPTS = ("transcript_detail.js", "transcripts.js")
"""Scripts of the page, in the order in which they run as one."""


def transcripts_stage(config_file: Path, out: Path, max_judgments: int) -> None:
    """Write the page of a run's judgments; of a run with more than `max_judgments`, of some. Makes no call.

    Addresses in environment variables are part of the keys of answers, so the environment is read first. Raises
    ConfigError for a study without transcripts.
    """
    load_environment()
    config = read_resolved(config_file)
    study = study_of(config.study)
    if study.judgments is None:
        raise ConfigError(f"study: {config.study} has no transcripts")
    found = study.judgments(study.plan(config), max_judgments)
    script = Markup("\n").join(map(asset, SCRIPTS))
    page = render(
        "transcripts.html.jinja",
        run=config.run,
        unit=found.unit,
        units=found.units,
        judgments=found.judgments,
        notices=found.notices,
        style=style("transcripts.css"),
        script=script,
        script_hash=script_hash(script),
        data=embedded_json({"run": config.run, **found.data}),
    )
    atomic_write_text(out, page)
