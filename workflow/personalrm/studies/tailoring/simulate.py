"""Simulate a run of this study on a sample of pairs, with fake models that count calls and tokens."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.generations import Generation
from personalrm.core.persona_pairs import PersonaPair
from personalrm.core.records import write_records
from personalrm.judge.call_recorder import Answered
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import Request
from personalrm.personas.of_pairs import FOLDER
from personalrm.run.stage import Stage
from personalrm.studies.estimate.assumptions import Assumptions
from personalrm.studies.estimate.fake_model import FakeJob, FakeModel
from personalrm.studies.estimate.usage import Counter, Simulated, Tally, Work
from personalrm.studies.runner import runtime_from_env
from personalrm.studies.tailoring.config import Config
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.stages.answers import GIVEN, JUDGE, given_generations
from personalrm.studies.tailoring.stages.personas import ACCURACY, INFER, PREFERENCE
from personalrm.studies.tailoring.stages.prepare import prepared
from personalrm.studies.tailoring.stages.tailor import ASK, GENERATE, answer_row, answered_pairs

PAIRS = 40
"""Pairs of a data set that are simulated at most: no call depends on an earlier answer but by a persona's length."""
PERSONAS: tuple[Stage[Plan], ...] = (INFER, ACCURACY, PREFERENCE)
"""Stages about pairs with two different responses."""
ANSWERS: tuple[Stage[Plan], ...] = (GIVEN, ASK, GENERATE, JUDGE)
"""Stages about pairs with generated answers."""
Given = Mapping[str, Sequence[Generation]]
"""Answers that were generated elsewhere, by system."""
PERSONA_TOKENS, ANSWER_TOKENS = 30, 120
"""Of a persona of one sentence (the paper's released ones have 21 to 26 words), and of a trained model's answer at most
(as a reasoning is assumed to have)."""


class FakePersonaModel(FakeModel):
    """A fake model that answers a question about a persona with one, judges personas by a bare label, and answers by a
    reasoning with a grade."""

    def prose(self, request: Request, key: str) -> tuple[str, bool]:
        """An answer in words, and whether it was cut."""
        system = request.messages[0].content
        if system.startswith(_beginning("infer")):
            return self.written(min(PERSONA_TOKENS, request.max_tokens), key), False
        if system.startswith((_beginning("accuracy"), _beginning("preference"))):
            return "Preference: First", False
        words, cut = super().prose(request, key)
        return f"{words} [RESULT] A", cut


def _beginning(prompt: str) -> str:
    return load_prompt(prompt, FOLDER).render("system", about="", labels=("", "")).partition(".")[0]


def simulated(
    config: Config, counters: Mapping[str, Counter], assumed: Assumptions, users: int | None = None
) -> Simulated:
    """Calls and tokens of a run; `users` is the number of pairs of each data set that are simulated. All bounds are
    alike, because nothing adapts to answers."""
    logging.getLogger("personalrm.studies.stages").setLevel(logging.WARNING)
    tally: Tally = {}
    sampled = {name: _simulate(config, name, counters, assumed, users or PAIRS, tally) for name in config.datasets}
    note = (
        f"Personas are taken to have {PERSONA_TOKENS} tokens, verdicts on personas in words to be a bare label, and "
        "every answer of Prometheus 2 to have a grade."
    )
    return Simulated({"expected": tally, "least": tally, "most": tally}, sampled, notes=[note])


def _simulate(
    config: Config, name: str, counters: Mapping[str, Counter], assumed: Assumptions, most: int, tally: Tally
) -> str:
    """Add the calls of one data set to `tally`; returns how many pairs it has."""
    models = {
        model: FakePersonaModel(spec, config.models[model].prompts, counters[model], assumed)
        for model, spec in config.specs.items()
    }
    settings = config.datasets[name]
    absent = [str(path) for path in settings.source_files() if not path.is_file()]
    if absent:
        raise DataError(
            f"datasets.{name}: not there yet: {', '.join(absent)}; of the hub, run snakemake with the same "
            f"--configfile and the target prepare_{name}, which costs nothing"
        )
    known, _ = prepared(settings)
    systems = [system for system, entry in config.compare.given.items() if name in entry.files]
    given = {system: given_generations(config, name, system, known) for system in systems}
    deciding, answered = [pair for pair in known if pair.decides], _answered(config, known, given)
    for pairs, stages in ((deciding, PERSONAS), (answered, ANSWERS)):
        chosen = sorted(pairs, key=lambda pair: stable_hash("rehearsal", pair.pair_id))[:most]
        picked = {pair.pair_id for pair in chosen}
        shown = [pair for pair in known if pair.split in config.tailor.examples and pair.pair_id not in picked]
        asyncio.run(
            _jobs(
                config,
                name,
                [*chosen, *shown] if chosen and stages is ANSWERS else chosen,
                models,
                len(pairs) / max(1, len(chosen)),
                tally,
                stages,
                {system: [one for one in answers if one.pair_id in picked] for system, answers in given.items()},
            )
        )
    return f"{len(known)} pairs, of which {min(most, len(known))} were simulated"


def _answered(config: Config, pairs: Sequence[PersonaPair], given: Given) -> list[PersonaPair]:
    """The pairs of a data set that a system answers, or has a given answer to."""
    found = {answer.pair_id for answers in given.values() for answer in answers}
    answered = config.tailor.answered if config.tailor.systems else ()
    return [pair for pair in pairs if pair.pair_id in found or pair.split in answered]


async def _jobs(
    config: Config,
    name: str,
    pairs: Sequence[PersonaPair],
    models: Mapping[str, FakePersonaModel],
    weight: float,
    tally: Tally,
    stages: Collection[Stage[Plan]],
    given: Given,
) -> None:
    """Do those jobs of one data set, as a single shard."""
    if not pairs:
        return
    with tempfile.TemporaryDirectory(prefix="personalrm-estimate-") as folder:
        one = config.datasets[name].model_copy(update={"shards": 1})
        plan = Plan(config.model_copy(update={"results": Path(folder), "datasets": {name: one}}))
        write_records(Path(plan.pair_files(name)[0]), pairs)
        fake = FakeJob(plan.config, runtime_from_env(), models=models)
        for path, (stage, job) in plan.makers().items():
            if stage not in stages or job.dataset != name:
                continue
            if stage is GIVEN:
                write_records(Path(path), given[job.system])
                continue
            if stage is GENERATE:
                # No call: answers stand in for those of a trained model. Equal ones would not be judged.
                told = answered_pairs(plan.config, name, job.system, Path(plan.pairs(job)))
                said = f"{job.system}{' answer' * min(config.tailor.max_new_tokens, ANSWER_TOKENS)}"
                rows = (answer_row(pair, name, job.system, who, Answered(said, "ok")) for pair, who in told)
                write_records(Path(path), rows)
                continue
            done = stage.work(**plan.arguments(stage.name, job, job=fake, out=Path(path)))
            if stage.paid:
                await done
            for asked, model in models.items():
                for used in model.new_calls().values():
                    tally[stage.name, asked] = tally.get((stage.name, asked), Work()).plus(used, weight)
