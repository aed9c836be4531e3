"""`personalrm import` and `personalrm init`: what is understood of a file of votes, and a first config for it.

Both read the file as a run does; columns whose names are not those of the format are guessed from their names here and
written into the config (`datasets.<name>.columns`), so that a run itself guesses nothing. `import` writes a config of
methods that need no model, `init` one with a model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from personalrm.app.library.models import model_entry
from personalrm.core.errors import ConfigError, DataError, EmbeddedModelError
from personalrm.core.files import atomic_write_text
from personalrm.data.settings import LocalDataset
from personalrm.data.sources.containers import Kind, opened
from personalrm.data.sources.fields import FieldError, Row, shown
from personalrm.data.sources.forms import plain_value
from personalrm.data.sources.open import read_votes
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.rows import read_rows
from personalrm.data.sources.times import time_of
from personalrm.data.sources.votes import FORMS, KNOWN_FIELDS, Vote
from personalrm.llm.local.catalogue import get_entry
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import load_environment

_LOOKED_AT = 200
"""Rows whose fields are looked at for names of columns."""
_EXAMPLES = 3
_ANSWERS = {
    "chosen": ("preferred", "better", "accepted", "chosen_response", "response_chosen", "positive", "winner_response"),
    "rejected": ("dispreferred", "worse", "rejected_response", "response_rejected", "negative", "loser_response"),
}
_JUDGED = {
    **{
        f"response_{letter}": tuple(
            f"{word}{end}"
            for end in (f"_{letter}", f"_{digit}", digit, letter)
            for word in ("response", "answer", "completion", "output", "option", "reply", "text")
        )
        for letter, digit in (("a", "1"), ("b", "2"))
    },
    "winner": ("preference", "vote", "label", "choice", "verdict", "preferred", "better", "best", "selected",
               "better_answer", "better_response", "preferred_answer", "preferred_response"),
}  # fmt: skip
_OTHER = {
    "user_id": ("user", "userid", "uid", "username", "annotator", "annotator_id", "rater", "rater_id", "worker",
                "worker_id", "judge", "participant", "participant_id", "labeler", "labeller", "voter", "person"),
    "context": ("question", "query", "instruction", "conversation", "messages", "history", "input"),
    "timestamp": ("time", "date", "datetime", "created_at", "created", "tstamp", "ts", "created_utc"),
    "conversation_id": ("conv_id", "session", "session_id", "thread_id", "dialog_id", "chat_id", "question_id"),
}  # fmt: skip
_KINDS = {Kind.LINES: "JSON lines", Kind.LIST: "a JSON list", Kind.TABLE: "CSV", Kind.PARQUET: "Parquet"}
_RELEASED = frozenset({"conversation_a", "conversation_b", "winner"})
"""Columns of the releases that readers of their own know."""


@dataclass
class Understood:
    """What a file of votes holds. `columns` maps fields to the file's names where they differ, `fields` counts the
    fields of the first rows, `pairs` the distinct decided pairs of each user, `partly_timed` users whose votes have
    times only in part."""

    path: Path
    kind: str
    columns: dict[str, str]
    fields: Counter[str]
    report: ReadReport = field(default_factory=ReadReport)
    pairs: Counter[str] = field(default_factory=Counter)
    ties: int = 0
    partly_timed: int = 0
    examples: list[Vote] = field(default_factory=list)

    @property
    def min_pairs(self) -> int | None:
        """The default of `min_pairs`, or what the user with most pairs has; None where no user has 3."""
        most = max(self.pairs.values(), default=0)
        return min(most, _default_min_pairs()) if most >= 3 else None


def understand(path: Path, columns: Mapping[str, str] | None = None) -> Understood:
    """Read a file of votes. `columns` are names that the caller gives.

    Raises DataError for a file that cannot be read, and ConfigError for a field or column that is not there.
    """
    with opened(path) as file:
        kind = "TSV" if file.separator == "\t" else _KINDS[file.kind]
    rows = list(islice(read_rows(path, skip_bad=True), _LOOKED_AT))
    fields = Counter(name for row in rows for name, value in row.items() if plain_value(value) is not None)
    given = dict(columns or {})
    for name, column in given.items():
        if name not in KNOWN_FIELDS:
            raise ConfigError(f"--column {name}: is no field of a vote; known: {', '.join(sorted(KNOWN_FIELDS))}")
        if column not in fields:
            raise ConfigError(f"--column {name}={column}: no such column; the file has {', '.join(fields) or 'none'}")
    found = Understood(path, kind, {**_guessed(rows, fields, given), **given}, fields)
    contents: dict[str, set[str]] = {}
    timed: dict[str, set[bool]] = {}
    for vote in read_votes(path, on_bad="drop", report=found.report, columns=found.columns):
        mine = contents.setdefault(vote.user_id, set())
        found.ties += vote.tie
        timed.setdefault(vote.user_id, set()).add(vote.timestamp is not None)
        if not vote.tie and vote.chosen != vote.rejected:
            mine.add(vote.content_hash)
        if len(found.examples) < _EXAMPLES:
            found.examples.append(vote)
    found.partly_timed = sum(len(both) > 1 for both in timed.values())
    found.pairs = Counter({user: len(mine) for user, mine in contents.items()})
    return found


def _guessed(rows: Sequence[Row], fields: Mapping[str, int], given: Mapping[str, str]) -> dict[str, str]:
    """Columns of fields that the rows do not have under their own names, by the columns' names."""
    known = {re.sub(r"\W+", "_", name.strip().lower()): name for name in reversed(list(fields))}
    have = {*fields, *given}
    guessed: dict[str, str] = {}
    free = set(fields) - set(given.values())

    def column_of(name: str, words: Sequence[str]) -> str | None:
        return next((known[word] for word in (name, *words) if known.get(word) in free), None)

    for group in (_ANSWERS, _JUDGED):
        columns = {name: name if name in have else column_of(name, words) for name, words in group.items()}
        if all(columns.values()):
            guessed |= {name: column for name, column in columns.items() if column is not None and name not in have}
            break
    free -= set(guessed.values())
    for name, words in _OTHER.items():
        if name in have or (name == "context" and ("prompt" in have or ("chosen" in have and _whole(rows)))):
            continue
        column = column_of(name, words)
        if column is not None and (name != "timestamp" or _are_times(row.get(column) for row in rows)):
            guessed[name] = column
            free.discard(column)
    return guessed


