"""Near-duplicate prompts of one user stand in one part of the split, or the data card says how many do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.core.records import PreferencePair, Turn
from personalrm.data.card import data_card
from personalrm.data.near_duplicates import folded, near_any, near_duplicates
from personalrm.data.prepare import prepare_dataset
from personalrm.data.settings import LocalDataset, ProcessedDataset, SplitSettings
from personalrm.data.sources.votes import parse_vote
from personalrm.data.splits import UserSplit, leaked, split_user
from personalrm.data.users import Built, build_users

from .vote_rows import Row, row, write_rows

COLOURS = ("red", "blue", "green", "orange", "purple", "black", "silver", "yellow")
THINGS = ("apples at breakfast", "trains to Vienna", "my old guitar", "whales in winter", "bread", "the moon")


def share(one: str, other: str) -> float:
    """Twice the longest common subsequence over the sum of lengths, by the textbook."""
    lengths = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if a == b else max(lengths[i][j + 1], lengths[i + 1][j])
    return 2 * lengths[-1][-1] / (len(one) + len(other))


def alike(one: str, other: str, similarity: float) -> bool:
    one, other = folded(one), folded(other)
    return one == other or (similarity < 1 and share(one, other) >= similarity - 1e-9)


def pair(
    order: int, *turns: str, conversation: str | None = None, turn: int | None = None, tie: bool = False
) -> PreferencePair:
    """A pair whose user turns are these, with an answer between them."""
    said = [Turn(role="user", content=text) for text in turns]
    answer = Turn(role="assistant", content="Yes.")
    context = [each for user_turn in said for each in (user_turn, answer)][:-1]
    return PreferencePair(
        user_id="u",
        pair_id=f"p{order}",
        context=tuple(context),
        chosen="a",
        rejected="b",
        conversation_id=conversation,
        turn=turn,
        order=order,
        tie=tie,
    )


def history(*prompts: str) -> list[PreferencePair]:
    return [pair(order, prompt, conversation=f"c{order}") for order, prompt in enumerate(prompts)]


def parts(split: UserSplit) -> str:
    return "".join((p.split or "?")[0] for p in split.pairs)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is tea?", "what is  TEA", True),
        ("What's tea...", "whats tea", True),
        ("What is tea\uff1f", "What is tea?", True),
        ("\u201cWhat\u201d is tea \u2014 really!", '"What" is tea - really', True),
        ("Name 3 teas", "Name 12 teas", True),
        ("Name \u0663 teas", "Name 3 teas", True),
        ("1,000 teas", "1000 teas", True),
        ("\ufb01ne tea", "fine tea", True),
        ("STRASSE", "straße", True),
        ("cafe\u0301", "caf\u00e9", True),
        ("I love tea \u2764\ufe0f", "I love tea", True),
        ("I love tea\ufe00", "I love tea", True),
        ("I love tea\U000e0100", "I love tea", True),
        ("कि", "का", False),
        ("café", "cafe", False),
        ("Name teas", "Name 3 teas", False),
        ("?", "!", False),
        ("\U0001f642", "\U0001f622", False),
    ],
)
def test_case_blanks_punctuation_and_digits_are_folded_and_words_are_not(one: str, other: str, same: bool) -> None:
    assert (folded(one) == folded(other)) is same
    assert list(near_duplicates([one, other], 1.0)) == ([(0, 1)] if same else [])


words = st.text(alphabet="abc d?1", min_size=0, max_size=14)


@given(st.lists(words, max_size=12), st.sampled_from([0.5, 0.75, 0.8, 0.9, 1.0]))
def test_near_duplicates_are_those_of_the_textbook(texts: list[str], similarity: float) -> None:
    found = list(near_duplicates(texts, similarity))
    forms = [folded(text) for text in texts]
    first = [forms.index(form) for form in forms]
    wanted = {(first[n], n) for n in range(len(texts)) if first[n] != n}
    heads = sorted(set(first))
    wanted |= {(a, b) for a in heads for b in heads if a < b and alike(texts[a], texts[b], similarity)}
    assert len(found) == len(set(found))
    assert set(found) == wanted


@given(st.lists(words, max_size=8), st.lists(words, max_size=8), st.sampled_from([0.5, 0.75, 0.8, 0.9, 1.0]))
def test_near_any_is_near_duplicates_of_one_of_the_others(texts: list[str], known: list[str], share: float) -> None:
    near = set(near_duplicates([*texts, *known], share))

    def same(one: int, other: int) -> bool:
        # Of a text that stands several times, the first place stands for all.
        forms = [folded(text) for text in [*texts, *known]]
        places = sorted((forms.index(forms[one]), forms.index(forms[other])))
        return places[0] == places[1] or tuple(places) in near

    others = range(len(texts), len(texts) + len(known))
    assert near_any(texts, known, share) == [any(same(n, other) for other in others) for n in range(len(texts))]


def test_the_threshold_is_reached_by_equality() -> None:
    assert list(near_duplicates(["abcdefghij", "abcdefghix"], 0.9)) == [(0, 1)]
    assert near_any(["aabb", "aabbab", "cdcd"], ["aabbab"], 0.8) == [True, True, False]
    assert list(near_duplicates(["aabb", "aabbab"], 0.8)) == [(0, 1)]
    assert list(near_duplicates(["abcdefghij", "abcdefghix"], 0.901)) == []


def test_at_a_similarity_of_1_long_texts_that_differ_by_one_letter_are_two() -> None:
    one, other = (f"{'a' * 1_100_000}{letter}" for letter in "bc")
    assert list(near_duplicates([one, other], 1.0)) == []
    assert near_any([one], [other], 1.0) == [False]


def test_one_question_mark_moves_a_conversation_to_the_part_of_the_other() -> None:
    prompts = [f"Tell me about {thing}" for thing in THINGS]
    changed = [*prompts[:-1], f"{prompts[0]}?"]
    assert parts(split_user(history(*prompts))) == "cccvtt"
    assert parts(split_user(history(*changed))) == "ccvttc"
    assert parts(split_user(history(*changed), similarity=None)) == "cccvtt"


@pytest.mark.parametrize(
    ("again", "similarity", "together"),
    [
        ("tell me about apples at breakfast", 0.9, True),
        ("Tell me about 7 apples at breakfast", 0.9, True),
        ("Tell me about apples for breakfast", 0.9, True),
        ("Tell me about apples for breakfast", 0.99, False),
        ("Tell me about apples for breakfast", 1.0, False),
        ("Tell me, about apples at breakfast!", 1.0, True),
        ("Tell me, about apples at breakfast!", None, False),
        ("Tell me about  APPLES at breakfast", None, True),
        ("Tell me about pears", 0.9, False),
    ],
)
def test_what_is_kept_together_is_configured(again: str, similarity: float | None, together: bool) -> None:
    prompts = [f"Tell me about {thing}" for thing in THINGS]
    split = split_user(history(*prompts[:-1], again), similarity=similarity)
    assert (split.pairs[-1].split == "context") is together


def test_near_duplicates_are_kept_together_through_others() -> None:
    chain = ["abcdefghijklmnopqrst", "abcdefghijklmnopqr??uv", "abcdefghijklmnopuvwx"]
    assert list(near_duplicates(chain, 0.9)) == [(0, 1), (1, 2)]
    split = split_user(history(chain[0], "dogs", "cats", "bread", "moon", "x", chain[1], chain[2]))
    assert [p.split for p in split.pairs if p.context[0].content in chain] == ["context"] * 3
    assert split.joined == 3
    # A prompt that links two conversations links all pairs of both.
    linked = [*history(chain[0], "dogs", "cats", "bread", "moon", "x"), pair(6, chain[1], conversation="c1")]
    assert split_user(linked).joined == 3


def test_a_conversation_that_begins_as_another_is_found_by_its_later_turns() -> None:
    opening = "I would like to plan a long trip to the mountains of northern Spain in the early summer"
    pairs = [pair(0, f"{opening}.", "How come?", conversation="c0", turn=1)]
    pairs += [pair(n, thing, conversation=f"c{n}", turn=0) for n, thing in enumerate(THINGS, start=1)]
    pairs.append(pair(9, f"{opening}!", "And the cost", conversation="c9", turn=1))
    assert {p.pair_id: p.split for p in split_user(pairs).pairs}["p9"] == "context"
    # Nor is this needed where one conversation is split by turns: there each turn has the earlier ones before it.
    turns = [opening, "Why?", "Cost", "When", "Go on", "Bread"]
    one = [pair(n, *turns[: n + 1], conversation="c", turn=n) for n in range(6)]
    split = split_user(one)
    assert (parts(split), split.grain, split.joined, split.too_alike) == ("cccvtt", "turn", 0, False)


def test_near_duplicate_turns_of_one_conversation_stay_together() -> None:
    prompts = ["Tell me about tea", "a", "b", "c", "d", "tell me about tea!"]
    split = split_user([pair(n, text, conversation="c", turn=n) for n, text in enumerate(prompts)])
    assert (parts(split), split.grain) == ("ccvttc", "turn")


def test_ties_go_with_their_near_duplicates() -> None:
    pairs = [*history(*THINGS), pair(9, "the moon?", tie=True)]
    split = split_user(pairs)
    assert {p.split for p in split.pairs if "moon" in p.context[0].content} == {"test"}
    assert leaked(split.pairs) == 0


def test_a_tie_that_nothing_is_learned_from_leaks_nothing() -> None:
    known = pair(0, "Tell me about tea").model_copy(update={"split": "context"})
    test = [pair(n, "tell me about TEA!", tie=n == 2).model_copy(update={"split": "test"}) for n in (1, 2)]
    # A tie of the test is judged, too.
    assert leaked([known, *test]) == 2
    assert leaked([known.model_copy(update={"tie": True}), *test]) == 0


templated = st.one_of(
    st.builds("Tell me about {} {}".format, st.sampled_from(COLOURS), st.sampled_from(THINGS)),
    st.builds("{}{}".format, st.sampled_from(THINGS), st.sampled_from(["", "?", " 1", " 22!"])),
)


@st.composite
def histories(draw: st.DrawFn) -> list[PreferencePair]:
    size = draw(st.integers(4, 25))
    return [
        pair(
            order,
            *draw(st.lists(templated, min_size=1, max_size=2)),
            conversation=draw(st.sampled_from([None, "c1", "c2", "c3", "c4", "c5", "c6"])),
            turn=draw(st.sampled_from([None, 0, 1])),
            tie=order > 3 and draw(st.integers(0, 9)) == 0,
        )
        for order in range(size)
    ]


@given(histories(), st.sampled_from(["conversation", "turn"]), st.sampled_from([0.7, 0.9, 1.0]), st.randoms())
@settings(max_examples=60)
def test_nothing_that_is_learned_from_has_a_near_duplicate_in_the_test(
    pairs: list[PreferencePair], keep: str, similarity: float, rng: random.Random
) -> None:
    split = split_user(pairs, keep_together=keep, similarity=similarity)  # type: ignore[arg-type]
    known = [p for p in split.pairs if p.split != "test"]
    test = [p for p in split.pairs if p.split == "test"]
    crossing = {p.pair_id for p in test for q in known if not q.tie and alike(prompt_of(p), prompt_of(q), similarity)}
    assert leaked(split.pairs, similarity) == len(crossing)
    apart = split_user(pairs, keep_together=keep, similarity=None)  # type: ignore[arg-type]
    if split.too_alike:
        # As if it were off: no user is lost, and what crosses is counted.
        assert (split.pairs, split.grain) == (apart.pairs, apart.grain)
    else:
        assert not crossing
        # Neither does validation know what context has, or the other way round.
        parts_of = [(p, q) for p in split.pairs for q in split.pairs if p.split != q.split]
        assert not any(alike(prompt_of(p), prompt_of(q), similarity) for p, q in parts_of)
    shuffled = rng.sample(pairs, len(pairs))
    assert split_user(shuffled, keep_together=keep, similarity=similarity) == split  # type: ignore[arg-type]


def prompt_of(one: PreferencePair) -> str:
    return one.context[-1].content


def built(prompts: Sequence[str], **options: object) -> Built:
    rows = [row("u", n, context=[{"role": "user", "content": text}]) for n, text in enumerate(prompts)]
    votes = [parse_vote(each | {"conversation_id": f"c{n}"}, n) for n, each in enumerate(rows)]
    return build_users(votes, LocalDataset.model_validate({"name": "d", "path": "votes.jsonl", **options}))


def test_a_user_all_of_whose_prompts_are_alike_is_split_in_time_order_and_counted() -> None:
    prompts = [f"Write a poem about my {colour} cat" for colour in COLOURS]
    alone = built([f"Question {n}" for n in range(8)])
    found = built(prompts, split={"similarity": 0.7})
    for each in (alone, found):
        (user,) = each.users
        assert user.excluded is None
        assert "".join((p.split or "?")[0] for p in user.pairs) == "ccccvvtt"
        assert each.funnel.split_grain == {"conversation": 1}
        assert each.funnel.near_duplicates == {"pairs_joined": 0, "users_too_alike": 1, "test_pairs_leaked": 2}
    card = data_card(LocalDataset(name="d", path=Path(__file__)), alone.funnel)
    assert "Users whose prompts are too alike for that: 1." in card
    assert "a near-duplicate of one that methods learn from: 2." in card


def test_the_funnel_and_the_card_count_what_near_duplicates_move(tmp_path: Path) -> None:
    prompts = [*THINGS, "Bread!", "BREAD"]
    rows: list[Row] = [
        row("u", n, context=[{"role": "user", "content": text}], conversation_id=f"c{n}")
        for n, text in enumerate(prompts)
    ]
    path = write_rows(tmp_path / "votes.jsonl", rows)
    funnel = prepare_dataset(LocalDataset(name="d", path=path), tmp_path / "out")
    # "BREAD" is the same prompt as "bread" without this rule, so the group of three was one of two and one of one.
    assert funnel.near_duplicates == {"pairs_joined": 3, "users_too_alike": 0, "test_pairs_leaked": 0}
    card = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert "| near-duplicate prompts | kept together: 0.9 or more of their letters in common" in card
    assert "- Pairs that near-duplicate prompts moved together: 3." in card
    off = LocalDataset(name="d", path=path, split=SplitSettings(similarity=None))
    funnel = prepare_dataset(off, tmp_path / "off")
    assert funnel.near_duplicates["pairs_joined"] == 0
    assert "| near-duplicate prompts | not kept together |" in (tmp_path / "off" / "card.md").read_text(
        encoding="utf-8"
    )


def test_what_a_split_without_the_rule_leaks_is_counted() -> None:
    prompts = [*THINGS[:-1], f"{THINGS[0]}?"]
    off = built(prompts, split={"similarity": None}).funnel.near_duplicates
    assert off == {"pairs_joined": 0, "users_too_alike": 0, "test_pairs_leaked": 1}
    as_published = built(prompts, split={"keep_together": "none"}).funnel.near_duplicates
    assert as_published == off
    assert built(prompts).funnel.near_duplicates["test_pairs_leaked"] == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"split": {}}, None),
        ({"split": {"keep_together": "turn"}}, None),
        ({"split": SplitSettings(keep_together="turn")}, None),
        ({"split": {"similarity": 0.8}}, 0.8),
        ({"split": SplitSettings(similarity=0.8)}, 0.8),
        ({"keep_splits": False}, 0.9),
        ({"keep_splits": False, "split": {"similarity": None}}, None),
    ],
)
def test_the_authors_splits_are_left_as_they_are_by_default(given: dict[str, object], expected: float | None) -> None:
    made = ProcessedDataset.model_validate({"name": "d", "source": "personalrewardbench", "path": "x", **given})
    assert made.split.similarity == expected
    assert ProcessedDataset.model_validate(made.model_dump()).split.similarity == expected
    assert LocalDataset(name="d", path=Path("votes.jsonl")).split.similarity == 0.9


def test_users_of_released_splits_are_not_counted_as_too_alike() -> None:
    released = UserSplit(tuple(pair.model_copy(update={"split": "test"}) for pair in history(*THINGS)), "release")
    assert released.alike(None) == {"pairs_joined": 0, "users_too_alike": 0, "test_pairs_leaked": 0}


@pytest.mark.parametrize("similarity", [0.0, 0.4, 1.1, float("nan"), "high"])
def test_a_similarity_that_is_no_share_is_refused(similarity: object) -> None:
    with pytest.raises(ValueError, match="similarity"):
        SplitSettings.model_validate({"similarity": similarity})


def test_bundled_data_have_no_near_duplicates(bundled: Callable[[float | None], Built]) -> None:
    assert bundled(0.9).users == bundled(None).users
    assert bundled(0.9).funnel.near_duplicates == {
        "pairs_joined": 0,
        "users_too_alike": 0,
        "test_pairs_leaked": 0,
    }


@pytest.fixture
def bundled() -> Callable[[float | None], Built]:
    from personalrm.data.prepare import read_users
    from personalrm.data.sources.reading import ReadReport

    path = Path(__file__).parents[2] / "resources" / "quickstart" / "votes.jsonl"

    def build(similarity: float | None) -> Built:
        dataset = LocalDataset(name="quickstart", path=path, split=SplitSettings(similarity=similarity))
        return read_users(dataset, ReadReport())

    return build
