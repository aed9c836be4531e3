"""The survey of PRISM's raw release, as {question: answer} of each user."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.data.sources.fields import Advice, FieldError, Id, Row, SoundRow, checked, shown, utf8
from personalrm.data.sources.reading import MAX_PROBLEMS, OnBad, ReadReport, read_file
from personalrm.data.sources.votes import Vote

SURVEY_FIELDS: tuple[str, ...] = (
    "self_description",
    "system_string",
    "stated_prefs",
    "age",
    "gender",
    "employment_status",
    "education",
    "marital_status",
    "english_proficiency",
    "study_locale",
    "religion",
    "ethnicity",
    "location",
    "lm_familiarity",
    "lm_indirect_use",
    "lm_direct_use",
    "lm_frequency_use",
    "lm_usecases",
)
"""What is kept: all that users said about themselves and about language models (our choice; the paper does not say)."""

LEFT_OUT = frozenset(
    {"survey_only", "num_completed_conversations", "timing_duration_s", "timing_duration_mins", "generated_datetime"}
    | {"consent", "consent_age", "study_id", "order_lm_usecases", "order_stated_prefs"}
    | {"included_in_US_REP", "included_in_UK_REP", "included_in_balanced_subset"}
)
"""What is not: how and when the survey was taken."""

FETCH_AGAIN = "fetch the release again, or correct the file"
MISSING = (
    "is missing: the release has changed, or this is another file",
    "pin the revision, or correct path",
)
"""Problem and advice for a column that is not where the release has it."""

Surveys = dict[str, dict[str, str]]

_ADVICE = Advice(FETCH_AGAIN, MISSING)


class _User(SoundRow):
    user_id: Id


def read_survey(path: Path, on_bad: OnBad, report: ReadReport) -> Surveys:
    """Survey answers by user: texts as in the file, numbers as in JSON, parts of an answer as `religion.simplified`.

    Answers that are null are left out. Bad rows stop the run, or are dropped and counted in `report`
    (`bad_survey_row`); of a user with two different rows none is kept. The users are not added to `report.users`:
    a user without a conversation is not a user of the benchmark. Raises DataError for bad data.
    """
    surveys: Surveys = {}
    ambiguous: set[str] = set()

    def parse(row: Row, _: int) -> tuple[Vote, ...]:
        user = checked(_User, row, _ADVICE).user_id
        answers = _answers(row)
        if user in ambiguous or surveys.setdefault(user, answers) != answers:
            ambiguous.add(user)
            raise FieldError("user_id", "has another row with other answers", "keep one row per user")
        return ()

    own = ReadReport()
    deque(read_file(path, parse, known={"user_id", *SURVEY_FIELDS, *LEFT_OUT}, on_bad=on_bad, report=own), maxlen=0)
    if not own.lines:
        raise DataError(f"{path}: no rows in the file; {FETCH_AGAIN}")
    refuse_all_bad(path, own)
    _merge(report, own)
    return {user: answers for user, answers in surveys.items() if user not in ambiguous}


def _merge(report: ReadReport, own: ReadReport) -> None:
    """Add what was seen in the survey, under names of its own."""
    report.ignored.update({f"survey.{name}": count for name, count in own.ignored.items()})
    if own.bad:
        report.dropped["bad_survey_row"] += own.bad
        report.problems.extend(f"survey, {problem}" for problem in own.problems[: MAX_PROBLEMS - len(report.problems)])


def _answers(row: Row) -> dict[str, str]:
    if not any(name in row for name in SURVEY_FIELDS):
        raise FieldError(SURVEY_FIELDS[0], *MISSING)
    return dict(pair for name in SURVEY_FIELDS for pair in _flat(name, row.get(name)))


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Question and answer, of an object those of its parts."""
    if isinstance(value, Mapping):
        for part, inner in value.items():
            yield from _flat(f"{name}.{utf8(part, name, FETCH_AGAIN)}", inner)
    elif isinstance(value, str):
        yield name, utf8(value, name, FETCH_AGAIN)
    elif isinstance(value, list) or (isinstance(value, float) and not math.isfinite(value)):
        raise FieldError(name, f"is {shown(value)}, which no answer can be", FETCH_AGAIN)
    elif value is not None:
        yield name, json.dumps(value)


def refuse_all_bad(path: Path, report: ReadReport) -> None:
    """Raise DataError if all rows of a file are bad: then the file is wrong."""
    if report.lines and report.bad == report.lines:
        raise DataError(f"{path}: all {report.lines} rows are bad; the first: {report.problems[0]}")
