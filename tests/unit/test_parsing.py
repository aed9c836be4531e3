from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.llm.types import Response, TokenLogprobs, Usage
from personalrm.parsing import parse_verdict, read_label, whole_sentences


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
    odds = read_label(_response((" A", -1.0), ("A", -0.5), (" B", -2.0)), ("A", "B"))
    assert odds is not None
    assert odds.log_odds_first == pytest.approx(1.5)


def test_label_that_is_not_listed_gets_the_smallest_listed_probability() -> None:
    odds = read_label(_response((" B", -0.1), (" x", -7.0)), ("A", "B"))
    assert odds is not None
    assert odds.log_odds_first == pytest.approx(-6.9)


@pytest.mark.parametrize("response", [_response(), _response((" x", -0.1)), _response((" A", -math.inf))])
def test_no_label_is_none(response: Response) -> None:
    assert read_label(response, ("A", "B")) is None


def test_whole_sentences() -> None:
    assert whole_sentences('He said "yes." And then') == 'He said "yes."'
    assert whole_sentences("no end") == "no end"
    assert whole_sentences("好。还") == "好。还"  # no blank after the stop: left alone
