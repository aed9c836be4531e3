"""Systems that write answers for personas: their config, and a run of all strategies with a tiny model."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from support.projects import ROOT
from support.scripted_server import Answer, ScriptedServer

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.generations import Generation
from personalrm.core.persona_pairs import SIDES
from personalrm.core.records import read_all
from personalrm.llm.open import RuntimeSettings
from personalrm.studies.config_load import load_config, parse_config
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.stages import tailor
from personalrm.studies.tailoring.stages.prepare import prepare_stage
from studies.tailoring.cases import raw

SPLITS = {"fewshot": 6, "sft_train": 6, "sft_val": 2, "dpo_train": 6, "dpo_val": 2, "test": 4}
HYPER = {"lr": 0.02, "epochs": 2, "batch": 2, "at_once": 2}
POLICY = {"dtype": "float32", "rank": 2, "threads": 1, "max_length": 24, "sft": HYPER, "dpo": HYPER}
SYSTEMS: dict[str, dict[str, Any]] = {
    "tailored": {"strategy": "dpo", "inference": "retr_chosen", "policy": "tiny"},
    "plain": {"strategy": "dpo", "train": "none", "inference": "none", "policy": "tiny"},
    "told": {"strategy": "dpo", "train": "none", "inference": "gold_rejected", "policy": "tiny"},
    "supervised": {"strategy": "sft", "inference": "system", "policy": "tiny"},
    "shown": {"strategy": "few_shot", "inference": "gold_chosen", "policy": "tiny"},
    "asked": {"strategy": "few_shot", "inference": "gold_chosen", "model": "m"},
}


def rows() -> list[dict[str, Any]]:
    found = []
    for split, count in SPLITS.items():
        for n in range(count):
            row = {"id": n, "split": split, "prompt": f"w{n} w{n + 1} {split}"}
            row |= {"chosen": f"w{2 * n} w2", "rejected": f"w{2 * n + 1} w3"}
            row |= {f"{side}_persona_gold": f"The user is w{n} and prefers {side}." for side in SIDES}
            found.append(row | {"chosen_persona_retr": f"The user is w{n + 9}."})
    # A test pair without personas of its own, as those of mnemonics are.
    found[-1] |= {"chosen_persona_gold": "", "rejected_persona_gold": None, "chosen": "", "rejected": ""}
    return found


def config(folder: Path, url: str = "http://127.0.0.1:9/v1", **section: object) -> dict[str, Any]:
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    section = {"policies": {"tiny": POLICY}, "systems": SYSTEMS, "personas": {"d": "The user is w5."}, **section}
    data = {"d": {"path": str(folder / "pairs.jsonl"), "splits": list(SPLITS), "shards": 2}}
    section |= {"max_new_tokens": 8, "min_new_tokens": 3}
    return raw(folder, url, datasets=data, infer={}, judge={}, tailor=section)


def made(folder: Path, values: dict[str, Any]) -> Plan:
    plan = Plan(parse_config(values))
    prepare_stage(plan, "d")

    async def jobs() -> None:
        job = tailor.Job(plan.config, RuntimeSettings(folder / "servers", 1))
        for path, (stage, wildcards) in plan.makers().items():
            if stage.name in {"tailor_sft", "tailor_dpo", "generate_answers", "ask_answers"}:
                done = stage.work(**plan.arguments(stage.name, wildcards, plan=plan, job=job, out=Path(path)))
                if inspect.isawaitable(done):
                    await done

    asyncio.run(jobs())
    return plan


def answers(plan: Plan, system: str) -> dict[str, Generation]:
    paths = [path for path in plan.makers() if f"answers/d/{system}/" in path]
    return {row.pair_id: row for row in read_all(map(Path, paths), Generation)}


def test_all_strategies_write_answers_for_their_personas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")
    torch.set_num_threads(1)
    from support.tiny_models import tiny_llama

    from personalrm.train import policy as policies

    generated: list[tuple[list[str], dict[str, Any]]] = []
    before = policies.Policy.generate

    def noted(self: policies.Policy, prompts: list[str], **more: Any) -> list[Any]:  # noqa: ANN401
        generated.append((list(prompts), more))
        return before(self, prompts, **more)

    monkeypatch.setattr(policies.Policy, "generate", noted)
    base = tiny_llama(tmp_path / "base")
    with ScriptedServer(lambda body: Answer(" Certainly. ")) as server:
        plan = made(tmp_path, config(tmp_path, server.url, policies={"tiny": {**POLICY, "base": base}}))
        assert server.count == 3
    found = {name: answers(plan, name) for name in SYSTEMS}
    with_gold = {"test-0", "test-1", "test-2"}
    assert {name: set(one) for name, one in found.items()} == {
        **{name: {*with_gold, "test-3"} for name in ("tailored", "plain", "supervised")},
        **dict.fromkeys(("told", "shown", "asked"), with_gold),
    }
    assert {name: one["test-1"].persona for name, one in found.items()} == {
        "tailored": "The user is w10.",
        "plain": "",
        "told": "The user is w1 and prefers rejected.",
        "supervised": "The user is w5.",
        "shown": "The user is w1 and prefers chosen.",
        "asked": "The user is w1 and prefers chosen.",
    }
    assert {row.response for row in found["asked"].values()} == {"Certainly."}
    assert all(len(row.calls) == 1 for row in found["asked"].values())
    # A random model does not end by itself.
    assert any(row.cut for row in found["tailored"].values())
    texts = {text: more for prompts, more in generated for text in prompts}
    # Trained with personas: its line. Trained without: in the first person, at the end of the prompt.
    assert "Prompt: w1 w2 test\nPersona: The user is w10.\nResponse:" in texts
    assert "Prompt: w1 w2 test I am w1 and prefers rejected.\nResponse:" in texts
    assert "Prompt: w1 w2 test\nResponse:" in texts
    # Five examples with their responses; the published code at its head shows them without.
    (shown,) = (text for text in texts if text.startswith("Prompt: w0 w1 fewshot") and "Prompt: w1 w2 test" in text)
    assert (shown.count("fewshot"), shown.count("Response:")) == (5, 6)
    assert "\nResponse: w0 w2\n\nPrompt: w1 w2 fewshot\n" in shown
    assert texts[shown] == {"max_new_tokens": 8, "min_new_tokens": 0, "stop": ("\nPrompt:",)}
    assert {more["min_new_tokens"] for text, more in texts.items() if "fewshot" not in text} == {3}
    trained = [Path(path) for path in plan.makers() if "/policies/" in path]
    cards = {path.parent.relative_to(plan.run).as_posix(): json.loads(path.read_text("utf-8")) for path in trained}
    where = "policies/d/tiny"
    assert sorted(cards) == [f"{where}/{train}/{step}" for train in ("chosen", "none") for step in ("dpo", "sft")]
    card, first = cards[f"{where}/chosen/dpo"], cards[f"{where}/chosen/sft"]
    # The epochs of the config, in both steps (the first release trained one epoch of DPO); SFT first, then DPO on it.
    assert (first["steps"], card["steps"], card["choices"], card["held_out"]) == (6, 6, 6, 2)
    assert card["base"].startswith(f"{first['base']} + sha256:")
    assert (first["loss"], card["loss"], card["train"], first["step"]) == ("sft", "dpo", "chosen", "sft")
    assert (first["max_prompt_tokens"], card["max_prompt_tokens"]) == (None, 128)
    assert not list(Path(plan.run, "checkpoints").glob("*"))
    # Another system is another answer: unlike conditions are kept apart by their names.
    assert found["told"]["test-1"].response != found["plain"]["test-1"].response


def test_a_model_that_is_shown_examples_stops_where_it_begins_one_and_its_answers_may_be_cut(tmp_path: Path) -> None:
    ends = {"w0 w1 test": ("So", "length"), "w1 w2 test": ("", "stop"), "w2 w3 test": ("", "content_filter")}

    def script(body: dict[str, Any]) -> Answer:
        (prompt,) = (prompt for prompt in ends if f"Prompt: {prompt}" in body["messages"][-1]["content"])
        text, why = ends[prompt]
        return Answer(text, finish_reason=why)

    with ScriptedServer(script) as server:
        found = answers(made(tmp_path, config(tmp_path, server.url, systems={"asked": SYSTEMS["asked"]})), "asked")
        assert {tuple(body["stop"]) for body in server.requests} == {("\nPrompt:",)}
    assert [(found[f"test-{n}"].outcome, found[f"test-{n}"].cut) for n in range(3)] == [
        ("ok", True),
        ("empty", False),
        ("refused", False),
    ]


def test_systems_share_trainings_and_are_compared_by_name(tmp_path: Path) -> None:
    compare = {"judges": ["m"], "pairs": [{"test": "tailored", "base": "told"}], "generic": "plain"}
    plan = Plan(parse_config({**config(tmp_path), "compare": compare}))
    assert len(plan.jobs("tailor_sft")) == len(plan.jobs("tailor_dpo")) == 2
    jobs = plan.jobs("judge_generations", shard="0") or plan.jobs("judge_generations")
    assert {(job.system, job.base) for job in jobs} == {("tailored", "told"), ("tailored", "plain")}
    # The test answers are those of the test system: the published code reads those of the base for both.
    files = plan.inputs("judge_generations", **jobs[0]._asdict())
    assert "/answers/d/tailored/" in str(files["test_answers"])
    assert "/answers/d/told/" in str(files["base_answers"])
    reads = plan.reads("tailor_dpo", dataset="d", reward="tiny", method="none")
    other = {**POLICY, "dpo": {**HYPER, "beta": 0.2}}
    changed = Plan(parse_config(config(tmp_path, policies={"tiny": other})))
    assert changed.reads("tailor_dpo", dataset="d", reward="tiny", method="none") != reads
    assert changed.reads("tailor_sft", dataset="d", reward="tiny", method="none") == plan.reads(
        "tailor_sft", dataset="d", reward="tiny", method="none"
    )


def test_the_sizes_of_the_paper_are_planned_with_its_settings() -> None:
    plan = Plan(load_config(ROOT / "config" / "tailoring_systems.yaml"))
    # Three data sets, with and without personas.
    assert len(plan.jobs("tailor_sft")) == len(plan.jobs("tailor_dpo")) == 6
    # Few-shot, SFT and DPO answers: fifteen systems, six of which need gold personas, which mnemonics lack.
    assert len(plan.jobs("generate_answers")) == 15 * 3 - 6
    # Ten comparisons, five of gold personas; the generic rival is added where it is not named.
    named = {(job.system, job.base) for job in plan.jobs("judge_generations") if job.base != "dpo"}
    assert {("pt-retr-chosen", "dpo-retr-chosen"), ("sft-gold", "sft")} <= named
    reads = json.loads(plan.reads("tailor_sft", dataset="hhh", reward="llama", method="chosen"))
    assert reads["limits"] == [512, None]
    assert reads["tuning"] == {"kind": "lora", "rank": 16, "alpha": 32, "dropout": 0.05, "layers": "default"}
    shared = {"epochs": 10, "batch": 1, "at_once": 1, "schedule": "linear", "warmup": 0, "optimiser": "adamw"}
    shared |= {"evaluate_every": "epoch", "keep": "best", "clip": 1.0, "weight_decay": 0.0}
    assert reads["hyper"].items() >= {**shared, "lr": 2e-5, "loss_on": "text"}.items()
    reads = json.loads(plan.reads("tailor_dpo", dataset="hhh", reward="llama", method="chosen"))
    assert reads["limits"] == [512, 128]
    assert reads["hyper"].items() >= {**shared, "lr": 5e-6, "loss": "dpo", "beta": 0.1}.items()
    reads = json.loads(plan.reads("generate_answers", dataset="hhh", system="sft", shard="0"))
    assert reads["lengths"] == [512, 10]


def test_what_is_wrong_with_a_system_is_said(tmp_path: Path) -> None:
    systems = {
        "both": {"strategy": "few_shot", "inference": "none", "policy": "tiny", "model": "m"},
        "asks": {"strategy": "dpo", "inference": "none", "model": "m"},
        "nobody": {"strategy": "sft", "inference": "system", "policy": "who", "datasets": ["e"]},
    }
    policies = {"tiny": {**POLICY, "sft": {"speed": 1}, "dpo": {"lr": -1}}}
    with pytest.raises(ConfigError) as error:
        parse_config(config(tmp_path, systems=systems, policies=policies, personas={"e": "x"}))
    said = str(error.value)
    for line in (
        "tailor.systems.both: give policy or model, one of them",
        "tailor.systems.asks.model: only few_shot asks a model",
        "tailor.systems.nobody.policy: no policy 'who' (there are: tiny)",
        "tailor.systems.nobody.datasets: no data set 'e' (there are: d)",
        "tailor.policies.tiny.sft.speed: unknown hyper-parameter",
        "tailor.policies.tiny.dpo.lr: Input should be greater than 0",
        "tailor.personas.e: no such data set",
    ):
        assert line in said
    with pytest.raises(ConfigError, match=r"tailor.dpo_train: test is answered, too \(tailor.answered\); learn from"):
        parse_config(config(tmp_path, dpo_train=["dpo_train", "test"]))
    values = config(tmp_path, systems={"asked": SYSTEMS["asked"]})
    values["datasets"]["d"].pop("splits")
    with pytest.raises(ConfigError, match=r"tailor.systems.asked: reads the splits test, fewshot; add fewshot to"):
        parse_config(values)


def test_no_examples_and_no_lessons_are_errors(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")
    values = config(tmp_path, systems={"asked": {**SYSTEMS["asked"], "train": "rejected"}})
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        "".join(json.dumps({**row, "rejected_persona_gold": ""}) + "\n" for row in rows()), encoding="utf-8"
    )
    with pytest.raises(DataError, match="no example with a persona in the splits fewshot"):
        made(tmp_path, values)
    from support.tiny_models import tiny_llama

    policy = {**POLICY, "base": tiny_llama(tmp_path / "base")}
    values = config(tmp_path, policies={"tiny": policy}, systems={"a": {**SYSTEMS["supervised"], "train": "rejected"}})
    path.write_text(
        "".join(json.dumps({**row, "rejected_persona_gold": ""}) + "\n" for row in rows()), encoding="utf-8"
    )
    with pytest.raises(DataError, match="no pair of the splits sft_train to learn from with train: rejected"):
        made(tmp_path, values)
