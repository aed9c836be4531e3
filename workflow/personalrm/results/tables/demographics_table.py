"""The table of demographics: for whom, and where in a conversation, judges are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from personalrm.core.records import UserData, read_all
from personalrm.methods.baselines import DEMOGRAPHIC_QUESTIONS
from personalrm.results.columns import Columns
from personalrm.results.comparisons import (
    ACCURACY,
    CELL_COLUMNS,
    CELL_COUNTS,
    NAMED,
    judged_pairs,
    key_order,
    largest_k,
)
from personalrm.results.conditions import ROW_KEY, Condition
from personalrm.results.labels import NO_ANSWERS, NO_VERDICTS, NOT_APPLICABLE, NOT_RUN, OK, UNUSED
from personalrm.results.lazy import pd
from personalrm.results.marks import Flags, mark_notes
from personalrm.results.scores import percents, read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import share_interval
from personalrm.results.table_formats import Block
from personalrm.results.tables.comparison_text import (
    Shown,
    block_of,
    dataset_note,
    headings_of,
    notes_where,
    shown_accuracy,
)
from personalrm.results.verdict_arrays import PROVIDER_ERROR, Cell, VerdictArrays, refuse_unknown, verdict_arrays_of

METHODS: tuple[str, ...] = ("default", "both")
GROUP_COLUMNS = Columns.joined(NAMED, Columns.text("question", "group"), CELL_COLUMNS)


SURVEY, CONVERSATION, TURN = "survey", "conversation type", "turn"
OTHERS, UNSAID = "other groups", "not stated"
LEAST_USERS = 10
"""Groups of fewer users are pooled: a number for one would be of very few people, and might identify them."""


class UserFacts(NamedTuple):
    """What groups are made of: survey answers, and conversation type and turn of each pair."""

    survey: Mapping[str, str]
    types: Mapping[str, str | None]
    turns: Mapping[str, int | None]


Facts = Mapping[tuple[str, str], UserFacts]
"""(data set, user) to what is known."""


class Groups(NamedTuple):
    """A question, the group of each judgment, and the groups' names in order."""

    question: str
    group_of: NDArray[np.int64]
    names: tuple[str, ...]


def read_facts(paths: Iterable[Path]) -> dict[tuple[str, str], UserFacts]:
    """Facts of each user from files of `UserData`; one user in memory at a time."""
    facts = {}
    for user in read_all(paths, UserData):
        survey = {name: text for name, text in user.survey.items() if name in DEMOGRAPHIC_QUESTIONS}
        types = {pair.pair_id: pair.conversation_type for pair in user.pairs}
        turns = {pair.pair_id: pair.turn for pair in user.pairs}
        facts[user.dataset, user.user_id] = UserFacts(survey, types, turns)
    return facts


def groups_of(arrays: VerdictArrays, facts: Facts) -> list[Groups]:
    """All questions that the users answered, then conversation type and turn where any pair has one.

    Every place is in one group of each question.
    """
    known = [facts[arrays.dataset, user] for user in arrays.users]
    places = [(known[user], arrays.pairs[pair]) for user, pair in zip(arrays.user_of, arrays.pair_of, strict=True)]
    asked = [question for question in DEMOGRAPHIC_QUESTIONS if any(question in user.survey for user in known)]
    texts: dict[str, list[str | None]] = {name: [user.survey.get(name) for user, _ in places] for name in asked}
    texts[CONVERSATION] = [user.types.get(pair) for user, pair in places]
    turns = [user.turns.get(pair) for user, pair in places]
    texts[TURN] = [None if turn is None else str(turn) for turn in turns]
    return [
        _pooled(arrays, question, [UNSAID if text is None else text for text in held])
        for question, held in texts.items()
        if question in asked or any(text is not None for text in held)
    ]


def _pooled(arrays: VerdictArrays, question: str, texts: list[str]) -> Groups:
    """Groups of a text of each place; those of fewer than `LEAST_USERS` users together, last."""
    users = Counter(text for _, text in set(zip(arrays.user_of.tolist(), texts, strict=True)))
    kept = sorted((text for text, count in users.items() if count >= LEAST_USERS), key=_rank)
    names = [*kept, OTHERS] if len(kept) < len(users) else kept
    place = {name: number for number, name in enumerate(names)}
    group_of = np.array([place.get(text, len(names) - 1) for text in texts], dtype=np.int64)
    return Groups(question, group_of, tuple(names))


def _rank(text: str) -> tuple[bool, float, str]:
    """Numbers by size, texts by name, what was not stated last."""
    return text == UNSAID, float(text) if text.isdecimal() else np.inf, text


