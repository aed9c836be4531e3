"""Policies by themselves: log-probabilities and generation of a model of a few thousand weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.tiny_models import tiny_llama
from tokenizers import processors
from transformers import AutoTokenizer

from personalrm.core.errors import ConfigError, DataError
from personalrm.train.policy import Policy, open_policy, save_merged
from personalrm.train.policy_fit import fit_texts
from personalrm.train.policy_settings import PolicySettings, Text, TextHyper, Tuning
from personalrm.train.trainer import Run

LORA = Tuning(rank=2, alpha=8)
TEXTS = [Text(" ".join(f"w{(n + m) % 60}" for m in range(1 + n % 5)), f"w{3 * n % 60} w{n}") for n in range(12)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> PolicySettings:
    return PolicySettings(base=tiny_llama(tmp_path_factory.mktemp("base")), dtype="float32")


@pytest.fixture(scope="module")
def policy(settings: PolicySettings) -> Iterator[Policy]:
    with open_policy(settings, None, 0) as found:
        yield found


def plain_log_prob(policy: Policy, text: Text) -> float:
    """By a forward pass of one text, without a batch."""
    tokenizer = policy.tokenizer
    start = tokenizer(text.prompt)["input_ids"]
    ids = [*start, *tokenizer(text.completion)["input_ids"], tokenizer.eos_token_id]
    with torch.inference_mode():
        rows = policy.model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    return float(sum(rows[place - 1, ids[place]] for place in range(len(start), len(ids))))


def test_log_probs_are_sums_over_the_completion_and_its_end(policy: Policy) -> None:
    found = policy.log_probs(TEXTS)
    assert found == pytest.approx([plain_log_prob(policy, one) for one in TEXTS], abs=1e-4)
    assert (policy.reference_log_probs(TEXTS) == found).all()
    # Not divided by the length: each more token costs.
    longer = policy.log_probs([Text("w1", "w2 " * n) for n in (1, 5, 20)])
    assert (np.diff(longer) < -4).all()
    # An empty completion is its end token.
    (empty,) = policy.log_probs([Text("w1 w2", "")])
    assert empty == pytest.approx(plain_log_prob(policy, Text("w1 w2", "")), abs=1e-5)


def test_log_probs_do_not_depend_on_the_batch_nor_on_the_order(policy: Policy) -> None:
    together = policy.log_probs(TEXTS)
    alone = replace(policy, settings=replace(policy.settings, batch_tokens=1)).log_probs(TEXTS)
    assert np.abs(together - alone).max() < 1e-4
    assert (policy.log_probs(TEXTS[::-1])[::-1] == together).all()


def test_what_texts_share_is_read_once_where_the_model_can(
    settings: PolicySettings, policy: Policy, tmp_path: Path
) -> None:
    texts = [Text("w1 w2 w3 w4 w5 w6", one) for one in ("w7", "w8 w9")]
    sizes: list[tuple[int, ...]] = []

    def read(opened: Policy) -> Any:  # noqa: ANN401
        hook = opened.model.get_input_embeddings().register_forward_hook(lambda _, ids, __: sizes.append(ids[0].shape))
        found = opened.log_probs(texts)
        hook.remove()
        assert found == pytest.approx([plain_log_prob(opened, one) for one in texts], abs=1e-4)
        return found

    whole = read(policy)
    # Attends to three tokens alone.
    base = tiny_llama(tmp_path)
    config = Path(base, "config.json")
    narrow = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 3}
    config.write_text(json.dumps({**json.loads(config.read_text()), **narrow}), encoding="utf-8")
    with open_policy(replace(settings, base=base), None, 0) as other:
        assert np.abs(read(other) - whole).min() > 1e-3
    assert sizes == [(1, 6 + 2 + 3), (2, 6 + 3)]


def test_the_prompt_loses_its_start_and_the_completion_is_whole(settings: PolicySettings) -> None:
    with open_policy(replace(settings, max_tokens=8, max_prompt_tokens=4), None, 0) as policy:

        def words(prompt: str, completion: str) -> tuple[str, int, bool, bool]:
            made = policy.tokens(Text(prompt, completion))
            return policy.tokenizer.decode(made.ids), made.answer, made.context_cut, made.answer_cut

        end = "<|im_end|>"
        assert words("w1 w2 w3 w4", "w5 w6 w7") == (f"w1 w2 w3 w4 w5 w6 w7 {end}", 4, False, False)
        assert words("w1 w2 w3 w4 w9", "w5") == (f"w2 w3 w4 w9 w5 {end}", 2, True, False)
        assert words("w1 w2 w3", "w4 w5 w6 w7 w8") == (f"w2 w3 w4 w5 w6 w7 w8 {end}", 6, True, False)
        assert words("w1", "w2 " * 9) == ("w2 " * 7 + "w2", 8, True, True)
        policy.log_probs([Text("w1 " * 5, "w2"), Text("w1", "w2 " * 9)])
        assert policy.seen == {"texts": 2, "prompts_cut": 2, "completions_cut": 1}
        assert policy.tokenizer.eos_token_id != policy.tokenizer.pad_token_id


PROMPTS = [f"w{n}" + f" w{7 * n % 60} w{n + 1}" * (n % 4) for n in range(16)]


def greedy(policy: Policy, prompt: str, most: int, least: int = 0) -> list[int]:
    """Token by token without a cache."""
    ids, new = policy.tokenizer(prompt)["input_ids"], []
    for _ in range(most):
        with torch.inference_mode():
            row = policy.model(torch.tensor([ids + new]), use_cache=False).logits[0, -1]
            if len(new) < least:
                row[policy.tokenizer.eos_token_id] = -math.inf
        new.append(int(row.argmax()))
        if new[-1] == policy.tokenizer.eos_token_id:
            break
    return new


@pytest.fixture(scope="module")
def ending(settings: PolicySettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policy]:
    """A model that says one word and ends, mostly."""
    folder = tmp_path_factory.mktemp("ending")
    hyper = TextHyper(lr=0.05, batch=8, at_once=8, steps=12, keep="last", evaluate_every=0, loss_on="completion")
    with open_policy(settings, Tuning(kind="full"), 0) as policy:
        fit_texts(policy, [Text(one, f"w{n}") for n, one in enumerate(PROMPTS)], [], hyper, 0, Run()).save(folder)
    with open_policy(settings, None, 0, start=(folder,)) as found:
        yield found


def test_generation_is_greedy_and_does_not_depend_on_the_batch(policy: Policy, ending: Policy) -> None:
    for one in (policy, ending):
        made = one.generate(PROMPTS, max_new_tokens=6)
        for prompt, found in zip(PROMPTS, made, strict=True):
            ids = greedy(one, prompt, 6)
            text = one.tokenizer.decode(ids, skip_special_tokens=True)
            assert (found.text, found.cut) == (text, ids[-1] != one.tokenizer.eos_token_id)
        alone = replace(one, settings=replace(one.settings, batch_tokens=1)).generate(PROMPTS, max_new_tokens=6)
        assert alone == made
        assert one.generate(PROMPTS[::-1], max_new_tokens=6)[::-1] == made
    assert {len(found.text.split()) for found in made} >= {1}
    assert not all(found.cut for found in made)


def test_the_end_token_is_not_taken_before_the_least_tokens(ending: Policy) -> None:
    made = ending.generate(PROMPTS, max_new_tokens=6, min_new_tokens=4)
    wanted = [greedy(ending, prompt, 6, 4) for prompt in PROMPTS]
    assert [one.text for one in made] == [ending.tokenizer.decode(ids, skip_special_tokens=True) for ids in wanted]
    assert all(len(one.text.split()) >= 4 for one in made)


def test_stop_strings_end_a_text(policy: Policy) -> None:
    (whole,) = policy.generate(PROMPTS[:1], max_new_tokens=3)
    assert whole == (whole.text, True)
    stop = whole.text.split()[1]
    (found,) = policy.generate(PROMPTS[:1], max_new_tokens=8, stop=("never", stop))
    assert (found.text, found.cut) == (whole.text[: whole.text.index(stop)], False)
    # It is not continued, and then cut.
    calls: list[int] = []
    hook = policy.model.register_forward_hook(lambda *_: calls.append(1))
    assert policy.generate(PROMPTS[:1], max_new_tokens=8, stop=(stop,)) == [found]
    hook.remove()
    assert len(calls) == 2
    # Others in the batch go on.
    both = policy.generate(PROMPTS[:3], max_new_tokens=8, stop=(stop,))
    assert both[0] == found
    assert both[1:] == [policy.generate([one], max_new_tokens=8, stop=(stop,))[0] for one in PROMPTS[1:3]]


def test_settings_of_a_base_do_not_change_generation(settings: PolicySettings, policy: Policy, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    with open_policy(settings, None, 0) as punished:
        own = GenerationConfig(do_sample=True, temperature=9.0, repetition_penalty=9.0, max_length=3)
        punished.model.generation_config = own
        wanted = policy.generate(PROMPTS, max_new_tokens=6)
        assert punished.generate(PROMPTS, max_new_tokens=6) == wanted
        assert punished.model.generation_config is own


def test_a_long_prompt_of_a_generation_loses_its_start(policy: Policy) -> None:
    seen = policy.seen.copy()
    long = " ".join(f"w{n % 60}" for n in range(80))
    kept = " ".join(long.split()[-(64 - 6) :])
    one, other = policy.generate([long, kept], max_new_tokens=6)
    assert one == other
    assert policy.seen - seen == {"prompts": 2, "prompts_cut": 1}


@pytest.mark.parametrize("added", [True, False])
def test_a_text_begins_with_the_start_token_of_its_tokenizer(
    added: bool, settings: PolicySettings, tmp_path: Path
) -> None:
    # Llama's tokenizer puts one before every text; that of SmolLM2 puts it nowhere.
    base = tiny_llama(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.bos_token = "<|im_start|>"
    if added:
        start = [("<|im_start|>", tokenizer.bos_token_id)]
        made = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=start)
        tokenizer.backend_tokenizer.post_processor = made
    tokenizer.save_pretrained(base)
    with open_policy(replace(settings, base=base), None, 0) as policy:
        plain = policy.tokenizer.decode(policy.tokens(Text("w1", "w2")).ids)
        assert plain == ("<|im_start|> " if added else "") + "w1 w2 <|im_end|>"


@pytest.mark.parametrize("kind", ["lora", "full", "tied", "lora, then full"])
def test_trainings_follow_each_other_and_a_merged_folder_is_a_base(
    kind: Any,  # noqa: ANN401
    settings: PolicySettings,
    tmp_path: Path,
) -> None:
    if kind == "tied":
        # The embedding is the output matrix, too, as of many small models.
        settings, kind = replace(settings, base=tiny_llama(tmp_path / "tied")), "full"
        path = Path(settings.base, "config.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": True}), encoding="utf-8")
    kinds = kind.split(", then ")
    tuning, later = (Tuning(kind=one, rank=2, alpha=8) for one in (kinds[0], kinds[-1]))
    hyper = TextHyper(lr=0.02, steps=2, keep="last", evaluate_every=0)
    folders = tmp_path / "first", tmp_path / "second"
    with open_policy(settings, tuning, 0) as policy:
        plain = policy.log_probs(TEXTS)
        fit_texts(policy, TEXTS, [], hyper, 0, Run()).save(folders[0])
        first = policy.log_probs(TEXTS)
        assert policy.reference_log_probs(TEXTS) == pytest.approx(plain, abs=1e-6)
        assert np.abs(first - plain).min() > 1e-3
    with open_policy(settings, later, 1, start=folders[:1]) as policy:
        assert policy.log_probs(TEXTS) == pytest.approx(first, abs=1e-4)
        fit_texts(policy, TEXTS, [], hyper, 0, Run()).save(folders[1])
        second = policy.log_probs(TEXTS)
        assert policy.reference_log_probs(TEXTS) == pytest.approx(first, abs=1e-4)
    save_merged(settings, folders, tmp_path / "merged")
    with (
        open_policy(settings, None, 0, start=folders) as policy,
        open_policy(replace(settings, base=str(tmp_path / "merged")), None, 0) as merged,
    ):
        assert policy.log_probs(TEXTS) == pytest.approx(second, abs=1e-4)
        assert (merged.log_probs(TEXTS) == policy.log_probs(TEXTS)).all()
        assert merged.generate(PROMPTS, max_new_tokens=4) == policy.generate(PROMPTS, max_new_tokens=4)
    with pytest.raises(DataError, match="merged: is not empty; remove it, or name another folder"):
        save_merged(settings, folders, tmp_path / "merged")
    with (
        pytest.raises(DataError, match=r"second: trained from folder .*, not from folder .*; train again"),
        open_policy(settings, None, 0, start=folders[1:]),
    ):
        pass


def test_what_cannot_be_used_says_why(settings: PolicySettings, policy: Policy, tmp_path: Path) -> None:
    def refused(settings: PolicySettings, start: tuple[Path, ...] = ()) -> None:
        with open_policy(settings, LORA, 0, start=start):
            pass

    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="transformers cannot load it as a causal language model"):
        refused(replace(settings, base=str(tmp_path)))
    with pytest.raises(ConfigError, match="max_tokens 65 exceeds its 64"):
        refused(replace(settings, max_tokens=65))
    with pytest.raises(ConfigError, match="device 'nowhere' cannot be used"):
        refused(replace(settings, device="nowhere"))
    with pytest.raises(DataError, match="no trained weights"):
        refused(settings, (tmp_path,))
    with pytest.raises(ConfigError, match="takes 64 tokens, so that 64 new ones leave no room for a prompt"):
        policy.generate(["w1"], max_new_tokens=64)
    with pytest.raises(ConfigError, match="opened to be read; give what to tune"):
        fit_texts(policy, TEXTS, [], TextHyper(keep="last"), 0, Run())
    with open_policy(settings, LORA, 0) as open_one:
        with pytest.raises(DataError, match="nothing to learn from"):
            fit_texts(open_one, [], [], TextHyper(keep="last"), 0, Run())
        with pytest.raises(ConfigError, match="keep: best needs held-out data"):
            fit_texts(open_one, TEXTS, [], TextHyper(), 0, Run())
        with pytest.raises(DataError, match="is not finite; lower the learning rate"):
            fit_texts(open_one, TEXTS, [], TextHyper(lr=1e38, keep="last", steps=4, evaluate_every=0), 0, Run())
