"""The judgments of a run, from its files and the response store, for the page of transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from personalrm.core.errors import ConfigError
from personalrm.core.generations import JudgedAnswers
from personalrm.core.persona_pairs import SIDES, JudgedPersonas, JudgedPreference, PairPersonas, PersonaPair, Side
from personalrm.core.records import Record, Verdict, read_all, read_records
from personalrm.judge.judge import verdict_request
from personalrm.judge.rubrics import rubric_requests
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.personas.of_pairs import accuracy_messages, persona_request, preference_messages
from personalrm.results.labels import UNUSED, VERDICT_LABELS
from personalrm.run.stage import Files, Wildcards
from personalrm.studies.report.judgments import Fields, Judgments, Key, Shown, choose_whole
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.stages.answers import Asked, questions_of, rivals_of
from personalrm.studies.tailoring.stages.personas import pair_questions, persona_question, personas_of

R = TypeVar("R", bound=Record)
Judged = JudgedPersonas | JudgedPreference
HARMFUL = (
    "Pairs of BeaverTails, and answers to their prompts, speak of crime, drugs, abuse and self-harm. They are shown as "
    "they are."
)
ACCURACY, PREFERENCE, COMPARISON = "judge_personas", "prefer_personas", "judge_generations"
_NAMES = {
    (ACCURACY, "chosen"): ("chosen_persona", "Pick by the persona of the chosen answer"),
    (ACCURACY, "rejected"): ("rejected_persona", "Pick by the persona of the rejected answer"),
    (PREFERENCE, "chosen"): ("preference", "Comparison of the two personas"),
}
"""Methods and their labels, by question and right side."""


def transcribed_from(plan: Plan) -> Files:
    """Files that the page is made from."""
    return {
        "pairs": [path for name in plan.config.datasets for path in plan.pair_files(name)],
        "personas": plan.paths("infer_personas"),
        "accuracy": plan.paths(ACCURACY),
        "preferences": plan.paths(PREFERENCE),
        "comparisons": plan.paths(COMPARISON),
        **{name: plan.sources(COMPARISON, name) for name in ("test_answers", "base_answers")},
    }


def judgments_of(plan: Plan, max_judgments: int) -> Shown:
    """The judgments of a run; of a run with more than `max_judgments`, those of some pairs."""
    config, asked, compared = plan.config, Counter[Key](), Counter[Key]()
    for row in _judged(plan):
        asked[row.dataset, row.pair_id] += sum(map(len, _by_side(row).values()))
    for answers in _rows(plan, COMPARISON, JudgedAnswers):
        compared[answers.dataset, answers.pair_id] += len(answers.verdicts)
    counts = asked + compared
    chosen = choose_whole(counts, max_judgments)
    with ExitStack() as stack:
        store = stack.enter_context(ResponseStore(config.store)) if config.store.is_file() else None
        found = Transcripts(plan, store, chosen.intersection(+asked))
        for row in _judged(plan):
            if (row.dataset, row.pair_id) in chosen:
                found.add_judged(row)
        for job in plan.jobs(COMPARISON):
            found.add_compared(plan, job, chosen)
        data = found.data()
    shown = sum(counts[key] for key in chosen)
    notices = [HARMFUL] if any(entry.prompt == "beavertails" for entry in config.datasets.values()) else []
    return Shown(data, "pairs", (len(chosen), len(counts)), (shown, sum(counts.values())), notices)


class Transcripts:
    """Collects the `chosen` pairs with their personas, and judgments of these; and comparisons of answers. A row of the
    page is a question on a data set: which persona by which writer, or which two systems; which judge, and how its
    verdicts are read."""

    def __init__(self, plan: Plan, store: ResponseStore | None, chosen: frozenset[Key]) -> None:
        self._config, self._found = plan.config, Judgments(store)
        self._datasets = list(plan.config.datasets)
        self._pairs: dict[Key, tuple[PersonaPair, int]] = {}
        self._personas: dict[tuple[str, str, str], Mapping[Side, str]] = {}
        self._rows: dict[tuple[object, ...], tuple[Fields, dict[int, Sequence[Verdict]]]] = {}
        for dataset, shard in ((name, shard) for name in self._datasets for shard in plan.shards(name)):
            pairs = read_records(Path(plan.pairs(Wildcards(dataset=dataset, shard=shard))), PersonaPair)
            known = [pair for pair in pairs if (dataset, pair.pair_id) in chosen]
            for pair in known:
                place = self._found.pair((dataset, pair.pair_id), [("user", pair.prompt)], pair.chosen, pair.rejected)
                self._pairs[dataset, pair.pair_id] = pair, place
            for writer in plan.config.personas_of:
                job = Wildcards(dataset=dataset, shard=shard, model=writer)
                self._add_personas(writer, known, plan.persona_files(job))

    def _add_personas(self, writer: str, pairs: Sequence[PersonaPair], files: Mapping[str, str | list[str]]) -> None:
        written, given = files.get("personas"), files.get("given")
        paths = [Path(written)] if isinstance(written, str) else []
        found = personas_of(pairs, paths, None if given is None else [Path(path) for path in given])
        rows = {row.pair_id: row for path in paths for row in read_records(path, PairPersonas)}
        for pair in pairs:
            personas = found.get(pair.pair_id, {})
            self._personas[pair.dataset, writer, pair.pair_id] = personas
            shown = {
                side: self._persona(writer, pair, side, personas.get(side), rows.get(pair.pair_id)) for side in SIDES
            }
            fields = self._found.pairs[self._pairs[pair.dataset, pair.pair_id][1]]
            fields.setdefault("personas", {})[writer] = {side: known for side, known in shown.items() if known}

    def _persona(
        self, writer: str, pair: PersonaPair, side: Side, persona: str | None, row: PairPersonas | None
    ) -> list[object] | None:
        """Place of a persona, its outcome, and places of its calls; None where nobody was asked for it."""
        text = None if persona is None else self._found.text(persona)
        if row is None:
            return None if persona is None else [text, "ok", []]
        request, wanted = persona_request(pair, side, persona_question(self._config, pair.dataset)), _keys(row)
        self._found.keep(self._identity(writer), request, wanted, None)
        # Where the prompt cannot be built again, it is not known which call is of which side.
        mine = {request_key(self._identity(writer), request)} & wanted or wanted
        return [text, row.outcomes.get(side, "empty"), [self._found.call(key) for key in sorted(mine)]]

    def add_judged(self, row: Judged) -> None:
        """All verdicts of one judge on one pair."""
        pair, place = self._pairs[row.dataset, row.pair_id]
        asked = ACCURACY if isinstance(row, JudgedPersonas) else PREFERENCE
        for side, verdicts in _by_side(row).items():
            self._keep_prompts(row, pair, side, {key for verdict in verdicts for key in verdict.calls})
            if verdicts:
                fields = self._fields(row.dataset, *_NAMES[asked, side], row.mode, row.judge)
                fields |= {"profile_model": row.model, "written": "personas", "variant": ""}
                self._add(fields | ({"what": "persona"} if asked == PREFERENCE else {"side": side}), place, verdicts)

    def _keep_prompts(self, row: Judged, pair: PersonaPair, side: Side, wanted: set[str]) -> None:
        personas = self._personas[row.dataset, row.model, row.pair_id]
        of_pairs = isinstance(row, JudgedPersonas)
        for question in pair_questions(self._config, row.judge, row.dataset if of_pairs else None):
            if question.judge.mode != row.mode or not wanted:
                continue
            for first in SIDES:
                messages = (
                    accuracy_messages(pair, personas[side], question, first=first)
                    if of_pairs
                    else preference_messages(personas, question, first=first)
                )
                request = verdict_request(messages, question.judge)
                self._found.keep(self._identity(row.judge), request, wanted, first == "rejected")

    def add_compared(self, plan: Plan, job: Wildcards, chosen: frozenset[Key]) -> None:
        """Comparisons of two systems' answers by one judge, with the answers as they were compared."""
        rows = read_records(Path(plan.path(COMPARISON, **job._asdict())), JudgedAnswers)
        judged = {(row.pair_id, row.rubric, row.mode): row for row in rows if row.verdicts}
        test, base = (Path(plan.answers(job, system)) for system in (job.system, job.base))
        questions = questions_of(self._config, job.judge, job.dataset)
        for group in rivals_of(test, base, self._config.compare.clean_up, questions):
            for asked in group:
                question = asked.question.rubric, asked.question.judge.mode
                row = judged.get((asked.test.pair_id, *question))
                if row is not None and (job.dataset, row.pair_id) in chosen:
                    self._keep_comparison(asked, row)
                    self._add(self._compared_fields(row), self._answers(asked, row), row.verdicts)

    def _answers(self, asked: Asked, row: JudgedAnswers) -> int:
        """Place of two answers: what each system was told, the length of its answer, and what the clean-up removed."""
        both, names = (asked.test, asked.base), (row.test, row.base)
        context, (test, base) = [("user", asked.test.prompt)], asked.texts
        place = self._found.pair((row.dataset, row.pair_id), context, test.text, base.text, names)
        told = [self._found.text(one.persona) if one.persona else None for one in both]
        self._found.pairs[place] |= {"told": told, "words": row.words, "stripped": row.stripped}
        return place

    def _keep_comparison(self, asked: Asked, row: JudgedAnswers) -> None:
        wanted = {key for verdict in row.verdicts for key in verdict.calls}
        # Without the package that has Prometheus' prompt, the prompts are not built again.
        with suppress(ConfigError):
            for swapped in (False, True):
                for request in rubric_requests(asked.rivals, swapped, asked.question):
                    self._found.keep(self._identity(row.judge), request, wanted, swapped)

    def _compared_fields(self, row: JudgedAnswers) -> Fields:
        named = f"better_answer.{row.rubric}", f"Better answer: {row.rubric}"
        return {
            **self._fields(row.dataset, *named, row.mode, row.judge),
            **{"profile_model": None, "variant": f"{row.test} against {row.base}", "systems": [row.test, row.base]},
        }

    def _add(self, fields: Fields, place: int, verdicts: Sequence[Verdict]) -> None:
        """Verdicts on one pair, whatever its shard, to the row with these fields."""
        names = ("user", "method", "judge_model", "profile_model", "variant")
        self._rows.setdefault(tuple(fields[name] for name in names), (fields, {}))[1][place] = verdicts

    def _fields(self, dataset: str, method: str, label: str, mode: str, judge: str) -> Fields:
        """What all rows have."""
        return {
            **{"user": self._datasets.index(dataset), "label": label + VERDICT_LABELS[mode]},
            **{"method": method if mode == "text" else f"{method}.{mode}", "judge_model": judge},
            **{"k": UNUSED, "draw": 0, "status": "ok", "reason": None, "profile": None},
        }

    def _identity(self, model: str) -> str:
        """The part of a store's key that identifies a model."""
        return self._config.models[model].spec(model).identity

    def data(self) -> Fields:
        """What `Judgments.data` describes, with data sets as users; `personas` of a pair are, by
        writer and side, [text, outcome, calls]."""
        for fields, verdicts in self._rows.values():
            self._found.row(fields, verdicts)
        nobody: Fields = {"user": "", "taste": None, "survey": {}, "profiles": []}
        users = [{"dataset": name, **nobody} for name in self._datasets]
        return {**self._found.data(), "users": users, "profiles": [], "versus": [], "opens": None}


def _rows(plan: Plan, stage: str, record: type[R]) -> Iterator[R]:
    return read_all(map(Path, plan.paths(stage)), record)


def _judged(plan: Plan) -> Iterator[Judged]:
    yield from _rows(plan, ACCURACY, JudgedPersonas)
    yield from _rows(plan, PREFERENCE, JudgedPreference)


def _by_side(row: Judged) -> Mapping[Side, Sequence[Verdict]]:
    """Verdicts by the side whose persona, or (of a preference) whose side, is the right one."""
    return row.verdicts if isinstance(row, JudgedPersonas) else {"chosen": row.verdicts}


def _keys(row: PairPersonas) -> set[str]:
    return {ref.key for ref in row.calls}