def _whole(rows: Sequence[Row]) -> bool:
    """Whether answers are whole conversations, which need no context."""
    answers = [plain_value(row.get(FORMS[0][0])) for row in rows]
    return any((isinstance(a, list) and len(a) > 1) or (isinstance(a, str) and "\n\nHuman:" in a[:10]) for a in answers)


def _are_times(values: Iterator[object]) -> bool:
    try:
        # A list, so that each value is looked at.
        dates = [time_of(plain).is_date for value in values if (plain := plain_value(value)) is not None]
        return any(dates)
    except FieldError:
        return False


def described(found: Understood) -> str:
    """What was understood, as text: columns, counts, notes and the first rows."""
    report = found.report
    lines = [f"{found.path}: {found.kind}, {report.lines} rows", "", "field             column"]
    have = {*found.fields, *found.columns}
    # Next to a context, a prompt is not read.
    names = [name for name in _order() if name in have and not (name == "prompt" and "context" in have)]
    lines += [f"{name:<17} {found.columns.get(name, name)}" for name in names]
    ignored = [name for name in found.fields if name not in {*names, *found.columns.values()}]
    lines += [f"not read: {', '.join(ignored[:20])}{', …' if len(ignored) > 20 else ''}", ""] if ignored else [""]
    lines.append(f"votes: {report.votes} ({found.ties} ties); rows that are not votes: {report.bad}")
    lines += [f"  {problem}" for problem in report.problems[:_EXAMPLES]]
    if found.pairs:
        counts = sorted(found.pairs.values())
        enough = sum(count >= _default_min_pairs() for count in counts)
        lines.append(
            f"users: {len(counts)}, of whom {enough} have {_default_min_pairs()} different pairs or more (pairs of a "
            f"user: {counts[0]} to {counts[-1]}, median {median(counts):g})"
        )
    if found.partly_timed:
        order = "their votes without a time count as the oldest (`untimed` in config/README.md)"
        lines.append(f"users whose votes have times only in part: {found.partly_timed}; {order}")
    lines += [f"note: {note}" for note in report.notes]
    for number, vote in enumerate(found.examples, start=1):
        asked = f"{len(vote.context)} turns, the last {shown(vote.context[-1][1])}"
        between = "is as good as" if vote.tie else "is preferred to"
        lines += ["", f"vote {number}, user {shown(vote.user_id)}: {asked}"]
        lines.append(f"  {shown(vote.chosen)} {between} {shown(vote.rejected)}")
    return "\n".join(lines) + "\n"


