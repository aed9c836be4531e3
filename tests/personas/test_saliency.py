"""Salient words, by hand and against those of the released personas."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from personalrm.data.pair_sets import PairSet, read_pairs
from personalrm.personas.saliency import salient_words, words_of

SHARED = Path(os.environ.get("PERSONALRM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
PAIRS = SHARED / "boat" / "persona_tailoring.jsonl.gz"
REFERENCE = SHARED.parent / "facts" / "reported" / "boat_computed_saliency_from_released_personas.csv"


def test_words_end_at_a_marker_that_is_a_word() -> None:
    text = "The user's cover, over-all recovery. Second."
    assert words_of(text) == ["the", "users", "cover"]
    assert words_of(text, "as_published") == ["the", "users", "c"]
    assert words_of("The user prefers tea instead of coffee") == ["the", "user", "prefers", "tea"]


def test_shares_and_order_by_hand() -> None:
    personas = [
        {"chosen": "calm calm warm", "rejected": "brief"},
        {"chosen": "warm deep", "rejected": "brief calm"},
        {"rejected": "deep warm zest zest zest"},
    ]
    found = salient_words(personas, "whole_words", cutoff=2, top=3)
    assert [(one.word, one.count, one.share) for one in found["chosen"]] == [
        ("calm", 3, 2 / 3),
        ("warm", 3, 2 / 3),
        ("deep", 2, 0.5),
    ]
    assert [one.word for one in found["rejected"]] == ["zest", "brief", "deep"]
    # One entry for each pair that has the word: of chosen and of rejected.
    assert found["chosen"][0].counts == ((2, 0), (0, 1))


@pytest.mark.skipif(not (PAIRS.is_file() and REFERENCE.is_file()), reason="needs ../shared/data/boat, which is absent")
@pytest.mark.parametrize("config", ["Anthropic HHH", "Mnemonic"])
def test_the_released_personas_give_the_computed_words_line_for_line(config: str) -> None:
    with REFERENCE.open(encoding="utf-8", newline="") as stream:
        wanted = [tuple(row.values())[1:] for row in csv.DictReader(stream) if row["dataset"] == config]
    pairs = read_pairs(PairSet(name="d", path=PAIRS, config=config))
    found = salient_words([pair.gold for pair in pairs], "as_published", cutoff=10, top=10)
    assert len(wanted) == 20
    assert wanted == [
        (side, str(rank), one.word, str(one.count), str(round(one.share, 3)))
        for side, words in found.items()
        for rank, one in enumerate(words, start=1)
    ]