def demographics_table(
    verdicts: pd.DataFrame, facts: Facts, *, methods: Sequence[str] = METHODS, model_order: Sequence[str] = ()
) -> pd.DataFrame:
    """One row for each group of each question, for every judge of `methods`; columns `GROUP_COLUMNS`.

    A judge is shown with its own profiles, at its largest k. The questions are those of the survey that describe a
    person (`methods.DEMOGRAPHIC_QUESTIONS`), "conversation type" and "turn"; a data set in which no user answered any
    has one row "survey" with cell "not applicable", one without verdicts "not run". Groups of fewer than 10 users are
    pooled in "other groups", "not stated" is a group of its own. Groups are made of all judged users, so that they are
    the same for all methods.

    - accuracy with bounds: percent; 95 % with users as clusters (`statistics.share_interval`).
    - cell_users, cell_judgments: of the group, by that method.

    Raises:
        DataError: if a judged user is not in `facts`.
    """
    rows: list[dict[str, Any]] = []
    for dataset, arrays in verdict_arrays_of(verdicts, {name for name, _ in facts}).items():
        refuse_unknown(dataset, arrays.users, facts)
        if not any(facts[dataset, user].survey for user in arrays.users):
            names = dict.fromkeys(ROW_KEY, UNUSED) | {"dataset": dataset, "question": SURVEY, "group": UNUSED}
            why = NOT_APPLICABLE if arrays.users else NOT_RUN
            rows.append({**names, "cell": why, **dict.fromkeys(CELL_COUNTS, 0), **Flags().columns("cell_")})
        shown: dict[Condition, list[Condition]] = {}
        for key in arrays.cells:
            if key.own and key.judged and key.method.name in methods:
                shown.setdefault(key._replace(k=UNUSED), []).append(key)
        largest = [key._replace(k=largest_k(keys)) for key, keys in shown.items()]
        rows += [
            {**key.row, "question": groups.question, "group": name}
            | _group(arrays, arrays.cells[key], groups.group_of == number)
            for groups in groups_of(arrays, facts)
            for key in sorted(largest, key=lambda key: key_order(key, model_order))
            for number, name in enumerate(groups.names)
        ]
    return GROUP_COLUMNS.frame(rows)


def _group(arrays: VerdictArrays, cell: Cell, places: NDArray[np.bool_]) -> dict[str, Any]:
    """Counts and accuracy of a cell at some places; keys `CELL_COLUMNS`."""
    right, judged = cell.by_user(arrays.user_of, places)
    total, lost = int(judged.sum()), bool((cell.outcome[:, places] == PROVIDER_ERROR).any())
    nothing = NO_ANSWERS if lost else NO_VERDICTS if cell.applies else NOT_APPLICABLE
    found = share_interval(right, judged, units=judged_pairs(arrays, cell, places)) if total else ()
    return {
        "cell": OK if total else nothing,
        "cell_users": int((judged.sum(axis=1) > 0).sum()),
        "cell_judgments": total,
        **cell.flags(places).columns("cell_"),
        **percents(found, *ACCURACY),
    }


read_demographics_table = GROUP_COLUMNS.read


def demographics_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people: one block per question."""
    cells: Shown = {"Users": "cell_users", "Judgments": "cell_judgments", "Accuracy % [95 % CI]": shown_accuracy}
    columns = headings_of(table)
    if table.empty:
        return (block_of(table, columns, cells),)
    return tuple(
        block_of(rows, columns | {"group": "Group"}, cells, question_label(str(question)))
        for question, rows in table.groupby("question", sort=False)
    )


def question_label(question: str) -> str:
    """A question as people read it."""
    label = DEMOGRAPHIC_QUESTIONS.get(question, question)
    return label[:1].upper() + label[1:]


def demographics_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    return [
        *dataset_note(table),
        "Accuracy: as in the main table, within the group. Judges with their own profiles, at the largest k. In "
        "brackets: 95 % interval with users as clusters (Student's t), never narrower than what so few judgments "
        "leave open; [–] with one user.",
        f"{OTHERS}: groups of fewer than {LEAST_USERS} users, pooled. {UNSAID}: no answer, or none known. Users of a "
        "type of conversation or a turn: those with a judged pair there; one user may be in several. Turns as the "
        "source counts them.",
        "Many groups are looked at, without adjustment: some intervals leave the others by chance.",
        *notes_where(
            (
                (table["cell"] == NOT_APPLICABLE).any(),
                f"{NOT_APPLICABLE}: the data set has no survey, or the method applies to none of its users.",
            ),
            ((table["cell"] == NOT_RUN).any(), f"{NOT_RUN}: the data set has no verdicts."),
        ),
        *mark_notes(table, "cell_"),
    ]


def build(verdicts: Path, users: list[Path], *, model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    table = demographics_table(read_frame(verdicts), read_facts(users), model_order=model_order)
    return Table(table, demographics_blocks(table), demographics_notes(table))


RESULT = TableResult(
    name="demographics",
    order=120,
    title="Accuracy by survey group, type of conversation and turn",
    caption=(
        "Accuracy by survey group, type of conversation and turn, with 95 % intervals (users as clusters) and group "
        "sizes; groups under 10 users are pooled."
    ),
    build=build,
)
