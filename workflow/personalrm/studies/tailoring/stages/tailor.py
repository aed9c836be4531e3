"""Stages `tailor_sft`, `tailor_dpo`, `generate_answers` and `ask_answers`: models trained on pairs with personas, and
answers for personas by these, by untrained bases, or by models of the client that are shown examples.

What needs torch is imported in the jobs that use it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from personalrm.core.errors import DataError
from personalrm.core.extras import require_extra
from personalrm.core.generations import Generation
from personalrm.core.persona_pairs import PersonaPair
from personalrm.core.records import CallRef, read_all, read_records, write_records
from personalrm.judge.call_recorder import Answered, CallRecorder, answer_of
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import LanguageModel, Request
from personalrm.personas.of_pairs import FOLDER
from personalrm.personas.tailored import (
    STOPS,
    TRAIN_TYPES,
    Lesson,
    answer_messages,
    answer_prompt,
    asked,
    begun,
    continued_text,
    lessons,
)
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.runner import Job as StudyJob
from personalrm.studies.settings import model_reads
from personalrm.studies.tailoring.config import Config
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.tailor_config import PolicyConfig, Step, SystemConfig
from personalrm.train import CARD, WEIGHTS, one_gpu
from personalrm.train.base_names import base_identity

Job = StudyJob[Config]
logger = logging.getLogger("personalrm.studies.stages")
CHECKPOINT_S = 60.0
"""Seconds between checkpoints of a training."""
VERSION = 1
"""Raised when the code of these stages changes what they would write."""


def sft_stage(plan: Plan, *, pairs: Sequence[Path], out: Path, dataset: str, reward: str, method: str) -> None:
    """Write weights and card (`out`) of a base that was fine-tuned on responses."""
    _train(plan, "sft", pairs, [], out, Wildcards(dataset=dataset, reward=reward, method=method))


def dpo_stage(
    plan: Plan, *, pairs: Sequence[Path], start: Path, out: Path, dataset: str, reward: str, method: str
) -> None:
    """Write weights and card (`out`) of the merged supervised model (card `start`) after preference optimisation; the
    former is the reference."""
    _train(plan, "dpo", pairs, [start], out, Wildcards(dataset=dataset, reward=reward, method=method))


def _train(plan: Plan, step: Step, pairs: Sequence[Path], start: Sequence[Path], out: Path, names: Wildcards) -> None:
    """A killed training resumes from its checkpoint, which lies outside the outputs: Snakemake deletes those of a
    failed job."""
    require_extra("train", f"tailor.policies.{names.reward}")
    policy = plan.config.tailor.policies[names.reward]
    device = one_gpu(policy.device)
    from personalrm.train.policy import open_policy
    from personalrm.train.policy_fit import fit_choices, fit_texts
    from personalrm.train.trainer import Run

    found = list(read_all(pairs, PersonaPair))
    tailor = plan.config.tailor
    train, held_out = (_lessons(found, getattr(tailor, f"{step}_{part}"), step, names) for part in ("train", "val"))
    folder = Path(plan.run, "checkpoints", f"{names.dataset}-{names.reward}-{names.method}-{step}")
    run = Run(folder, CHECKPOINT_S, policy.threads, device)
    settings, hyper = policy.settings(step, device), policy.hyper_of(step)
    with open_policy(settings, policy.tuned, policy.seed, start=[card.parent for card in start]) as opened:
        if step == "sft":
            texts = [one.text for one in train], [one.text for one in held_out]
            tuned = fit_texts(opened, *texts, hyper, policy.seed, run)
        else:
            choices = [one.choice for one in train], [one.choice for one in held_out]
            tuned = fit_choices(opened, *choices, hyper, policy.seed, run)
    made = {"dataset": names.dataset, "name": names.reward, "train": names.method, "step": step}
    tuned._replace(card=tuned.card | made).save(out.parent)
    shutil.rmtree(folder, ignore_errors=True)
    logger.info("%s: %d lessons, %d held out", out, len(train), len(held_out))


def _lessons(pairs: Sequence[PersonaPair], splits: Sequence[str], step: Step, names: Wildcards) -> list[Lesson]:
    """What is learned from pairs of these splits. Raises DataError where it is nothing."""
    mine = [pair for pair in pairs if pair.split in splits and (step == "sft" or pair.decides)]
    train = next(one for one in TRAIN_TYPES if one == names.method)
    found = list(lessons(mine, train))
    if not found:
        raise DataError(
            f"data set {names.dataset}: no pair of the splits {', '.join(splits)} to learn from with train: {train}; "
            f"correct its splits, or tailor.{step}_train and tailor.{step}_val"
        )
    return found


def _told(config: Config, dataset: str, system: SystemConfig, pair: PersonaPair) -> str | None:
    """The persona that an answer is tailored to, "" for none; None where the pair has none of that kind."""
    if system.inference == "none":
        return ""
    if system.inference == "system":
        return config.tailor.personas[dataset]
    return pair.persona(system.inference) or None


def answered_pairs(config: Config, dataset: str, name: str, pairs: Path) -> list[tuple[PersonaPair, str]]:
    """The pairs of a shard that a system answers, with the persona that it is told."""
    system = config.tailor.systems[name]
    mine = [pair for pair in read_records(pairs, PersonaPair) if pair.split in config.tailor.answered]
    told = [(pair, _told(config, dataset, system, pair)) for pair in mine]
    found = [(pair, persona) for pair, persona in told if persona is not None]
    if len(found) < len(mine):
        logger.warning(
            "%s: %d of %d pairs have no persona %s", name, len(mine) - len(found), len(mine), system.inference
        )
    return found


def _examples(config: Config, dataset: str, system: SystemConfig, pairs: Sequence[Path]) -> list[Lesson]:
    """The worked examples that a system is shown; raises DataError where there are none."""
    tailor = config.tailor
    known = sorted(
        (pair for pair in read_all(pairs, PersonaPair) if pair.split in tailor.examples), key=lambda pair: pair.pair_id
    )
    found = list(lessons(known, system.train))[: tailor.shots]
    if not found:
        raise DataError(
            f"data set {dataset}: no example with a persona in the splits {', '.join(tailor.examples)}; correct "
            "tailor.examples"
        )
    return found


def generate_stage(
    plan: Plan,
    *,
    pairs: Path,
    out: Path,
    dataset: str,
    system: str,
    cards: Sequence[Path] = (),
    known: Sequence[Path] = (),
) -> None:
    """Write one `Generation` for each answered pair of a shard, by a trained model or by its base."""
    config, entry = plan.config, plan.config.tailor.systems[system]
    require_extra("train", f"tailor.systems.{system}")
    policy = config.tailor.policies[str(entry.policy)]
    device = one_gpu(policy.device)
    from personalrm.train.policy import open_policy
    from personalrm.train.trainer import deterministic

    few = entry.strategy == "few_shot"
    examples = _examples(config, dataset, entry, known) if few else []
    wanted = answered_pairs(config, dataset, system, pairs)
    data = config.datasets[dataset].prompt
    starts = [begun(pair, data) for pair, _ in wanted]
    texts = [
        continued_text(asked(pair.prompt, persona, entry.train), examples, start)
        for (pair, persona), start in zip(wanted, starts, strict=True)
    ]
    most, least = config.tailor.max_new_tokens, 0 if few else config.tailor.min_new_tokens
    settings = policy.settings(None, device)
    with deterministic(policy.threads), open_policy(settings, None, 0, start=[card.parent for card in cards]) as opened:
        made = opened.generate(texts, max_new_tokens=most, min_new_tokens=least, stop=STOPS if few else ())
    rows = []
    for (pair, persona), start, one in zip(wanted, starts, made, strict=True):
        response = f"{start}{one.text}".strip()
        said = Answered(response, "ok" if response else "empty", one.cut)
        rows.append(answer_row(pair, dataset, system, persona, said))
    write_records(out, rows)


def answer_row(
    pair: PersonaPair, dataset: str, system: str, persona: str, said: Answered, calls: tuple[CallRef, ...] = ()
) -> Generation:
    """The row of an answer."""
    return Generation(
        dataset=dataset,
        pair_id=pair.pair_id,
        system=system,
        prompt=pair.prompt,
        persona=persona,
        response=said.text,
        outcome=said.outcome,
        cut=said.cut,
        calls=calls,
        prompts={answer_prompt().name: answer_prompt().label},
    )


async def ask_stage(job: Job, *, pairs: Path, known: Sequence[Path], out: Path, dataset: str, system: str) -> None:
    """Write one `Generation` for each answered pair of a shard, by a model that is shown examples."""
    config, entry = job.config, job.config.tailor.systems[system]
    examples = _examples(config, dataset, entry, known)
    about = str(load_prompt(config.datasets[dataset].prompt, FOLDER).value("about"))

    async def work(client: LanguageModel, one: tuple[PersonaPair, str]) -> Generation:
        (pair, persona), recorder = one, CallRecorder(client, ASK.name)
        messages = answer_messages(asked(pair.prompt, persona, entry.train), examples, about)
        request = Request(messages, max_tokens=config.tailor.max_new_tokens, stop=STOPS)
        said = await answer_of(recorder, request)
        return answer_row(pair, dataset, system, persona, said, recorder.calls)

    await job.execute(ASK, str(entry.model), [answered_pairs(config, dataset, system, pairs)], work, out)


def _jobs(plan: Plan, kind: str) -> Iterator[Wildcards]:
    """Systems that a model of the client (`model`) or a policy (`policy`) answers for."""
    for name, system in plan.config.tailor.systems.items():
        if getattr(system, kind) is not None:
            yield from (Wildcards(dataset=dataset, system=name) for dataset in plan.config.systems[name])


def _trainings(plan: Plan, steps: Sequence[str]) -> list[Wildcards]:
    """Trainings that the systems of these strategies need."""
    found = {
        Wildcards(dataset=job.dataset, reward=str(system.policy), method=system.train): None
        for job in _jobs(plan, "policy")
        if (system := plan.config.tailor.systems[job.system]).strategy in steps
    }
    return list(found)


def _cards(plan: Plan, job: Wildcards) -> list[str]:
    """Cards of the trainings that a system rests on, in their order."""
    system = plan.config.tailor.systems[job.system]
    steps = {"few_shot": (), "sft": ("tailor_sft",), "dpo": ("tailor_sft", "tailor_dpo")}[system.strategy]
    names = {"dataset": job.dataset, "reward": str(system.policy), "method": system.train}
    return [plan.path(step, **names) for step in steps]


def _weights(cards: Sequence[str]) -> list[str]:
    return [str(Path(card).with_name(WEIGHTS)) for card in cards]


def _dpo_inputs(plan: Plan, job: Wildcards) -> Files:
    card = plan.path("tailor_sft", dataset=job.dataset, reward=job.reward, method=job.method)
    return {"pairs": plan.pair_files(job.dataset), "start": card, "weights": _weights([card])}


def _generate_inputs(plan: Plan, job: Wildcards) -> Files:
    cards, few = _cards(plan, job), plan.config.tailor.systems[job.system].strategy == "few_shot"
    known = {"known": plan.pair_files(job.dataset)} if few else {}
    return {"pairs": plan.pairs(job), "cards": cards, "weights": _weights(cards), **known}


def _policy_reads(policy: PolicyConfig) -> dict[str, Any]:
    where = policy.model_dump(mode="json", include={"dtype", "threads", "device", "batch_tokens"})
    return {"version": VERSION, "base": base_identity(policy.base, policy.revision), **where}


def _training_reads(plan: Plan, job: Wildcards, step: Step) -> Mapping[str, Any]:
    policy, tailor = plan.policy(job), plan.config.tailor
    settings = policy.settings(step, policy.device)
    return {
        **_policy_reads(policy),
        "limits": [settings.max_tokens, settings.max_prompt_tokens],
        "tuning": asdict(policy.tuned),
        "hyper": asdict(policy.hyper_of(step)),
        "seed": policy.seed,
        "splits": [getattr(tailor, f"{step}_{part}") for part in ("train", "val")],
        "prompts": [answer_prompt().id],
    }


def _answer_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    tailor, system = plan.config.tailor, plan.config.tailor.systems[job.system]
    examples = [tailor.examples, tailor.shots] if system.strategy == "few_shot" else []
    return {
        "system": [system.strategy, system.train, system.inference],
        "persona": tailor.personas.get(job.dataset, "") if system.inference == "system" else "",
        "answered": tailor.answered,
        "examples": examples,
        "lengths": [tailor.max_new_tokens, tailor.min_new_tokens],
        "data": plan.config.datasets[job.dataset].prompt,
        "prompts": [answer_prompt().id],
    }


def _generate_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    policy = plan.policy(job)
    return {**_policy_reads(policy), **_answer_reads(plan, job)}


def _ask_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    model = str(plan.config.tailor.systems[job.system].model)
    prompts = [answer_prompt(), load_prompt(plan.config.datasets[job.dataset].prompt, FOLDER)]
    return {**model_reads(plan.config, model, [], prompts), **_answer_reads(plan, job)}


SFT: Stage[Plan] = Stage(
    name="tailor_sft",
    output=f"policies/{{dataset}}/{{reward}}/{{method}}/sft/{CARD}",
    combinations=lambda plan: _trainings(plan, ("sft", "dpo")),
    inputs=lambda plan, job: {"pairs": plan.pair_files(job.dataset)},
    reads=lambda plan, job: _training_reads(plan, job, "sft"),
    work=sft_stage,
)
DPO: Stage[Plan] = Stage(
    name="tailor_dpo",
    output=f"policies/{{dataset}}/{{reward}}/{{method}}/dpo/{CARD}",
    combinations=lambda plan: _trainings(plan, ("dpo",)),
    inputs=_dpo_inputs,
    reads=lambda plan, job: _training_reads(plan, job, "dpo"),
    work=dpo_stage,
)
GENERATE: Stage[Plan] = Stage(
    name="generate_answers",
    output="answers/{dataset}/{system}/{shard}.jsonl",
    combinations=lambda plan: list(_jobs(plan, "policy")),
    inputs=_generate_inputs,
    reads=_generate_reads,
    work=generate_stage,
)
ASK: Stage[Plan] = Stage(
    name="ask_answers",
    output="asked_answers/{dataset}/{system}/{shard}.jsonl",
    combinations=lambda plan: list(_jobs(plan, "model")),
    inputs=lambda plan, job: {"pairs": plan.pairs(job), "known": plan.pair_files(job.dataset)},
    reads=_ask_reads,
    work=ask_stage,
    asks=lambda plan, job: (str(plan.config.tailor.systems[job.system].model),),
    batches=True,
    record=Generation,
    lost=lambda row: int(row.outcome == "provider_error"),
    counted=lambda _row: 1,
)
