"""Counting tokens before a call: by the model's own tokenizer where it is known, else by stated estimates."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import pair, spec_of
from support.ports import SPEC, ScriptedBackend

from personalrm.core.errors import ConfigError, ContextOverflow
from personalrm.core.records import Demonstration
from personalrm.judge.judge import JudgeContext, JudgeSettings, build_messages, fitted
from personalrm.llm import tokens
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.types import Message, ModelSpec, Request
from personalrm.methods.synthesizeme.persona import ask_shortened

GPT = ModelSpec("g", "litellm", "openai/gpt-4o-mini-2024-07-18")


@pytest.fixture
def words(tmp_path: Path) -> str:
    """A tokenizer of whole words, as a model's file; it cuts texts at three tokens, which is not to be obeyed."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({"word": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.enable_truncation(3)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


def prompt(content: str) -> tuple[Message, ...]:
    return (Message("user", content),)


def test_openais_models_are_counted_by_their_own_tokenizer() -> None:
    count = tokens.counter_of(GPT)
    assert count is not None
    # By hand, from the vocabulary of o200k_base: each of these is a token.
    assert [count(t) for t in ("hello", " world", "hello world", "")] == [1, 1, 2, 0]
    older = tokens.counter_of(replace(GPT, model="gpt-4"))
    assert older is not None
    # The newer vocabulary has more of other languages.
    assert count("Guten Morgen, wie geht es Ihnen?") < older("Guten Morgen, wie geht es Ihnen?")


def test_counting_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("counting tokens asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    tokens._of_openai.cache_clear()
    assert tokens.counter_of(GPT) is not None
    # A vocabulary that litellm does not bring is not fetched: its models are estimated.
    assert tokens.counter_of(replace(GPT, model="gpt-oss-20b")) is None


@pytest.mark.parametrize("model", ["together_ai/meta-llama/Llama-3.2-3B-Instruct-Turbo", "smollm2-135m", "x"])
def test_other_models_are_estimated(model: str) -> None:
    assert tokens.counter_of(replace(GPT, model=model)) is None


def test_a_file_of_the_config_comes_first_and_its_cutting_is_not_obeyed(words: str) -> None:
    count = tokens.counter_of(replace(GPT, tokenizer=words))
    assert count is not None
    assert count("word other word word word") == 5


@pytest.mark.parametrize("content", ["{}", "not json", "[]"])
def test_another_file_is_refused_by_its_key(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"models\.g\.tokenizer: .*t\.json"):
        tokens.counter_of(replace(GPT, tokenizer=str(path)))


@given(st.text(max_size=300))
def test_any_text_is_counted(content: str) -> None:
    count = tokens.counter_of(GPT)
    assert count is not None
    assert tokens.counted(prompt(content), count) <= max(1, len(content.encode("utf-8", "surrogatepass")))


def test_what_the_estimate_leaves_open_is_counted_and_nothing_else(words: str) -> None:
    spec = ModelSpec("m", "openai", "m", tokenizer=words, context_length=100)
    long_words = prompt(" ".join(["word" * 10] * 20))
    # 819 bytes: 137 to 281 tokens by the estimates; 20 by the tokenizer, and 48 beside the text.
    assert not tokens.fits(long_words, 281 - 1, replace(spec, tokenizer=None))
    assert tokens.fits(long_words, 281, replace(spec, tokenizer=None))
    assert tokens.fits(long_words, 68, spec)
    assert not tokens.fits(long_words, 67, spec)


def test_a_prompt_that_the_tokenizer_finds_too_long_is_not_sent(words: str, store: ResponseStore) -> None:
    spec = replace(SPEC, tokenizer=words, context_length=100)
    # 303 bytes: 51 to 109 by the estimates, which leaves a doubt.
    request, backend = Request(prompt("aa " * 101), max_tokens=5), ScriptedBackend()
    with pytest.raises(ContextOverflow, match="at least 101 tokens cannot fit 100"):
        asyncio.run(ModelClient(spec, backend, store).complete(request))
    assert backend.calls == 0
    asyncio.run(ModelClient(replace(spec, context_length=101), backend, store).complete(request))
    assert backend.calls == 1


def test_history_and_personas_keep_what_the_tokenizer_says_fits(words: str, store: ResponseStore) -> None:
    long_word = "word" * 50
    demonstrations = [Demonstration(pair=pair(f"c{n}", chosen=long_word), swapped=False) for n in range(9)]
    shown, settings = JudgeContext(demonstrations=demonstrations, droppable=True), JudgeSettings(max_tokens=10)
    estimated = spec_of(1_000)
    known = replace(estimated, tokenizer=words)
    test = [pair("t")]
    by_bytes, by_tokens = fitted(shown, test, settings, estimated), fitted(shown, test, settings, known)
    assert 0 < len(by_bytes.demonstrations) < len(by_tokens.demonstrations)
    # Whole demonstrations, the last ones.
    assert list(by_tokens.demonstrations) == demonstrations[9 - len(by_tokens.demonstrations) :]
    count = tokens.counter_of(known)
    assert count is not None
    assert tokens.counted(build_messages(test[0], True, by_tokens, settings), count) < 990

    # 290 tokens of room: by bytes four of nine (804 bytes), by the tokenizer all of them.
    for tokenizer, left_out in ((None, 5), (words, 0)):
        model = ModelClient(replace(SPEC, context_length=300, tokenizer=tokenizer), ScriptedBackend(), store)
        asked = ask_shortened(model, [long_word] * 9, lambda items: prompt(" ".join(items)), 10)
        assert asyncio.run(asked)[1] == left_out


def test_no_tokenizer_is_loaded_for_prompts_that_surely_fit() -> None:
    code = (
        "import sys, json; from personalrm.llm import tokens; from personalrm.llm.types import *;"
        "assert tokens.fits((Message('user', 'x'),), 100, ModelSpec('m', 'openai', 'gpt-4o'));"
        "assert tokens.overflow((Message('user', 'x'),), ModelSpec('m', 'openai', 'gpt-4o')) is None;"
        "print(json.dumps([name for name in ('tiktoken', 'tokenizers', 'litellm') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
