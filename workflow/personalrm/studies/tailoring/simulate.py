"""Simulate a run of this study on a sample of pairs, with fake models that count calls and tokens."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.persona_pairs import PersonaPair
from personalrm.core.records import write_records
from personalrm.data.pair_sets import read_pairs
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import Request
from personalrm.personas.of_pairs import FOLDER
from personalrm.studies.estimate.assumptions import Assumptions
from personalrm.studies.estimate.fake_model import FakeJob, FakeModel
from personalrm.studies.estimate.usage import Counter, Simulated, Tally, Work
from personalrm.studies.runner import runtime_from_env
from personalrm.studies.tailoring.config import Config
from personalrm.studies.tailoring.plan import Plan

PAIRS = 40
"""Pairs of a data set that are simulated at most: no call depends on an earlier answer but by a persona's length."""
PERSONA_TOKENS = 30
"""Of a persona of one sentence (the paper's released ones have 21 to 26 words)."""


class FakePersonaModel(FakeModel):
    """A fake model that answers a question about a persona with one, and others with a bare label."""

    def prose(self, request: Request, key: str) -> tuple[str, bool]:
        """An answer in words, and whether it was cut."""
        if request.messages[0].content.startswith(_infers()):
            return self.written(min(PERSONA_TOKENS, request.max_tokens), key), False
        return "Preference: First", False


def _infers() -> str:
    return load_prompt("infer", FOLDER).render("system", about="").partition(".")[0]


def simulated(
    config: Config, counters: Mapping[str, Counter], assumed: Assumptions, users: int | None = None
) -> Simulated:
    """Calls and tokens of a run; `users` is the number of pairs of each data set that are simulated. All bounds are
    alike, because nothing adapts to answers."""
    logging.getLogger("personalrm.studies.stages").setLevel(logging.WARNING)
    tally: Tally = {}
    sampled = {name: _simulate(config, name, counters, assumed, users or PAIRS, tally) for name in config.datasets}
    note = f"Personas are taken to have {PERSONA_TOKENS} tokens, and verdicts in words to be a bare label."
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
    pairs = [pair for pair in read_pairs(settings) if pair.decides]
    chosen = sorted(pairs, key=lambda pair: stable_hash("rehearsal", pair.pair_id))[:most]
    asyncio.run(_jobs(config, name, chosen, models, len(pairs) / max(1, len(chosen)), tally))
    return f"{len(pairs)} pairs, of which {len(chosen)} were simulated"


async def _jobs(
    config: Config,
    name: str,
    pairs: Sequence[PersonaPair],
    models: Mapping[str, FakePersonaModel],
    weight: float,
    tally: Tally,
) -> None:
    """Do the paid jobs of one data set, as a single shard."""
    with tempfile.TemporaryDirectory(prefix="personalrm-estimate-") as folder:
        one = config.datasets[name].model_copy(update={"shards": 1})
        plan = Plan(config.model_copy(update={"results": Path(folder), "datasets": {name: one}}))
        write_records(Path(plan.pair_files(name)[0]), pairs)
        fake = FakeJob(plan.config, runtime_from_env(), models=models)
        for path, (stage, job) in plan.makers().items():
            if not stage.paid:
                continue
            await stage.work(**plan.arguments(stage.name, job, job=fake, out=Path(path)))
            for asked, model in models.items():
                for used in model.new_calls().values():
                    tally[stage.name, asked] = tally.get((stage.name, asked), Work()).plus(used, weight)
