"""The page on which every judgment of a run can be read, with what was sent and what came back."""

from __future__ import annotations

from pathlib import Path

from personalrm.core.errors import ConfigError
from personalrm.core.files import atomic_write_text, canonical_json
from personalrm.studies.config_load import read_resolved
from personalrm.studies.preflight import load_environment
from personalrm.studies.report.page_parts import packed, render, script, script_hash, style
from personalrm.studies.study import study_of


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
    code = script("transcript_detail.js", "transcripts.js")
    page = render(
        "transcripts.html.jinja",
        run=config.run,
        unit=found.unit,
        units=found.units,
        judgments=found.judgments,
        notices=found.notices,
        style=style("transcripts.css"),
        script=code,
        script_hash=script_hash(code),
        # In ASCII, as a text of a user or model may hold half of a surrogate pair.
        data=packed(canonical_json({"run": config.run, **found.data}).encode("ascii")),
    )
    atomic_write_text(out, page)
