"""Simulate a run of this study on a sample of questions and users, with fake models that count calls and tokens."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from personalrm.core.files import stable_fraction, stable_hash
from personalrm.core.generations import Generation
from personalrm.core.records import read_records, write_records
from personalrm.core.synthetic import QuestionGroup, SeedUser, SyntheticPair
from personalrm.judge.judge import LABELS
from personalrm.judge.prompting import load_prompt
from personalrm.judge.rubrics import FOLDER as RUBRICS
from personalrm.llm.types import Request, Response, TokenLogprobs
from personalrm.personas.synthetic.pairs import allotted
from personalrm.personas.synthetic.questions import FOLDER
from personalrm.personas.synthetic.settings import Domain
from personalrm.personas.synthetic.users import seed_users
from personalrm.studies.estimate.assumptions import Assumptions, Bound
from personalrm.studies.estimate.fake_model import FakeJob, FakeModel
from personalrm.studies.estimate.usage import Counter, Simulated, Tally, Work
from personalrm.studies.fspo.config import BASE, Config
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.stages.prepare import given_questions
from personalrm.studies.runner import runtime_from_env
from personalrm.train.policy_settings import Generated

USERS, QUESTIONS = 6, 5
"""Users, and general questions, of a domain that are simulated at most."""
QUESTION_TOKENS, FACT_TOKENS, VIEWS = 14, 16, 12
"""Of a question or a view, of a fact; and views in a list, which are cut to as many as are asked for."""
TOKENS_A_WORD = 1.3
HELD_OUT = 0.4
"""Share of the sampled questions that are held out at most."""
LETTER_TOKENS = 8
_LETTERS = str.maketrans("0123456789", "ghijklmnop")
"""Fake questions differ by letters, because digits alone would make them near-duplicates."""
DECIDED: Mapping[Bound, float] = {"expected": 0.5, "least": 1.0, "most": 0.0}
"""Share of pairs that the traits decide: others get a fact each, up to the most of a user. Final descriptions decide
all pairs in all bounds, so that systems are shown as many as the config says."""


class FakeWriter(FakeModel):
    """A fake model that writes questions, views, answers and facts, and labels a share `decided` of the pairs alike in
    both orders."""

    decided = 0.5
    words = 150

    def prose(self, request: Request, key: str) -> tuple[str, bool]:
        """An answer in words, and whether it was cut."""
        name = next((name for name in _openings() if request.messages[0].content.startswith(_openings()[name])), "")
        if name in ("ask", "views"):
            count = max(1, min(VIEWS, request.max_tokens // QUESTION_TOKENS))
            marks = (stable_hash(key, str(number)).translate(_LETTERS) for number in range(count))
            return "\n".join(
                f"{self.written(QUESTION_TOKENS - LETTER_TOKENS, '')} {mark[:40]}?" for mark in marks
            ), False
        if name in ("label", "rivals"):
            return f"Preference: {LABELS['standard'][0 if self._says_first(request, 'standard') else 1]}", False
        length = min(FACT_TOKENS if name == "fact" else self.words * TOKENS_A_WORD, request.max_tokens)
        # In an order of their own, because near-equal answers are not paired.
        words = self.written(length, key).split()
        return " ".join(random.Random(key).sample(words, len(words))), False

    def _answer(self, key: str, request: Request) -> Response:
        response = super()._answer(key, request)
        if not request.top_logprobs:
            return response
        first = self._says_first(request, "compact" if self._style == "compact" else "standard")
        labels = LABELS[self._style] if first else LABELS[self._style][::-1]
        odds = TokenLogprobs(((f" {labels[0]}", -0.1), (f" {labels[1]}", -2.4)))
        return Response("", response.finish_reason, response.usage, response.key, (odds,))

    def _says_first(self, request: Request, style: str) -> bool:
        """Whether the first answer is preferred: the same one in both orders for the share that is decided."""
        labels = LABELS["compact" if style == "compact" else "standard"]
        asked = next(message.content for message in reversed(request.messages) if message.role == "user")
        one, _, other = asked.partition(f"Answer {labels[0]}:\n")[2].partition(f"\n\nAnswer {labels[1]}:\n")
        # The description, which stands after the second answer in a comparison of systems, and the question.
        other = other.partition("\n\nThe person: ")[0].partition("\n\nWhich answer ")[0]
        texts = sorted((one, other))
        return one == texts[0] if stable_fraction("decided", *texts) < self.decided else True


def _openings() -> dict[str, str]:
    """How the instructions of prompts begin, by name."""
    values = {"count": 1, "words": 1, "description": "", "labels": ("", "")}
    values |= {"criterion": "", "about": "", "reasoned": False}
    prompts = [load_prompt(name, FOLDER) for name in ("ask", "views", "answer", "label", "fact")]
    prompts.append(load_prompt("rivals", RUBRICS))
    return {prompt.name: prompt.render("system", **values).partition("\n")[0][:20] for prompt in prompts}


@dataclass
class _Sample:
    """One domain, and how many of its users and questions are simulated."""

    domain: Domain
    users: int
    weights: dict[str, float] = field(default_factory=dict)
    said: str = ""


def simulated(
    config: Config, counters: Mapping[str, Counter], assumed: Assumptions, users: int | None = None
) -> Simulated:
    """Calls and tokens of a run; `users` of each domain are simulated. The bounds differ by how many pairs the traits
    decide, and by nothing else: no user is made again."""
    logging.getLogger("personalrm.studies.stages").setLevel(logging.WARNING)
    tallies: dict[Bound, Tally] = {}
    sampled: dict[str, str] = {}
    for bound, share in DECIDED.items():
        tallies[bound] = {}
        for name, domain in config.datasets.items():
            sample = _Sample(domain, users or USERS)
            models = {}
            for model, spec in config.specs.items():
                models[model] = FakeWriter(spec, config.models[model].prompts, counters[model], assumed)
                models[model].words = config.answer.words
            asyncio.run(_jobs(config, sample, models, share, tallies[bound]))
            sampled[name] = sample.said
    notes = [
        "Expected: the traits decide half of the pairs (least: all, most: none), and each of the others adds a fact "
        "until the most is reached. No user is made again, and no question is a near-duplicate.",
    ]
    return Simulated(tallies, sampled, notes=notes)


def _smaller(domain: Domain) -> Domain:
    """The domain with few questions, as one shard."""
    questions = domain.questions
    few = questions.model_copy(
        update={
            "general": min(questions.general, QUESTIONS),
            "per_trait": min(questions.per_trait, 1),
            "held_out": min(questions.held_out, HELD_OUT),
        }
    )
    return domain.model_copy(update={"shards": 1, "questions": few})


async def _jobs(
    config: Config, sample: _Sample, models: Mapping[str, FakeWriter], decided: float, tally: Tally
) -> None:
    """Do the jobs of one domain on the sample, and add its calls to `tally`; traits decide the share `decided`."""
    domain = sample.domain
    people, given = seed_users(domain, config.seed), given_questions(domain)
    wanted = max(domain.questions.general, len(given)) + domain.questions.per_trait * len(domain.trait_texts)
    kept = wanted * (1 - domain.questions.held_out)
    with tempfile.TemporaryDirectory(prefix="personalrm-estimate-") as folder:
        # Fake labels are the same for all users, who would all be made again.
        once = config.describe.model_copy(update={"regenerate": 0})
        compare = config.compare
        files = {name: Path(folder, f"{name}.jsonl") for name in (compare.given if compare else ())}
        update: dict[str, object] = {"compare": compare and compare.model_copy(update={"given": files})}
        update |= {"results": Path(folder), "datasets": {domain.name: _smaller(domain)}, "describe": once}
        plan = Plan(config.model_copy(update=update))
        write_records(Path(plan.users(domain.name)), people[: sample.users])
        write_records(Path(plan.seeds(domain.name)), given[:QUESTIONS])
        fake = FakeJob(plan.config, runtime_from_env(), models=models)
        weights = {"answer_questions": 1.0}
        for path, (stage, job) in plan.makers().items():
            if stage.name == "prepare":
                continue
            for model in models.values():
                model.decided = decided if stage.name == "describe_users" else 1.0
            done = stage.work(**plan.arguments(stage.name, job, job=fake, out=Path(path), answered=_assumed))
            if inspect.isawaitable(done):
                await done
            if stage.name == "ask_questions":
                groups = list(read_records(Path(path), QuestionGroup))
                had = [question.held_out for row in groups for question in row.questions]
                weights = {"ask_questions": wanted / len(had), "answer_questions": kept / had.count(False)}
                held = _compared(groups, people[: sample.users], plan.config)
                asked_of_all = len(people) / max(1, min(len(people), sample.users))
                most = wanted * domain.questions.held_out
                most = min(most, config.compare.questions or most) if config.compare else 0
                weights["write_answers"] = weights["compare_answers"] = asked_of_all * most / max(held, 1)
            if stage.name in ("write_answers", "generate_answers") and job.method == BASE:
                _answer_otherwise(Path(path), files.values())
            if stage.name == "pair_answers":
                pairs = list(read_records(Path(path), SyntheticPair))
                mine = sum(len(allotted(one, pairs, domain.pairs.own, config.seed)) for one in people[: sample.users])
                planned = min(domain.pairs.shared + domain.pairs.own, kept * domain.pairs.per_question)
                weights["describe_users"] = weights["label_pairs"] = len(people) * planned / max(mine, 1)
            for asked, model in models.items():
                for used in model.new_calls().values():
                    key = (stage.name, asked)
                    tally[key] = tally.get(key, Work()).plus(used, weights.get(stage.name, 1.0))
    sample.said = f"{len(people)}, of whom {min(len(people), sample.users)} were simulated; {wanted} questions"


def _assumed(plan: Plan, system: str, asked: Sequence[object]) -> list[Generated]:
    """Answers that stand in for those of a policy, which cost no call: of the length that is asked for."""
    return [Generated(" ".join([system] * plan.config.answer.words), False)] * len(asked)


def _answer_otherwise(base: Path, given: Iterable[Path]) -> None:
    """Write files that stand in for given answers: those of Base with their words in another order."""
    rows = list(read_records(base, Generation))
    for path in given:
        turned = (" ".join(reversed(row.response.split())) for row in rows)
        write_records(path, [row.model_copy(update={"response": text}) for row, text in zip(rows, turned, strict=True)])


def _compared(groups: Sequence[QuestionGroup], people: Sequence[SeedUser], config: Config) -> float:
    """Held-out questions that a user of the sample is asked, on average."""
    if config.compare is None:
        return 0.0
    counts = []
    for user in people:
        traits = {"", *(f"{dimension}.{value}" for dimension, value in user.traits.items())}
        held = sum(question.held_out for group in groups if group.trait in traits for question in group.questions)
        counts.append(min(held, config.compare.questions or held))
    return sum(counts) / max(1, len(counts))
