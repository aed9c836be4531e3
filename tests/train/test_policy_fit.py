"""Training of policies: losses by hand and as TRL computes them, what it learns, and killed trainings."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.killed import Killed
from support.tiny_models import tiny_llama

from personalrm.train import fine_tuning, policy_fit
from personalrm.train.fine_tuning import Tuned
from personalrm.train.policy import Policy, open_policy
from personalrm.train.policy_fit import choice_loss, fit_choices, fit_texts, text_loss
from personalrm.train.policy_settings import Choice, ChoiceHyper, PolicySettings, Text, TextHyper, Tuning
from personalrm.train.trainer import Run

LORA = Tuning(rank=4, alpha=16, layers="all")
PREFERENCES = ChoiceHyper(lr=0.02, batch=4, at_once=2, epochs=2, evaluate_every=3)
SUPERVISED = TextHyper(lr=0.02, batch=4, at_once=2, epochs=2, evaluate_every=3)


def choice(n: int) -> Choice:
    """Even words are preferred to odd ones."""
    return Choice(f"w{n} w{n % 7}", f"w{2 * n % 60} w{2 * n % 14}", f"w{(2 * n + 1) % 60} w3 w5")


CHOICES = [choice(n) for n in range(20)]
OTHERS = [choice(n) for n in range(20, 26)]
TEXTS = [Text(one.prompt, one.chosen) for one in CHOICES]
HELD_OUT = [Text(one.prompt, one.chosen) for one in OTHERS]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> PolicySettings:
    return PolicySettings(base=tiny_llama(tmp_path_factory.mktemp("base")), dtype="float32")


def fitted(settings: PolicySettings, hyper: Any, seed: int = 3, run: Run | None = None, **more: Any) -> Tuned:  # noqa: ANN401
    with open_policy(settings, more.get("tuning", LORA), seed, start=more.get("start", ())) as policy:
        if isinstance(hyper, ChoiceHyper):
            return fit_choices(policy, more.get("data", CHOICES), OTHERS, hyper, seed, run or Run())
        return fit_texts(policy, more.get("data", TEXTS), HELD_OUT, hyper, seed, run or Run())


def same(one: Tuned, other: Tuned) -> bool:
    assert one.tensors.keys() == other.tensors.keys()
    return one.card == other.card and all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_losses_of_choices_by_hand() -> None:
    h = torch.tensor([2.0, -1.0])
    dpo = -(math.log(1 / (1 + math.exp(-1.0))) + math.log(1 / (1 + math.exp(0.5)))) / 2
    assert float(choice_loss(h, ChoiceHyper(beta=0.5))) == pytest.approx(dpo)
    # 1 / (2 beta) is 5 nats.
    assert float(choice_loss(h, ChoiceHyper(beta=0.1, loss="ipo"))) == pytest.approx((9 + 36) / 2)


def test_the_loss_of_texts_by_hand(settings: PolicySettings) -> None:
    texts = [Text("w1 w2 w3", "w4"), Text("w5", "w6 w7 w8")]
    with open_policy(settings, None, 0) as policy:
        made = [policy.tokens(one) for one in texts]
        rows = [policy.model(torch.tensor([one.ids])).logits[0].detach().log_softmax(-1) for one in made]
        wholes = [
            [float(row[n - 1, one.ids[n]]) for n in range(1, len(one.ids))] for row, one in zip(rows, made, strict=True)
        ]
        completions = wholes[0][2:], wholes[1]
        found = text_loss(policy.model, policy.batch([one] for one in made), None)
        assert float(found) == pytest.approx(-sum(map(sum, completions)) / 6, abs=1e-5)
        whole = [policy_fit._scored(one, TextHyper(loss_on="text")) for one in made]
        found = text_loss(policy.model, policy.batch([one] for one in whole), None)
        assert float(found) == pytest.approx(-sum(map(sum, wholes)) / 8, abs=1e-5)


@pytest.mark.parametrize("loss_on", ["completion", "text"])
def test_the_first_loss_of_texts_is_that_of_trl(loss_on: Any, settings: PolicySettings, tmp_path: Path) -> None:  # noqa: ANN401
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    hyper = replace(SUPERVISED, loss_on=loss_on, steps=1, batch=20, at_once=5, lr=1e-9)
    # Parts of a batch of unequal lengths count by their tokens.
    texts = [Text(one.prompt, one.completion + " w2" * (n % 4) ** 2) for n, one in enumerate(TEXTS)]
    ours = fitted(settings, hyper, data=texts).card["curve"][0]["loss"]
    with open_policy(settings, None, 0) as policy:
        made = [policy.tokens(one) for one in texts]
        masks = [[0] * (len(one.ids) - one.answer) + [1] * one.answer for one in made]
        columns = {"input_ids": [list(one.ids) for one in made]}
        columns |= {"completion_mask": masks}
        sizes: dict[str, Any] = {"per_device_train_batch_size": 5, "gradient_accumulation_steps": 4, "max_steps": 1}
        sizes |= {"completion_only_loss": loss_on == "completion", "learning_rate": 1e-9}
        args = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", **sizes)
        trainer = SFTTrainer(
            policy.model, args, train_dataset=Dataset.from_dict(columns), processing_class=policy.tokenizer
        )
        trainer._send_telemetry = lambda: None
        theirs = trainer.train().training_loss
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_the_first_loss_of_choices_is_that_of_trl(settings: PolicySettings, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    # Trained a little, so that the reference is another model.
    tuned = fitted(settings, replace(SUPERVISED, steps=3, keep="last"), tuning=Tuning(kind="full"))
    with open_policy(settings, Tuning(kind="full"), 0) as policy:
        policy.model.load_state_dict(tuned.tensors, strict=False)
        pairs = [policy_fit._Pair.of(policy, one) for one in CHOICES]
        sums = policy.sums([text for pair in pairs for text in pair])
        reference = policy.sums([text for pair in pairs for text in pair], reference=True)
        h = torch.from_numpy((sums - reference)[::2] - (sums - reference)[1::2])
        columns: dict[str, Any] = {"prompt_ids": [list(a.ids[: -a.answer]) for a, _ in pairs]}
        columns["chosen_ids"] = [list(a.ids[-a.answer :]) for a, _ in pairs]
        columns["rejected_ids"] = [list(b.ids[-b.answer :]) for _, b in pairs]
        args = DPOConfig(str(tmp_path), use_cpu=True, bf16=False, beta=0.3, report_to="none", max_length=None)
        trainer = DPOTrainer(
            policy.model,
            policy.reload(),
            args,
            train_dataset=Dataset.from_list([{"prompt": a, "chosen": b, "rejected": c} for a, b, c in CHOICES]),
            processing_class=policy.tokenizer,
        )
        rows = [{name: column[n] for name, column in columns.items()} for n in range(len(pairs))]
        theirs = float(trainer._compute_loss(policy.model, trainer.data_collator(rows), False))
    assert float(h.abs().min()) > 1e-3
    assert float(choice_loss(h, ChoiceHyper(beta=0.3))) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("loss", ["dpo", "ipo"])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_preferences_are_learned(loss: Any, kind: Any, settings: PolicySettings, tmp_path: Path) -> None:  # noqa: ANN401
    hyper = replace(PREFERENCES, loss=loss, epochs=4, lr=0.02 if kind == "lora" else 0.002)
    tuning = replace(LORA, kind=kind)
    with open_policy(settings, tuning, 3) as policy:
        tuned = fit_choices(policy, CHOICES, OTHERS, hyper, 3, Run())
        pairs = [Text(one.prompt, side) for one in OTHERS for side in (one.chosen, one.rejected)]
        gains = policy.log_probs(pairs) - policy.reference_log_probs(pairs)
        h = gains[::2] - gains[1::2]
    curve = tuned.card["curve"]
    # Before the first update the policy is its reference.
    assert curve[0]["loss"] == pytest.approx(math.log(2) if loss == "dpo" else 25.0, abs=1e-4)
    assert np.mean([point["loss"] for point in curve[-5:]]) < 0.6 * curve[0]["loss"]
    measured = [point for point in curve if "held_out_loss" in point]
    assert [point["step"] for point in measured] == [3, 6, 9, 12, 15, 18, 20]
    assert max(point["held_out_margin"] for point in measured) > max(0.2, measured[0]["held_out_margin"])
    # The weights of the lowest loss were kept, in the model and in the files.
    best = min(measured, key=lambda point: point["held_out_loss"])
    assert tuned.card["best_step"] == best["step"]
    assert hyper.beta * h.mean() == pytest.approx(best["held_out_margin"], abs=1e-5)
    assert np.mean(h > 0) == best["held_out_accuracy"] > 0.8
    tuned.save(tmp_path)
    with open_policy(settings, None, 0, start=(tmp_path,)) as policy:
        found = policy.log_probs(pairs)
        assert found[::2] - found[1::2] == pytest.approx(h + reference_margin(settings, pairs), abs=1e-3)


def reference_margin(settings: PolicySettings, pairs: list[Text]) -> Any:  # noqa: ANN401
    with open_policy(settings, None, 0) as policy:
        found = policy.log_probs(pairs)
    return found[::2] - found[1::2]


def test_texts_are_learned_and_the_best_weights_kept(settings: PolicySettings) -> None:
    # Completions that the first ones contradict: held-out texts are learned at first, and then forgotten.
    hyper = replace(SUPERVISED, epochs=8, loss_on="completion", evaluate_every="epoch")
    with open_policy(settings, LORA, 3) as policy:
        tuned = fit_texts(policy, TEXTS, HELD_OUT, hyper, 3, Run())
        loss = -policy.log_probs(HELD_OUT).sum() / sum(policy.tokens(one).answer for one in HELD_OUT)
    curve = tuned.card["curve"]
    assert curve[-1]["loss"] < curve[0]["loss"] / 2
    measured = {point["step"]: point["held_out_loss"] for point in curve if "held_out_loss" in point}
    assert list(measured) == list(range(5, 41, 5))
    assert tuned.card["best_step"] == min(measured, key=lambda step: measured[step])
    assert loss == pytest.approx(min(measured.values()), abs=1e-5)
    last = fitted(settings, replace(hyper, keep="last"))
    assert last.card["best_step"] == 40
    assert same(tuned._replace(card={}), last._replace(card={})) == (tuned.card["best_step"] == 40)


def test_what_decides_the_weights(settings: PolicySettings, tmp_path: Path) -> None:
    preferences, supervised = (replace(one, steps=2, evaluate_every=2) for one in (PREFERENCES, SUPERVISED))
    plain = fitted(settings, preferences)
    assert same(fitted(settings, preferences, data=CHOICES[::-1], run=Run(tmp_path / "kept", every_s=0.0)), plain)
    assert len(list((tmp_path / "kept").rglob(fine_tuning.STATE))) == 1
    for other in (
        fitted(settings, preferences, seed=4),
        fitted(settings, replace(preferences, optimiser="rmsprop")),
        fitted(settings, replace(preferences, clip=0.01)),
        fitted(settings, replace(preferences, beta=0.2)),
    ):
        assert not any(
            torch.equal(other.tensors[name], value) for name, value in plain.tensors.items() if "lora_B" in name
        )
    # Dropout is of supervised training alone.
    dropped = replace(LORA, dropout=0.5)
    assert same(fitted(settings, preferences, tuning=dropped)._replace(card={}), plain._replace(card={}))
    texts = fitted(settings, supervised), fitted(settings, supervised, tuning=dropped)
    assert not same(*(one._replace(card={}) for one in texts))


def test_the_card_says_what_was_cut(settings: PolicySettings) -> None:
    short = replace(settings, max_tokens=6, max_prompt_tokens=2)
    data = [*TEXTS[:3], Text("w1 w2 w3", "w4"), Text("w1", "w2 " * 8)]
    card = fitted(short, replace(SUPERVISED, steps=1), data=data).card
    assert (card["texts"], card["held_out"]) == (5, 6)
    assert (card["prompts_cut"], card["completions_cut"]) == (2, 1)
    assert (card["max_tokens"], card["loss"], card["end_token"]) == (6, "sft", "<|im_end|>")


@pytest.mark.parametrize(("hyper", "at"), [(PREFERENCES, 1), (PREFERENCES, 4), (PREFERENCES, 5), (SUPERVISED, 4)])
def test_a_killed_training_ends_with_the_same_weights(
    hyper: Any,  # noqa: ANN401
    at: int,
    settings: PolicySettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hyper = replace(hyper, steps=5, evaluate_every=2)
    # A point of the loss, and so a checkpoint, after each second update.
    monkeypatch.setattr(fine_tuning, "POINTS", 2)
    run = Run(tmp_path / "checkpoints", every_s=0.0)
    fitted(settings, hyper).save(tmp_path / "whole")
    killed = Killed(monkeypatch, policy_fit._Trainer, at - 1)
    killed.run(fitted, settings, hyper, 3, run)
    fitted(settings, hyper, 3, run).save(tmp_path / "killed")
    assert sorted(set(killed.steps)) == list(range((at - 1) // 2 * 2, 5))
    for name in ("card.json", "weights.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_reference_is_taken_once(settings: PolicySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    sums = Policy.sums

    def counted(policy: Policy, texts: list[Any], *, reference: bool = False) -> Any:  # noqa: ANN401
        taken.extend([len(texts)] * reference)
        return sums(policy, texts, reference=reference)

    monkeypatch.setattr(Policy, "sums", counted)
    run, folder = Run(tmp_path / "checkpoints"), tmp_path / "checkpoints"
    whole = fitted(settings, PREFERENCES)
    both = [2 * len(CHOICES), 2 * len(OTHERS)]
    assert same(fitted(settings, PREFERENCES, run=run), whole)
    assert taken == both * 2
    assert same(fitted(settings, PREFERENCES, run=run), whole)
    assert taken == both * 2
    # That of other texts is another; a damaged one is taken again.
    fitted(settings, PREFERENCES, run=run, data=CHOICES[1:])
    assert taken == [*both * 2, 2 * len(CHOICES) - 2]
    for file in folder.glob("reference-*.npy"):
        file.write_bytes(file.read_bytes()[:-9])
    assert same(fitted(settings, PREFERENCES, run=run), whole)
    assert taken == [*both * 2, 2 * len(CHOICES) - 2, *both]
    # As that of another start.
    first = fitted(settings, replace(SUPERVISED, steps=1, epochs=1))
    first.save(tmp_path / "first")
    fitted(settings, PREFERENCES, run=run, start=[tmp_path / "first"])
    assert len(taken) == 9


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="batch: 3 is no multiple of at_once, 2"):
        TextHyper(batch=3, at_once=2)
    with pytest.raises(ValueError, match="keep: best needs measurements"):
        ChoiceHyper(evaluate_every=0)


NAMES = [
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Greta",
    "Hans",
    "Ida",
    "Jonas",
    "Karla",
    "Leo",
    "Mia",
    "Nils",
]


@pytest.mark.full
@pytest.mark.embedded
def test_thirty_updates_of_smollm2_teach_a_preference() -> None:
    made = [Choice(f"Greet {name}.", f" Good morning, dear {name}!", f" What do you want, {name}?") for name in NAMES]
    hyper = ChoiceHyper(lr=2e-4, batch=4, at_once=4, steps=30, evaluate_every=15)
    with open_policy(PolicySettings(), Tuning(), 0) as policy:
        card = fit_choices(policy, made[:10], made[10:], hyper, 0, Run()).card
        said = policy.generate(["Greet Zoe."], max_new_tokens=12)
    measured = [point for point in card["curve"] if "held_out_loss" in point]
    assert card["curve"][0]["loss"] == pytest.approx(math.log(2), abs=0.05)
    assert measured[-1]["held_out_accuracy"] == 1.0
    assert measured[-1]["held_out_margin"] > 0.5
    assert said[0].text
