"""Texts as tokens: what a system turn says of a user, and what is cut where."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.tiny_models import tiny_llama
from transformers import AutoTokenizer

from personalrm.core.records import Turn
from personalrm.train.texts import DATE, Tokeniser

QUESTION = (Turn(role="user", content="w1 w2"),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(tmp_path_factory.mktemp("base"))


def shown(folder: str, limit: int, context: tuple[Turn, ...], answer: str, system: str = "") -> tuple[str, list[bool]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = Tokeniser(tokenizer, limit, "chat", "base x").tokenise(context, answer, system)
    assert len(found.ids) <= limit
    return tokenizer.decode(found.ids), [found.context_cut, found.answer_cut, found.system_cut]


def test_a_system_turn_stands_before_the_conversation(folder: str) -> None:
    plain, _ = shown(folder, 64, QUESTION, "w3")
    known, cut = shown(folder, 64, QUESTION, "w3", "w9 w8")
    assert known == f"<|im_start|> system w9 w8 <|im_end|> {plain}"
    assert cut == [False, False, False]
    # The conversation's own system turn follows in the same turn.
    own = (Turn(role="system", content="w7"), *QUESTION)
    assert shown(folder, 64, own, "w3", "w9 w8")[0] == known.replace("w9 w8", "w9 w8 w7")


def test_the_conversation_is_cut_first_and_the_answer_last(folder: str) -> None:
    long = (Turn(role="user", content=" ".join(f"w{n}" for n in range(30))),)
    # Beginning of the system turn (2), its words (4), its end with the beginning of the next (3); answer and end (2).
    text, cut = shown(folder, 24, long, "w3", "w9 w8 w9 w8")
    start = "<|im_start|> system w9 w8 w9 w8 <|im_end|> <|im_start|> user w"
    assert text.startswith(start)
    assert text.endswith("w29 <|im_end|> <|im_start|> assistant w3 <|im_end|>")
    assert cut == [True, False, False]
    # A system turn that takes more than half of the room loses its end, as far as the conversation needs it.
    text, cut = shown(folder, 24, long, "w3", "w9 " * 30)
    assert text.startswith("<|im_start|> system w9 w9")
    assert text.endswith("w29 <|im_end|> <|im_start|> assistant w3 <|im_end|>")
    assert (text.count("w9"), cut) == (9, [True, False, True])
    text, cut = shown(folder, 24, QUESTION, "w3", "w9 " * 30)
    assert text.endswith("w9 w1 w2 <|im_end|> <|im_start|> assistant w3 <|im_end|>")
    assert cut == [False, False, True]
    # The answer is kept whole.
    text, cut = shown(folder, 24, long, "w3 " * 20, "w9 " * 30)
    assert (text.count("w3 "), cut) == (20, [True, False, True])


def test_without_a_template_it_is_a_text_of_its_own(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path, template=None)
    assert shown(folder, 64, QUESTION, "w3", "w9")[0] == "w9 w1 w2 w3"


def test_a_template_that_writes_the_date_makes_the_same_text_on_every_day(tmp_path: Path) -> None:
    dated = "{% set date = strftime_now('%d w%M w%S %f') %}{% if strftime_now is defined %}{{ date }}{% endif %}"
    folder = tiny_llama(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = tokenizer.chat_template
    tokenizer.chat_template = dated + plain
    tokeniser = Tokeniser(tokenizer, 64, "chat", "base x")
    whole = tokeniser._chat(QUESTION, "w3", "w9")
    # Microseconds pass between the two.
    assert tokeniser._chat(QUESTION, "w3", "w9") == whole
    tokenizer.chat_template = plain
    assert "".join(whole) == f"{DATE}{''.join(Tokeniser(tokenizer, 64, 'chat', 'x')._chat(QUESTION, 'w3', 'w9'))}"