def _order() -> tuple[str, ...]:
    first = ("user_id", "context", "prompt", *FORMS[0], *FORMS[1], "winner")
    return (*first, *sorted(KNOWN_FIELDS - set(first)))


def config_of(found: Understood, name: str, model: str | None = None, api_base: str | None = None) -> dict[str, Any]:
    """A first config for a file of votes: methods that need no model, and with `model` those that learn with one; with
    an embedded model, weights of attributes.

    Raises DataError where no user has three pairs, or none is named; ConfigError for a wrong name or model.
    """
    _refuse_unnamed(found)
    if found.min_pairs is None:
        problem = found.report.problems[0] if found.report.problems else "each user needs at least 3 different pairs"
        raise DataError(f"{found.path}: no user has 3 pairs, so that no config was written; {problem}")
    path = found.path.resolve()
    entry: dict[str, Any] = {"path": str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)}
    entry |= {"columns": found.columns} if found.columns else {}
    entry |= {"min_pairs": found.min_pairs} if found.min_pairs < _default_min_pairs() else {}
    config: dict[str, Any] = {"run": name, "datasets": {name: entry}}
    methods = ["random", "longer", "words", "words@loo"]
    if model is not None:
        described_model = _model(model, api_base)
        config |= {"models": {"judge": described_model}, "learn": {"models": ["judge"]}}
        if described_model["backend"] == "embedded":
            # Models of this size cannot judge for a person, but can say which answer has more of an attribute.
            methods += ["default", "attributes", "attributes@loo"]
            config |= {"attributes": {"models": ["judge"], "use": "core", "orders": "one"}}
        else:
            methods += ["default", "demos", "persona", "both"]
    config |= {"methods": methods, "k": ["all"]}
    parse_config(config)
    return config


def _model(model: str, api_base: str | None) -> dict[str, Any]:
    """Entry of `models`. Raises ConfigError, which names the options of the command, for an id that names no model."""
    load_environment()
    try:
        entry = {key: value for key, value in model_entry(model, api_base, {}).items() if value is not None}
        if entry["backend"] == "embedded":
            get_entry(entry["model"])
    except (ConfigError, EmbeddedModelError) as error:
        said = str(error).removeprefix("model_id: ").removeprefix("model_url: ").replace("model_url", "--api-base")
        raise ConfigError(f"--model: {said}") from error
    return entry


def _refuse_unnamed(found: Understood) -> None:
    """Raise DataError where the file holds nothing, or no column is read as a field that votes need."""
    have = {*found.fields, *found.columns}
    if not found.report.lines:
        raise DataError(f"{found.path}: no votes in the file; give a file with one vote per line")
    if not have:
        raise DataError(f"{found.path}: no row can be read; {found.report.problems[0]}")
    if have >= _RELEASED and not found.report.votes:
        raise DataError(
            f"{found.path}: has the columns of a release of Chatbot Arena or MT-bench, which `import` does not read; "
            "name it in a config with `source: arena` or `source: mtbench` (config/README.md)"
        )
    if "user_id" not in have:
        raise DataError(
            f"{found.path}: no column names the user; give it with --column user_id=COLUMN, or add a column with "
            "the name of the person"
        )
    if found.report.votes:
        return
    unread = [] if have & {"context", "prompt"} else ["context"]
    unread += [] if any(have.issuperset(form) for form in (FORMS[0], (*FORMS[1], "winner"))) else ["the answers"]
    if unread:
        raise DataError(
            f"{found.path}: no column is read as {' or as '.join(unread)}; name columns with --column context=COLUMN, "
            "and chosen and rejected, or response_a, response_b and winner"
        )


def write_config(config: Mapping[str, Any], out: Path) -> None:
    """Write a config as YAML. Raises ConfigError where the file is already there."""
    if out.exists():
        raise ConfigError(f"{out}: is there already; move it away, or give another file with --config")
    head = "# Every key: config/README.md. What a run takes: personalrm estimate --config"
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100)
    atomic_write_text(out, f"{head} {out}\n{text}")


def name_of(path: Path) -> str:
    """A name for the run and the data set, from the file's."""
    stem = path.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:40] or "mine"


def _default_min_pairs() -> int:
    return int(LocalDataset.model_fields["min_pairs"].default)
