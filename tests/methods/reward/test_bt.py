"""A fine-tuned reward model by itself: what its rewards depend on, and what training changes."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.tiny_models import tiny_bert, tiny_llama

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import Turn
from personalrm.methods.reward import bt
from personalrm.methods.reward.hyper import BTHyper
from personalrm.train import fine_tuning
from personalrm.train.encoders import EncoderSettings
from personalrm.train.trainer import Run

HYPER = BTHyper(published="trl", tuning="lora", lr=0.02, rank=2, epochs=3, evaluate_every=3)


def example(n: int, system: str = "") -> bt.Example:
    """Even words are chosen, and odd ones rejected."""
    context = (Turn(role="user", content=f"w{n}"),)
    return bt.Example(context, f"w{2 * n % 60} w{2 * n % 14}", f"w{(2 * n + 1) % 60} w3 w5", system)


EXAMPLES = [example(n) for n in range(24)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EncoderSettings:
    return EncoderSettings(base=tiny_llama(tmp_path_factory.mktemp("base")), dtype="float32")


@pytest.fixture(scope="module")
def trained(settings: EncoderSettings) -> bt.Tuned:
    with bt.open_network(settings, HYPER, 3) as network:
        return bt.fit(network, EXAMPLES, EXAMPLES[:4], HYPER, 3, Run())


@pytest.fixture(scope="module")
def folder(trained: bt.Tuned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("trained")
    trained.save(found)
    return found


def test_it_learns_and_reads_back(trained: bt.Tuned, folder: Path, settings: EncoderSettings) -> None:
    curve = trained.card["curve"]
    assert [point[0] for point in curve] == list(range(1, 10))
    assert (curve[-1][1] < 0.3, curve[0][1] > 0.5) == (True, True)
    # Measured each third update.
    assert [point[2] for point in curve if point[2] is not None][-1] == 1.0
    assert [point[0] for point in curve if point[2] is not None] == [3, 6, 9]
    with bt.open_trained(folder, settings) as network:
        odds = network.log_odds([example(n) for n in range(24, 44)])
    assert np.mean(odds > 0) > 0.8
    assert trained.card["train_pairs"] == 24


def test_rewards_do_not_depend_on_the_batch(folder: Path, settings: EncoderSettings) -> None:
    with bt.open_trained(folder, settings) as network:
        long = replace(network, settings=replace(settings, batch_tokens=4))
        texts = [text for one in EXAMPLES for text in network.sides(one)]
        together, alone = network.rewards(texts), long.rewards(texts)
        assert not network.seen
        exchanged = [one._replace(chosen=one.rejected, rejected=one.chosen) for one in EXAMPLES]
        odds = network.log_odds(EXAMPLES)
        assert (network.log_odds(exchanged) == -odds).all()
        network.log_odds([EXAMPLES[0]._replace(chosen="w1 " * 70, system="w2 " * 70)])
        cut = {"contexts_cut": 1, "answers_cut": 1, "systems_cut": 2}
        assert network.seen == {"texts": 4 * len(EXAMPLES) + 2, **cut}
        assert (network.rewards(texts[::-1])[::-1] == together).all()
        # A reward model has no mode: dropout and the like are off, and training goes on as it was.
        network.model.train()
        assert (network.rewards(texts) == together).all()
        assert network.model.training
    assert np.abs(together - alone).max() < 1e-4
    assert np.ptp(together) > 0.1


def test_the_last_token_is_read_although_the_end_token_pads_the_base(folder: Path, settings: EncoderSettings) -> None:
    with bt.open_trained(folder, settings) as network:
        tokenizer = network.tokenizer
        assert tokenizer.pad_token_id != tokenizer.eos_token_id
        (text, _) = network.sides(EXAMPLES[0])
        assert text.ids[-1] == tokenizer.eos_token_id
        inner = network.model.get_base_model()
        with torch.inference_mode():
            hidden = inner.model(input_ids=torch.tensor([text.ids])).last_hidden_state[0]
            wanted = inner.score(hidden[-1:]).item()
            before = inner.score(hidden[-2:-1]).item()
        longer = network.rewards([text, text._replace(ids=text.ids * 2)])[0]
    assert longer == pytest.approx(wanted, abs=1e-5)
    assert abs(wanted - before) > 1e-3


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_last_token_is_read_and_learned_from_where_it_is_the_pad_token(
    tuning: Any,  # noqa: ANN401
    settings: EncoderSettings,
) -> None:
    hyper = replace(HYPER, tuning=tuning, epochs=2)
    with bt.open_network(replace(settings, text="answer"), hyper, 0) as network:
        pad = network.tokenizer.pad_token
        plain, ended = network.sides(bt.Example((), "w2 w3", f"w2 w3 {pad}"))
        assert ended.ids == (*plain.ids, network.tokenizer.pad_token_id)
        inner = network.model.get_base_model() if tuning == "lora" else network.model
        with torch.inference_mode():
            hidden = inner.model(input_ids=torch.tensor([ended.ids])).last_hidden_state[0]
            wanted = inner.score(hidden)[-2:, 0].tolist()
        # Next to a longer text, so that the batch has padding.
        rated = network.rewards([plain, ended, ended._replace(ids=plain.ids * 3)])
        assert rated[:2] == pytest.approx(wanted, abs=1e-5)
        assert abs(wanted[0] - wanted[1]) > 1e-3
        # The pad token alone tells the two answers apart.
        examples = [bt.Example((), f"w{n} w{n + 1} {pad}", f"w{n} w{n + 1}") for n in range(24)]
        curve = bt.fit(network, examples, [], hyper, 0, Run()).card["curve"]
        assert curve[-1][1] < 0.3
        assert (network.log_odds(examples) > 0).all()


def test_what_is_said_of_a_user_changes_rewards_and_nothing_changes_none(
    folder: Path, settings: EncoderSettings
) -> None:
    with bt.open_trained(folder, settings) as network:
        plain = network.log_odds([example(1)])
        assert (network.log_odds([example(1, system="")]) == plain).all()
        one, other = (network.log_odds([example(1, system=text)]) for text in ("w1 w3", "w2 w4"))
    assert len({float(found[0]) for found in (plain, one, other)}) == 3


def test_opposite_tastes_are_told_apart_by_what_is_said_of_the_user_alone(settings: EncoderSettings) -> None:
    """Each pair twice: with a user who likes even words, and with one who likes odd ones."""
    hyper = BTHyper(published="trl", tuning="full", lr=1e-2, batch=16, at_once=16, epochs=6, schedule="constant")

    def accuracy(said: tuple[str, str]) -> float:
        drawn = np.random.default_rng(0)
        examples = []
        for n in range(140):
            even, odd = (" ".join(f"w{2 * word + last}" for word in drawn.integers(5, 30, 2)) for last in (0, 1))
            context = (Turn(role="user", content=f"w{n % 10}"),)
            examples += [bt.Example(context, even, odd, said[0]), bt.Example(context, odd, even, said[1])]
        with bt.open_network(settings, hyper, 0) as network:
            bt.fit(network, examples[:200], [], hyper, 0, Run())
            return float(np.mean(network.log_odds(examples[200:]) > 0))

    assert accuracy(("w2 w2", "w1 w1")) > 0.95
    assert accuracy(("", "")) == 0.5


def test_order_of_examples_and_threads_of_checkpoints_change_nothing(
    trained: bt.Tuned, settings: EncoderSettings, tmp_path: Path
) -> None:
    with bt.open_network(settings, HYPER, 3) as network:
        again = bt.fit(network, EXAMPLES[::-1], EXAMPLES[:4], HYPER, 3, Run(tmp_path / "checkpoint", every_s=0.0))
    assert again.card == trained.card
    assert all(torch.equal(again.tensors[name], value) for name, value in trained.tensors.items())
    assert len(list((tmp_path / "checkpoint").rglob(fine_tuning.STATE))) == 1


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_what_is_tuned(tuning: Any, settings: EncoderSettings, tmp_path: Path) -> None:  # noqa: ANN401
    hyper = replace(HYPER, tuning=tuning, steps=1)
    for dtype in ("float32", "bfloat16"):
        now = replace(settings, dtype=dtype)
        with bt.open_network(now, hyper, 0) as network:
            before = {name: value.clone() for name, value in network.model.state_dict().items()}
            tuned = bt.fit(network, EXAMPLES, [], hyper, 0, Run())
            after = network.model.state_dict()
            odds = network.log_odds(EXAMPLES)
            rated = torch.tensor(network.rewards([text for one in EXAMPLES for text in network.sides(one)]))
        # The seven bits of a bfloat16 would make ties of near rewards.
        assert (rated == rated.bfloat16()).float().mean() < 0.5
        changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
        lora = {name for name in before if "lora" in name or "score.modules_to_save" in name}
        # What starts at zero in an adapter takes the first step alone.
        assert changed <= lora if tuning == "lora" else len(changed) > len(before) / 2
        assert any("score" in name for name in changed)
        assert {value.dtype for value in tuned.tensors.values()} == {torch.float32}
        tuned.save(tmp_path / dtype)
        with bt.open_trained(tmp_path / dtype, now) as network:
            assert (network.log_odds(EXAMPLES) == odds).all()


def test_a_single_update_with_the_published_warm_up_changes_the_weights(settings: EncoderSettings) -> None:
    hyper = BTHyper(lr=1e-3)
    with bt.open_network(settings, hyper, 0) as network:
        before = {name: value.clone() for name, value in network.model.state_dict().items()}
        tuned = bt.fit(network, EXAMPLES, [], hyper, 0, Run())
    assert (tuned.card["steps"], tuned.card["best_step"], hyper.warmup) == (1, 1, 0.03)
    assert any(not torch.equal(tuned.tensors[name], value) for name, value in before.items())


def test_seeds_draw_the_head_and_the_adapters(settings: EncoderSettings) -> None:
    def head(seed: int) -> Any:  # noqa: ANN401
        with bt.open_network(settings, HYPER, seed) as network:
            return network.log_odds(EXAMPLES)

    assert (head(1) == head(1)).all()
    assert not (head(1) == head(2)).any()


def test_the_seed_draws_the_order_of_pairs(settings: EncoderSettings) -> None:
    def weights(seed: int) -> dict[str, Any]:
        with bt.open_network(settings, HYPER, 3) as network:
            return bt.fit(network, EXAMPLES, [], replace(HYPER, steps=2), seed, Run()).tensors

    one, same, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


def test_what_cannot_be_used_says_why(
    folder: Path, settings: EncoderSettings, tmp_path: Path, trained: bt.Tuned
) -> None:
    with (
        pytest.raises(ConfigError, match=r"has no scalar head at its last token; give a causal language model"),
        bt.open_network(EncoderSettings(base=tiny_bert(tmp_path / "bert"), dtype="float32"), HYPER, 0),
    ):
        pass
    other = EncoderSettings(base=tiny_llama(tmp_path / "other", template=None), dtype="float32")
    with (
        pytest.raises(DataError, match=r"trained on another base \(folder .*, now folder .*\); give .*train again"),
        bt.open_trained(folder, other),
    ):
        pass
    with pytest.raises(DataError, match=r"no trained weights"), bt.open_trained(tmp_path, settings):
        pass
    with bt.open_network(settings, HYPER, 0) as network:
        with pytest.raises(DataError, match="no pair to learn from"):
            bt.fit(network, [], [], HYPER, 0, Run())
        with pytest.raises(DataError, match="is not finite; lower the learning rate"):
            bt.fit(network, EXAMPLES, [], replace(HYPER, lr=1e30), 0, Run())
    assert json.loads((folder / "card.json").read_text(encoding="utf-8"))["base"] == trained.card["base"]


def test_a_checkpoint_that_was_being_written_is_none(tmp_path: Path) -> None:
    for step in (2, 10, 11, 12, 13, 14):
        (folder := tmp_path / f"checkpoint-{step}").mkdir()
        for name in fine_tuning.OF_OPTIMISER:
            (folder / name).touch()
        text = '{"global_st' if step == 11 else json.dumps({"global_step": step})
        (folder / fine_tuning.STATE).write_text(text, encoding="utf-8")
    for step, name in zip((12, 13, 14), fine_tuning.OF_OPTIMISER, strict=True):
        (tmp_path / f"checkpoint-{step}" / name).unlink()
    assert fine_tuning.last_complete(tmp_path) == tmp_path / "checkpoint-10"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2", "checkpoint-10"}
    assert fine_tuning.last_complete(tmp_path / "none") is None


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "adapter_model.safetensors"])
def test_a_damaged_checkpoint_is_named_with_the_remedy(name: str, settings: EncoderSettings, tmp_path: Path) -> None:
    def train() -> bt.Tuned:
        with bt.open_network(settings, HYPER, 3) as network:
            return bt.fit(network, EXAMPLES, [], HYPER, 3, Run(tmp_path, every_s=0.0))

    whole = train()
    (state,) = tmp_path.rglob(fine_tuning.STATE)
    file = state.with_name(name)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"checkpoint {state.parent}: damaged \(.+\); delete this folder to train"):
        train()
    shutil.rmtree(state.parent)
    assert train().card == whole.card


def test_an_error_of_training_is_not_blamed_on_the_checkpoint(settings: EncoderSettings, tmp_path: Path) -> None:
    for failing in (False, True):
        with bt.open_network(settings, HYPER, 3) as network:
            if failing:
                network.model.register_forward_pre_hook(_fails)
            with pytest.raises(RuntimeError, match="of the device") if failing else nullcontext():
                bt.fit(network, EXAMPLES, [], HYPER, 3, Run(tmp_path, every_s=0.0))


def _fails(*_: object) -> None:
    raise RuntimeError("of the device")


def shared_taste() -> tuple[list[bt.Example], list[bt.Example]]:
    """The bundled votes with one taste for all: the first style of each axis always wins, last turns alone. Nine pairs
    of each user, and the five others."""
    folder = Path(__file__).parents[3] / "resources" / "quickstart"
    tastes = json.loads((folder / "tastes.json").read_text(encoding="utf-8"))
    second = {one["opposite"] for name, one in tastes.items() if name < one["opposite"]}
    found: dict[str, list[bt.Example]] = {}
    for line in (folder / "votes.jsonl").read_text(encoding="utf-8").splitlines():
        vote = json.loads(line)
        sides = vote["chosen"]["content"], vote["rejected"]["content"]
        better, worse = sides[::-1] if vote["user_id"] in second else sides
        turn = Turn(role="user", content=vote["context"][-1]["content"])
        found.setdefault(vote["user_id"], []).append(bt.Example((turn,), better, worse))
    return [one for mine in found.values() for one in mine[:9]], [one for mine in found.values() for one in mine[9:]]


@pytest.mark.full
@pytest.mark.embedded
def test_thirty_updates_of_smollm2_teach_a_shared_taste() -> None:
    examples, others = shared_taste()
    hyper = BTHyper(published="trl", tuning="lora", lr=5e-4, batch=4, steps=30)
    settings = EncoderSettings(base="smollm2-135m")
    with bt.open_network(settings, hyper, 0) as network:
        card = bt.fit(network, examples, [], hyper, 0, Run()).card
        odds = network.log_odds(others)
    assert (len(examples), len(others)) == (72, 40)
    assert card["curve"][-1][1] < 0.3
    assert np.mean(odds > 0) > 0.9
