"""Answers from files: rows by hand, and the released outputs of the paper."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from personalrm.core.errors import DataError
from personalrm.core.generations import Generation
from personalrm.core.persona_pairs import PersonaPair
from personalrm.data.given_answers import GivenAnswer, matched, read_answers
from personalrm.data.pair_sets import PairSet, read_pairs
from personalrm.studies.tailoring.stages.prepare import prepared

SHARED = Path(os.environ.get("PERSONALRM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "boat"
PAIRS = SHARED / "persona_tailoring.jsonl.gz"
needs_shared = pytest.mark.skipif(not PAIRS.is_file(), reason="needs ../shared/data/boat, which is absent")


def pair(name: str, prompt: str, persona: str = "") -> PersonaPair:
    retrieved: dict[Any, str] = {"chosen": persona} if persona else {}
    return PersonaPair(
        dataset="d", pair_id=name, split="test", prompt=prompt, chosen="", rejected="", retrieved=retrieved
    )


def written(path: Path, *rows: object, lines: bool = True) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows, indent=2)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_a_whole_input_is_taken_apart_whatever_form_the_file_has(tmp_path: Path) -> None:
    rows = (
        {
            "prompt": "Prompt: Human: Why?\nSo?\nPersona: The user is calm.\nResponse:",
            "response": " Because.<|end_of_text|>",
        },
        {"prompt": "Prompt: arid\nResponse: Arid sounds like", "output": ' "a rid".'},
        {"prompt": "Just this?", "response": "Yes.", "cut": True, "persona": "The user is brief."},
    )
    wanted = [
        GivenAnswer("Why?\nSo?", "The user is calm.", " Because.<|end_of_text|>"),
        GivenAnswer("arid", "", 'Arid sounds like "a rid".'),
        GivenAnswer("Just this?", "The user is brief.", "Yes.", cut=True),
    ]
    assert read_answers(written(tmp_path / "a.jsonl.gz", *rows)) == wanted
    # The released files are one list, though they are named as lines.
    assert read_answers(written(tmp_path / "b.jsonl", *rows, lines=False)) == wanted


@pytest.mark.parametrize("became", [{"response": "", "outcome": "refused"}, {"response": "And so", "cut": True}])
def test_generations_of_another_run_keep_what_became_of_them(became: dict[str, Any], tmp_path: Path) -> None:
    one = Generation(dataset="x", pair_id="y", system="z", prompt="Why?", persona="p", **became)
    path = written(tmp_path / "a.jsonl", one.model_dump(mode="json"))
    (found,) = matched([pair("test-1", "Why?", "p")], read_answers(path), "mine", "retr_chosen").generations
    assert found == one.model_copy(update={"dataset": "d", "pair_id": "test-1", "system": "mine"})


def test_answers_find_their_pairs_by_prompt_and_persona() -> None:
    pairs = [
        pair("p3", "Why?", "The user is warm and kind."),
        pair("p2", "Why? Tell me.", "The user is warm and kind."),
        pair("p1", "Same"),
        pair("p0", "Same"),
    ]
    answers = [
        GivenAnswer("Why? And who? I am someone else.", "", "g"),
        GivenAnswer("Why? Tell me. I am warm and kind.", "", "a"),
        GivenAnswer("Why? I am warm and kind.", "", "b"),
        GivenAnswer("Same", "", "c"),
        GivenAnswer("Same", "", "d"),
        GivenAnswer("Same", "", "e"),
        GivenAnswer("Other", "", "f"),
    ]
    found = matched(pairs, answers, "s", "retr_chosen")
    assert [(one.pair_id, one.response) for one in found.generations] == [
        *(("p0", "c"), ("p1", "d")),
        *(("p2", "a"), ("p3", "b")),
    ]
    assert found.generations[2].persona == "The user is warm and kind."
    assert found.unmatched == 3
    # Of a system that was told nothing, a prompt that goes on is another prompt.
    assert [one.response for one in matched(pairs, answers, "s", "none").generations] == ["c", "d"]


def test_answers_to_equal_prompts_are_told_apart_by_their_personas_or_else_by_their_order() -> None:
    pairs = [pair(f"test-{number}", "Same", f"The user is {who}.") for number, who in ((10, "kind"), (2, "warm"))]
    told = [GivenAnswer("Same", f"The user is {who}.", who) for who in ("kind", "warm")]
    found = matched(pairs, told, "s", "retr_chosen")
    assert {one.pair_id: one.response for one in found.generations} == {"test-10": "kind", "test-2": "warm"}
    # Rows are numbered in the order of the file: 2 stands before 10.
    found = matched(pairs, [one._replace(persona="") for one in told], "s", "retr_chosen")
    assert {one.pair_id: one.response for one in found.generations} == {"test-2": "kind", "test-10": "warm"}


def test_a_persona_in_the_first_person_is_all_that_may_follow_a_prompt() -> None:
    pairs = [pair("p1", "Why?", "The user is shy."), pair("p2", "How?", "The user is warm and kind.")]
    answers = [GivenAnswer("Why? I am shy.", "", "a"), GivenAnswer("How? And when? I am warm and kind.", "", "b")]
    found = matched(pairs, answers, "s", "retr_chosen")
    assert [(one.pair_id, one.response) for one in found.generations] == [("p1", "a")]
    assert found.unmatched == 1


def test_answers_for_another_persona_are_counted() -> None:
    answers = [GivenAnswer("Why?", "The user is calm.", "a"), GivenAnswer("How?", "", "b")]
    pairs = [pair("p1", "Why?", "The user is warm."), pair("p2", "How?", "The user is warm.")]
    assert matched(pairs, answers, "s", "retr_chosen").told_another == 1
    # Nor was a system without personas told any.
    assert matched(pairs, answers, "s", "none").told_another == 1
    pairs[0] = pair("p1", "Why?", "The user is calm.")
    assert matched(pairs, answers, "s", "retr_chosen").told_another == 0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Why?"}, r"a\.jsonl, row 1, field response: is missing; a row has prompt and response"),
        ({"response": "x"}, r"row 1, field prompt: is missing"),
        ({"prompt": "Why?", "response": 3}, r"row 1, field response: "),
    ],
)
def test_a_broken_row_is_named(row: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read_answers(written(tmp_path / "a.jsonl", row))


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no answers"):
        read_answers(written(tmp_path / "a.jsonl", lines=False))


@needs_shared
@pytest.mark.parametrize(
    ("name", "answers", "pairs"),
    [
        ("BeaverTails.dpo.train_chosen.infer_retr-chosen", 499, 392),
        ("BeaverTails.dpo.train_none.infer_gold-rejected", 499, 392),
        ("Anthropic_HHH.dpo.train_none.infer_none", 500, 500),
        ("Anthropic_HHH.dpo.train_none.infer_retr-rejected", 500, 500),
        ("Mnemonic.dpo.train_chosen.infer_retr-rejected", 500, 500),
    ],
)
def test_the_released_outputs_find_their_pairs(name: str, answers: int, pairs: int) -> None:
    known = read_pairs(PairSet(name="d", path=PAIRS, config=name.partition(".")[0].replace("_", " "), splits=["test"]))
    read = read_answers(SHARED / "outputs" / f"{name}.jsonl.gz")
    told: Any = name.rpartition("infer_")[2].replace("-", "_")
    found = matched(known, read, "s", told)
    # About a fifth of the BeaverTails pairs are left out of the shared file.
    assert (len(read), len(known), len(found.generations), found.told_another) == (answers, pairs, pairs, 0)
    own = {one.pair_id: one.persona(told) for one in known}
    assert {one.pair_id: one.persona for one in found.generations} == own


@needs_shared
@pytest.mark.parametrize(("config", "equal", "pairs"), [("Anthropic HHH", 129, 500), ("Mnemonic", 61, 500)])
def test_retrieval_agrees_with_the_shipped_personas_as_often_as_is_known(config: str, equal: int, pairs: int) -> None:
    found, kept = prepared(PairSet(name="d", path=PAIRS, config=config, splits=["test"], retrieval="tfidf"))
    assert kept == (equal, pairs)
    assert all(one.retrieved for one in found)
