from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from personalrm.core.errors import DataError
from personalrm.core.persona_pairs import PersonaPair
from personalrm.data.retrieval import Agreement, agreement, with_retrieved


def pair(number: int, prompt: str, split: str = "test", *, gold: bool = True) -> PersonaPair:
    personas = {"chosen": f"chosen {number}", "rejected": f"rejected {number}"} if gold else {}
    ids = {"dataset": "d", "pair_id": f"{split}-{number:03}", "split": split}
    return PersonaPair(**ids, prompt=prompt, chosen="a", rejected="b", gold=personas)


def origin(found: PersonaPair) -> str:
    return found.retrieved.get("chosen", "none").removeprefix("chosen ")


def test_the_most_similar_training_prompt_gives_both_personas() -> None:
    known = [
        pair(1, "How do I bake bread?", "sft_train"),
        pair(2, "How do I boil rice?", "dpo_train"),
        pair(3, "Why is rice white?", "dpo_val"),
        pair(4, "Why is rice so white?", "sft_train", gold=False),
    ]
    asked = [pair(5, "Baking bread"), pair(6, "why is rice white"), pair(7, "Xyz")]
    bread, rice, nothing = with_retrieved([*asked], known)
    assert bread.retrieved == {"chosen": "chosen 1", "rejected": "rejected 1"}
    # Neither from a split that is not of training, nor from a pair without personas.
    assert origin(rice) == "2"
    assert nothing.retrieved == {}


def test_never_the_pair_itself_nor_an_equal_prompt_nor_another_stage() -> None:
    known = [
        pair(1, "Bake bread", "sft_train"),
        pair(2, "Bake bread", "dpo_train"),
        pair(3, "Bake some bread", "dpo_train"),
        pair(4, "Bake a bread now please", "sft_train"),
    ]
    assert [origin(one) for one in with_retrieved(known, known)] == ["4", "3", "2", "1"]
    assert origin(with_retrieved([pair(9, "Bake bread", "sft_val")], known)[0]) == "4"


def test_it_is_the_cosine_of_a_known_implementation_whatever_the_order_of_rows() -> None:
    coin = random.Random(0)
    words = ["bread", "rice", "salt", "a", "oven", "ovens", "boil", "boiling", "I", "why"]
    prompts = [" ".join(coin.choices(words, k=coin.randint(1, 6))) + f" {n}" for n in range(60)]
    known = [pair(n, text, "train") for n, text in enumerate(prompts)]
    asked = [pair(100 + n, " ".join(coin.choices(words, k=3))) for n in range(30)]
    theirs = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    rows = theirs.fit_transform(prompts)
    similar = (theirs.transform([one.prompt for one in asked]) @ rows.T).toarray()
    found = with_retrieved(asked, coin.sample(known, len(known)))
    best = [similar[place][int(origin(one))] for place, one in enumerate(found)]
    assert np.allclose(best, similar.max(axis=1))
    assert [origin(one) for one in found] == [origin(one) for one in with_retrieved(asked, known)]


def test_of_equally_similar_prompts_the_first_id_counts() -> None:
    known = [pair(number, f"Bake {what}", "train") for number, what in ((2, "bread"), (1, "bread"))]
    assert origin(with_retrieved([pair(9, "bake bread!")], known)[0]) == "1"


def test_agreement_counts_pairs_that_come_with_personas() -> None:
    shipped = [pair(1, "a").model_copy(update={"retrieved": {"chosen": text}}) for text in ("x", "y")] + [pair(2, "b")]
    found = [one.model_copy(update={"retrieved": {"chosen": "x"}}) for one in shipped]
    assert agreement(found, shipped) == Agreement(1, 2)


def test_data_without_training_personas_are_named() -> None:
    with pytest.raises(DataError, match="no pair of the splits sft_train, dpo_train, train has a persona"):
        with_retrieved([pair(1, "x")], [pair(2, "x", "val")])
