from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.judge.parsing import json_objects, label_mass, parse_verdict, read_labels, whole_sentences
from personalrm.llm.types import Response, TokenLogprobs, Usage


@pytest.mark.parametrize(
    ("answer", "stated"),
    [
        # good
        ("Short and clear.\nPreference: First", "first"),
        ("Preference: Second", "second"),
        ("preference: second.", "second"),
        ("**Preference:** First", "first"),
        ("- Final verdict: the Second response", "second"),
        ("Preference = First", "first"),
        ("Preference: 'Second'", "second"),
        ("Reasoning…\n\nSecond", "second"),
        ("Reasoning…\n**First response.**", "first"),
        ("<think>Preference: First</think>\nPreference: Second", "second"),
        # the last stated verdict counts
        ("Preference: First\nOn second thought:\nPreference: Second", "second"),
        ("Preference: Second\n\nHope this helps.", "second"),
        # ties
        ("Preference: Tie", "tie"),
        ("Preference: neither", "tie"),
        # bad
        ("", "unparsed"),
        ("   \n ", "unparsed"),
        ("The First is warm, the Second is cold.", "unparsed"),
        ("Preference: First or Second", "unparsed"),
        ("Preference:", "unparsed"),
        ("Preference: Third", "unparsed"),
        ("First, let me think about it", "unparsed"),
        # a verdict inside a quotation, a fence or unclosed thinking does not count
        ("It says:\n> Preference: First\nI can not decide.", "unparsed"),
        ("```\nPreference: First\n```\nno idea", "unparsed"),
        ("```\nPreference: First", "unparsed"),
        ("<think>Preference: First", "unparsed"),
        ("> Preference: First\nPreference: Second", "second"),
        # other scripts, no label
        ("プリファレンス: 最初", "unparsed"),
    ],
)
def test_verdicts(answer: str, stated: str) -> None:
    assert parse_verdict(answer) == stated


@given(st.text())
def test_parser_never_raises(answer: str) -> None:
    assert parse_verdict(answer) in ("first", "second", "tie", "unparsed")


@given(st.text(), st.sampled_from(["First", "Second"]))
def test_a_closing_verdict_line_decides_whatever_closed_text_came_before(before: str, verdict: str) -> None:
    quoted = "\n".join(f"> {line}" for line in before.splitlines())
    if "<think" in before.lower():
        return
    assert parse_verdict(f"{quoted}\nPreference: {verdict}") == verdict.lower()


def test_one_megabyte_is_parsed_quickly() -> None:
    assert parse_verdict("word " * 200_000 + "\nPreference: First") == "first"
    assert parse_verdict("Preference: " * 90_000) == "unparsed"
    assert parse_verdict("```\n" * 200_000) == "unparsed"
    assert parse_verdict("<think>" * 100_000) == "unparsed"
    assert parse_verdict(" \n* \n" * 200_000 + "Preference: First") == "first"
    assert parse_verdict("preference is " * 90_000 + "\n" * 9) == "unparsed"


def _response(*top: tuple[str, float]) -> Response:
    return Response("", "length", Usage(), logprobs=(TokenLogprobs(top),) if top else ())


def test_label_is_read_without_blanks_and_its_best_spelling_counts() -> None:
    odds = read_labels(_response((" A", -1.0), ("A", -0.5), (" B", -2.0)), ("A", "B"))
    assert odds is not None
    assert odds[0] - odds[1] == pytest.approx(1.5)


def test_label_that_is_not_listed_gets_the_smallest_listed_probability() -> None:
    odds = read_labels(_response((" B", -0.1), (" x", -7.0)), ("A", "B"))
    assert odds is not None
    assert odds[0] - odds[1] == pytest.approx(-6.9)


@pytest.mark.parametrize("response", [_response(), _response((" x", -0.1)), _response((" A", -math.inf))])
def test_no_label_is_none(response: Response) -> None:
    assert read_labels(response, ("A", "B")) is None


def test_whole_sentences() -> None:
    assert whole_sentences('He said "yes." And then') == 'He said "yes."'
    assert whole_sentences("no end") == "no end"
    assert whole_sentences("好。还") == "好。还"  # no blank after the stop: left alone


ONE_LISTED: list[tuple[list[tuple[str, float]], float | None]] = [
    # alternatives, log-odds of A over B
    ([(" A", math.log(0.9))], math.log(0.9 / 0.1)),
    ([(" B", math.log(0.75))], -math.log(0.75 / 0.25)),
    ([("A", 0.0)], math.log(1 / 1e-6)),
    # what is listed beside it takes from what is left for the other
    ([(" A", math.log(0.6)), (" The", math.log(0.3))], math.log(0.6 / 0.1)),
    # the smallest listed is less than what is left
    ([(" A", math.log(0.6)), (" x", math.log(0.05))], math.log(0.6 / 0.05)),
    # the other may be as likely
    ([(" A", math.log(0.4))], None),
    ([(" The", math.log(0.9)), (" A", math.log(0.01))], None),
]


@pytest.mark.parametrize(("top", "log_odds"), ONE_LISTED)
def test_a_label_that_is_listed_alone_decides_by_what_it_leaves_for_the_other(
    top: list[tuple[str, float]], log_odds: float | None
) -> None:
    odds = read_labels(_response(*top), ("A", "B"))
    assert (odds and odds[0] - odds[1]) == (log_odds if log_odds is None else pytest.approx(log_odds))


def test_one_listed_label_of_several_decides() -> None:
    assert read_labels(_response((" C", math.log(0.8))), "ABCD") == pytest.approx(
        (math.log(0.2), math.log(0.2), math.log(0.8), math.log(0.2))
    )


def test_the_mass_of_labels_is_that_of_all_their_spellings() -> None:
    response = _response((" A", math.log(0.3)), ("A", math.log(0.1)), (" B", math.log(0.2)), (" An", math.log(0.4)))
    assert label_mass(response, ("A", "B")) == pytest.approx(0.6)
    assert label_mass(_response(), ("A", "B")) == 0.0
    # Servers list what has no probability, and round, so that all may be more than 1.
    assert label_mass(_response(("A", math.log(0.5)), ("B", -math.inf)), ("A", "B")) == 0.5
    assert label_mass(_response(("A", math.log(0.7)), ("B", math.log(0.5))), ("A", "B")) == 1.0


@pytest.mark.parametrize("end", ["\n", "\t", "\x0b", "\x85", "\u2028", "\u2029"])
def test_json_whose_strings_hold_line_ends_is_read(end: str) -> None:
    text = f'{{"reasoning": "It is short.{end}Preference: First was near.", "preference": "Second"}}'
    assert parse_verdict(text) == "second"
    assert [found.value["preference"] for found in json_objects(text)] == ["Second"]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('so: {"a": 1} {"b": 2}', [{"a": 1}, {"b": 2}]),
        ('{so} {"a": 1}', [{"a": 1}]),
        ('{{"a": 1}', [{"a": 1}]),
        # What is no object is not read for ever.
        ("{" * 19 + '{"a": 1}', [{"a": 1}]),
        ("{" * 20 + '{"a": 1}', []),
    ],
)
def test_objects_are_found_whatever_stands_around_them(answer: str, found: list[dict[str, int]]) -> None:
    assert [one.value for one in json_objects(answer)] == found
