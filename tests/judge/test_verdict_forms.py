"""The forms in which models state a verdict: one table, and properties that hold for all texts."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.judge.parsing import numbered_choices, parse_rating, parse_verdict, without_verdict

LONG = "word " * 500
FORMS: list[tuple[str, str, str]] = [
    # text, what it states, why
    ("Preference: Response First", "first", "the answer's name in the prompt"),
    ("Preference: Description First", "first", "the description's name in the prompt"),
    ("Preference: the Second one", "second", "a noun after the label"),
    ("Response First", "first", "the end is nothing but a label"),
    ("[[First]]", "first", "brackets"),
    ("[First]", "first", "brackets"),
    ("Preference: [First]", "first", "brackets"),
    ("[Preference: First]", "first", "brackets"),
    ("(Preference: First)", "first", "brackets"),
    ("Preference: <First>", "first", "brackets"),
    ("{preference: First}", "first", "brackets"),
    ("| Preference: First |", "first", "a table's bars"),
    ("Preference: `First`", "first", "back-ticks"),
    ("`Preference: First`", "first", "back-ticks"),
    ("Preference: “First”", "first", "curly quotes"),
    ("“Preference: First”", "first", "curly quotes"),
    ("Preference: ‘Second’", "second", "curly quotes"),
    ("Preference: «Second»", "second", "other quotes"),
    ('Preference: "First".', "first", "quotes"),
    ('"preference": "First"', "first", "quotes around key and value"),
    ("Preference： First", "first", "a full-width colon"),
    ("Preference:\u200bFirst", "first", "an invisible blank"),
    ("Preference: ＦＩＲＳＴ", "first", "full-width letters"),
    ("Preference: **First**", "first", "emphasis"),
    ("***Preference: First***", "first", "emphasis"),
    ("__Preference:__ _First_", "first", "emphasis"),
    ("<b>Preference:</b> First", "first", "emphasis"),
    ("Preference: \\boxed{First}", "first", "emphasis"),
    ("Preference: First ✅", "first", "a sign after it"),
    ("***\nPreference: First\n***", "first", "rules around it"),
    ("1. Preference: First", "first", "numbering"),
    ("(1) Preference: First", "first", "numbering"),
    ("a) Preference: First", "first", "numbering"),
    ("• Preference: First", "first", "a bullet"),
    ("Preference → First", "first", "an arrow"),
    ("Preference -> Second", "second", "an arrow"),
    ("Final verdict – First", "first", "a dash"),
    ("preference = second", "second", "an equals sign"),
    ("Preference:First", "first", "no blank"),
    ("The user's preference is First.", "first", "a sentence with the key"),
    ("My final answer is the Second response.", "second", "a sentence with the key"),
    ("The preferred response is Second", "second", "a sentence with the key"),
    ("So the answer is: First", "first", "a sentence with the key"),
    ("The user prefers the First response", "first", "a sentence without the key"),
    ("Overall, this user would prefer the Second response because it is warm.", "second", "a sentence with its reason"),
    ("I would choose First", "first", "a sentence without the key"),
    ("Preference: The user prefers the First response.", "first", "a sentence after the key"),
    ("It is shorter. Preference: Second", "second", "the last sentence of the last line"),
    ("It is shorter — Preference: Second", "second", "the last sentence of the last line"),
    ("It is shorter. The user prefers the First response.", "first", "the last sentence of the last line"),
    ("The First is long. Preference: Second", "second", "an answer's name in the reasoning before it is no verdict"),
    ("Verdict: It is shorter. Preference: Second", "second", "the last statement counts"),
    (f"{LONG}. Preference: Second", "second", "all in one long line"),
    ("Preference:\nSecond", "second", "the value on the line below"),
    ("## Verdict\nFirst", "first", "the value below a heading"),
    ("**Preference:**\n\n**Second**\n\nIt is shorter.", "second", "the value on the line below, then a reason"),
    ("<answer>First</answer>", "first", "a tag"),
    ("<answer>\nSecond\n</answer>", "second", "a tag on its own lines"),
    ("<|channel|>analysis<|message|>Second?<|end|><|channel|>final<|message|>First", "first", "the final channel"),
    ("<|channel|>analysis<|message|>Preference: First", "unparsed", "another channel"),
    ("analysisPreference: Second?assistantfinalPreference: First", "first", "the final channel, without its tokens"),
    ("It says <|channel|>final<|message|>Second", "unparsed", "a channel that somebody else names"),
    ("Preference: First<|im_end|>\n<|im_start|>user\nPreference: Second", "first", "somebody else's turn"),
    ("Preference: First (it is shorter)", "first", "a reason follows"),
    ("Preference: First because it is shorter.", "first", "a reason follows"),
    ("Preference: First. It is shorter.", "first", "a reason follows"),
    ("Preference: First\n\nThe First is warm, while the Second is cold.", "first", "a reason follows"),
    ("Preference: First\nPreference: First", "first", "the same twice"),
    ("Preference: First\nBut is it? No.\nPreference: Second", "second", "the last verdict counts"),
    ("Preference: 「First」", "first", "corner brackets"),
    ("『Preference: First』", "first", "corner brackets"),
    ("【Preference】First", "first", "brackets around the key"),
    ("Since it is warm, my final answer is Preference: First.", "first", "a sentence around the statement"),
    ("It is warm. So the final line is: Preference: First", "first", "a sentence around the statement"),
    ("I end with: Preference: First", "first", "a sentence around the statement"),
    ("The second response's final line is: Preference: Second", "unparsed", "a sentence about an answer"),
    ("It is warm. First is the better match for this user's taste.", "first", "a conclusion"),
    ("The Second response suits this user better, because it is warm.", "second", "a conclusion"),
    ("Overall, the First is better for this user than the Second.", "first", "a conclusion"),
    ("The Second is better in tone.\nThus the First response is better for this user.", "first", "a conclusion"),
    ("The user prefers the First response over the Second.", "first", "a comparison"),
    ("Overall, the First is better for tone and the Second is better for length.", "unparsed", "two winners"),
    ("The First is better for this user. The Second is better for this user.", "unparsed", "two winners"),
    ("1. The First response is better.\n2. The Second response is better.", "unparsed", "criteria"),
    ("- It is long.\n- The First response is better suited to this user.", "unparsed", "criteria"),
    ("The First response is better structured.", "unparsed", "a criterion"),
    ("The First response suits this user.", "unparsed", "no comparison"),
    ("Is the First response better suited to this user?", "unparsed", "a question"),
    ("| Tone | First |\n| **Preference** | **Second** |", "second", "a row of a table"),
    ("| Preference | Second | it is short |", "second", "a row of a table"),
    ("| Preference |\n|---|\n| Second |", "second", "a column of a table"),
    ("| Answer | First |\n|---|---|\n| Tone | warm |", "unparsed", "the head of a table"),
    ("Preference: Second\n\n| Answer | First | Second |\n|---|---|---|", "second", "the head of a table"),
    *((f"It is short.\n{word}: First", "first", "misspelt") for word in ("Preferrence", "Prefrence", "Perference")),
    ('{"preferrence": "First"}', "first", "misspelt"),
    ("## Preferances\nFirst", "first", "misspelt"),
    ("Preference: First\nUser preferences: brevity", "first", "the user's preferences are no statement"),
    ("Reference: First", "unparsed", "another word"),
    ("Precedence: First", "unparsed", "another word"),
    ("~~Preference: First~~", "unparsed", "struck out"),
    ("Preference: ~~First~~ Second", "second", "struck out"),
    ("<del>Preference: First</del>\nPreference: Second", "second", "struck out"),
    ("Preference: Second\n~~Preference: First~~", "second", "struck out"),
    ("<s>Preference: First</s>", "first", "tokens that look like a line through it"),
    *((f"Preference: {label}", "tie", "a tie") for label in ("Tie", "Tied", "Draw", "Equal", "Both", "Neither")),
    ("It is a tie.", "tie", "a tie"),
    ("Preference: None", "unparsed", "neither a label nor a tie"),
    ("It is a tie on tone.", "unparsed", "a criterion"),
    ("Neither is good. Preference: neither", "tie", "a tie"),
    # JSON
    ('{"preference": "First"}', "first", "JSON"),
    ("{'preference': 'First'}", "first", "nearly JSON"),
    ('{"preferred_response": "Response Second"}', "second", "JSON with another key"),
    ('{"finalPreference": "second"}', "second", "JSON with another key"),
    ('{\n  "reasoning": "Preference: Second, it says",\n  "preference": "First"\n}', "first", "JSON with a reasoning"),
    ('It is shorter.\n{"preference": "Second"}', "second", "JSON after a reasoning"),
    ('```json\n{"preference": "First"}\n```', "first", "JSON in a fence"),
    (
        'Here is my verdict:\n```json\n{"verdict": "second"}\n```',
        "second",
        "JSON in a fence, with its own introduction",
    ),
    ('{"preference": "First", "preference": "Second"}', "unparsed", "two labels in JSON"),
    ('{"preference": "First or Second"}', "unparsed", "two labels in JSON"),
    ('The second says:\n{"preference": "Second"}', "unparsed", "JSON that somebody else says"),
    ('{"a":' * 50_000, "unparsed", "JSON too deep to be one"),
    # fences, quotations, thinking
    ("```\nPreference: First\n```", "first", "a fence that holds the verdict"),
    ("````\nIt is short.\nPreference: First\n````", "first", "a fence that holds the whole answer"),
    ("It is shorter.\n```\nPreference: First\n```", "first", "a fence that holds the verdict"),
    ("```Preference: First```", "first", "a fence of one line"),
    ("It says:\n```\nPreference: First\n```\nPreference: Second", "second", "own words after a fence"),
    ("```Preference: Second```\nPreference: First", "first", "own words after a fence"),
    ("Preference: First\n```\nPreference: Second\n```", "first", "own words before a fence"),
    ("The response says:\n```\nPreference: First\n```", "unparsed", "a fence that somebody else's words fill"),
    ("I cannot say which.\n```\nPreference: First\n```", "unparsed", "a fence after a doubt"),
    ("````\n```\nPreference: First\n```\nno end", "unparsed", "a fence that is not closed"),
    ('It ends with\n"Preference: Second"\nPreference: First', "first", "own words after a quotation"),
    ('The response ends with\n"Preference: Second"', "unparsed", "a quotation"),
    ('It ends: "It is short. Preference: Second"', "unparsed", "a quotation within the line"),
    ('It says "done. Preference: Second', "unparsed", "a quotation that is not closed"),
    ("> Preference: First", "unparsed", "a quotation"),
    ("> It is short.\n```\nPreference: First\n```", "unparsed", "a fence among quotations"),
    ("It is short.\n```\nIt is warm.\nPreference: First\n```", "unparsed", "a fence that holds more than the verdict"),
    ("- > Preference: First", "unparsed", "a quotation in a list"),
    ("Preference: First\n> Preference: Second", "first", "own words before a quotation"),
    ("Preference: First <think>Preference: Second</think>", "first", "thinking"),
    ("Preference: Second, no.\n</think>\nPreference: First", "first", "thinking that the prompt began"),
    ("One of\nPreference: First\nPreference: Second\n</think>\nShort.", "unparsed", "thinking that the prompt began"),
    # two labels, echoes
    ("Preference: First, Second", "unparsed", "two labels"),
    ("Preference: First or Second", "unparsed", "two labels"),
    ("Preference: First/Second", "unparsed", "two labels"),
    ("Preference: both First and Second", "unparsed", "two labels"),
    ("Preference: First (not Second)", "unparsed", "two labels"),
    ("Preference: First. No, Second.", "unparsed", "two labels"),
    ("Preference: First. Preference: Second", "unparsed", "two verdicts on one line"),
    ("Preference: First\nPreference: Second", "unparsed", "an echo of the allowed lines"),
    ("Preference: First\nActually, Preference: Second", "second", "no echo, but another verdict"),
    ("Preference: Second\n\nPreference: First", "unparsed", "an echo of the allowed lines"),
    ("Preference: First\nor\nPreference: Second", "unparsed", "an echo of the allowed lines"),
    ("I end with one of\nPreference: First\nPreference: Second\nIt is short.", "unparsed", "an echo, and no verdict"),
    ("1. First\n2. Second", "unparsed", "an echo of the labels"),
    ("First\nSecond", "unparsed", "an echo of the labels"),
    ("Preference: First\nHm.\nSecond", "unparsed", "the end says otherwise"),
    # hedges, negations, other words
    ("Preference: First would be wrong, so Second", "unparsed", "a condition"),
    ("Preference: If shorter, First", "unparsed", "a condition"),
    ("If it were short, Preference: First", "unparsed", "a condition"),
    ("Answer: First, I look at tone", "unparsed", "the word of an enumeration"),
    ("First, let me think. Preference: First or Second", "unparsed", "the word of an enumeration"),
    ("Preference: First-hand", "unparsed", "part of another word"),
    ("Preference: not First", "unparsed", "a negation"),
    ("The verdict is not First", "unparsed", "a negation"),
    ("The user does not prefer the First response.", "unparsed", "a negation"),
    ("Preference: probably First", "unparsed", "a hedge"),
    ("Preference: First (or maybe not)", "unparsed", "a hedge"),
    ("Preference: First but only just", "unparsed", "a hedge"),
    ("Preference: First?", "unparsed", "a question"),
    ("The user would likely prefer the Second response.", "unparsed", "a hedge"),
    ("Preference: First\nNo, wait.", "unparsed", "taken back"),
    ("Preference: First\nWait, no: the Second.", "unparsed", "taken back"),
    ("The user prefers the first response's tone.", "unparsed", "a part of the answer"),
    ("Preference: 1", "unparsed", "no label of the prompt"),
    ("Preference: A", "unparsed", "no label of the prompt"),
]


@pytest.mark.parametrize(("text", "stated", "why"), FORMS, ids=[f"{n}-{why}" for n, (_, _, why) in enumerate(FORMS)])
def test_forms(text: str, stated: str, why: str) -> None:
    assert parse_verdict(text) == stated, why


def _turned(text: str) -> str:
    """`text` with First and Second exchanged, in any case."""
    words = {"first": "second", "second": "first", "ｆｉｒｓｔ": "ｓｅｃｏｎｄ", "1st": "2nd", "2nd": "1st"}

    def other(found: re.Match[str]) -> str:
        word = words[found[0].lower()]
        return word.upper() if found[0].isupper() else word.capitalize() if found[0][0].isupper() else word

    return re.sub("|".join(words), other, text, flags=re.IGNORECASE)


OPPOSITE = {"first": "second", "second": "first"}


@pytest.mark.parametrize(("text", "stated", "why"), FORMS)
def test_forms_with_the_labels_exchanged(text: str, stated: str, why: str) -> None:
    assert parse_verdict(_turned(text)) == OPPOSITE.get(stated, stated), why


CUT: list[tuple[str, str]] = [
    ("It is short.\nPreference: First", "first"),
    ("It is short. Preference: First", "first"),
    ("Preference: First\nFor", "unparsed"),
    ("The second says\nPreference: Second\nand I think", "unparsed"),
    ("It says:\n> Preference: Second", "unparsed"),
    ("Preference: First\n> so", "unparsed"),
    ("```\nPreference: Second\n```", "unparsed"),
    ("Preference: First, or", "unparsed"),
    ("Preference: First (it is", "unparsed"),
    ("Preference: First\nPreference: Second", "unparsed"),
    ("So I look at both.\n\nFirst", "unparsed"),
    ("The user prefers the First", "unparsed"),
    ("", "unparsed"),
]


@pytest.mark.parametrize(("text", "stated"), CUT)
def test_of_a_text_cut_at_the_token_limit_the_last_line_alone_counts(text: str, stated: str) -> None:
    assert parse_verdict(text, cut=True) == stated


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("a\nb\nPreference: First\n", "a\nb"),
        ("a\r\nPreference: First\r\nb", "a\nb"),
        ("It is shorter. Preference: Second", "It is shorter."),
        ("It is shorter. **Preference: Second**", "It is shorter."),
        ("It is shorter.\n```\nPreference: First\n```", "It is shorter."),
        ('It is shorter.\n```json\n{"preference": "First"}\n```', "It is shorter."),
        ('{"reasoning": "It is shorter.", "preference": "First"}', "It is shorter."),
        ('{\n"reasoning": "It is shorter.",\n"preference": "First"\n}', "It is shorter."),
        ("```\nIt is shorter.\nPreference: First\n```", "It is shorter."),
        ("It is shorter.\n\nPreference:\nSecond", "It is shorter."),
        ("It is shorter.\nThe user prefers the First response.", "It is shorter."),
        ("It is shorter.\n“Preference: First”", "It is shorter."),
        ("Preference: Second\n\nIt is shorter.", "It is shorter."),
        ("It is shorter.<|im_end|>\nPreference: First<|im_end|>", "It is shorter."),
        ("~~Preference: First~~\nIt is shorter.\nPreference: Second", "It is shorter."),
        ("It is shorter. Preferrence: Second", "It is shorter."),
        ("It is shorter. The user prefers the First response.", "It is shorter."),
        ("Preference: First", ""),
        ("no verdict", "no verdict"),
    ],
)
def test_a_reasoning_is_kept_without_its_verdict(text: str, rest: str) -> None:
    assert without_verdict(text) == rest


RATINGS: list[tuple[str, int | None]] = [
    ("Rating： ４", 4),
    ("Rating: `4`", 4),
    ("Rating: [4]", 4),
    ("1. Rating: “4”", 4),
    ("Rating: 4/5", 4),
    ("**Overall score** - 4 out of 5", 4),
    ('{"rating": 4}', 4),
    ('```json\n{"reasoning": "5 reasons", "rating": "4"}\n```', 4),
    ("It varies. Rating: 4", 4),
    ("> Rating: 5\nRating: 4", 4),
    ("Rating: 4 or 5", None),
    ("Rating: 4-5", None),
    ("Rating: 1/2/3/4/5", None),
    ("Rating: 1\nRating: 2", None),
    ("Rating: 40%", None),
    ("Rating: not 4", None),
    ('{"rating": true}', None),
]


@pytest.mark.parametrize(("text", "number"), RATINGS)
def test_ratings_have_the_same_forms(text: str, number: int | None) -> None:
    assert parse_rating(text) == number


def test_the_number_after_a_prefilled_start() -> None:
    assert [parse_rating(text, prefilled=True) for text in (" ４", "[4]", "`4`", "4/5")] == [4, 4, 4, 4]
    assert [parse_rating(text, prefilled=True) for text in ("4 or 5", "1-5", "45", "4.5")] == [None] * 4


def test_a_rating_before_the_cut_may_be_a_quotation() -> None:
    assert (parse_rating("Rating: 5\nand", cut=True), parse_rating("Hm.\nRating: 5", cut=True)) == (None, 5)


CHOICES: list[tuple[str, str | None]] = [
    ("1： low", "low"),
    ("(1) `low`", "low"),
    ("[1] “low”", "low"),
    ("# 1 - **low**", "low"),
    ("Scale 1: low", "low"),
    ("１．low", "low"),
    ("1. High detail: low", "low"),
    ("1: low: the person likes high prices", "low"),
    ("```\n1: low\n```", "low"),
    ("1: low or high", None),
    ("1: low/high", None),
    ("1: low (not high)", None),
    ("1: low\n1: low, high", None),
    ("1: low: high", None),
    ("1: lower", None),
    ("> 1: low", None),
]


@pytest.mark.parametrize(("text", "choice"), CHOICES)
def test_numbered_choices_have_the_same_forms(text: str, choice: str | None) -> None:
    assert numbered_choices(text, 1, ("low", "high")) == (choice,)


# fmt: off
PIECES = [
    "Preference:", " First", " Second", "the ", "user prefers", "\n", ". ", '"', "“", "`", "```\n", "> ", "{", "}",
    "<think>", "</think>", "not", " or ", "1. ", "**", "：", " is ", "json", ",", "Answer", "(", ")", "?", "wait", "a",
    " ", "- ", "* ", "|", "Preference: First\n", ". Preference: First", "Preference:\n", "preference is ", '{"a":\n',
    '{"preference": "First"}\n', "\u200b", "～", "\\boxed{", "<answer>", "'", "<|im_end|>", "~~", "</s>", "「",
    "Prefrence", " is better", "Overall, ", "I take that back. ", "I cannot tell whether ", "so, ",
    "<|channel|>final<|message|>",
]
# fmt: on
WORDS = st.sampled_from(PIECES)
TEXTS = st.lists(WORDS | st.text(max_size=3), max_size=25).map("".join)


@given(TEXTS)
def test_no_text_raises_and_exchanged_labels_exchange_the_verdict(text: str) -> None:
    stated = parse_verdict(text)
    assert parse_verdict(_turned(_turned(text))) in ("first", "second", "tie", "unparsed")
    if _turned(_turned(text)) == text:
        assert parse_verdict(_turned(text)) == OPPOSITE.get(stated, stated)
    assert parse_verdict(text, cut=True) in (stated, "unparsed")
    assert isinstance(without_verdict(text), str)


PROSE = st.lists(st.sampled_from(["It", " is", " short", ".", "\n", " The First", " and", " the Second", "!"]))


@given(
    PROSE.map("".join),
    st.sampled_from(["First", "Second"]),
    st.sampled_from(
        ["> {}", "```\n{}\n```", "~~~\n{}\n~~~", "```{}```", "<think>{}</think>", "~~{}~~", "<del>{}</del>"]
    ),
    st.sampled_from(["Preference: {}", '{{"preference": "{}"}}', "The user prefers the {} response", "{}"]),
    st.booleans(),
)
def test_set_apart_words_never_change_a_verdict_on_the_last_line(
    before: str, label: str, block: str, form: str, after: bool
) -> None:
    other = {"First": "Second", "Second": "First"}[label]
    apart, own = block.format(form.format(other)), f"Preference: {label}"
    text = f"{before}\n{own}\n{apart}" if after else f"{before}\n{apart}\n{own}"
    assert parse_verdict(text) == label.lower()


@pytest.mark.parametrize("size", [100_000, pytest.param(1_000_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("piece", PIECES)
def test_many_characters_take_time_linear_in_their_number(piece: str, size: int) -> None:
    text = (piece * (size // len(piece) + 1))[:size]
    began = time.process_time()
    for end in ("", "x", "\nx", "\nPreference: First"):
        parse_verdict(text + end)
    # A tenth of a second each time where it is linear; squared, the smaller size takes minutes.
    assert time.process_time() - began < 8


@given(TEXTS)
def test_json_says_what_its_value_says(reasoning: str) -> None:
    text = json.dumps({"reasoning": reasoning, "preference": "Second"}, ensure_ascii=False)
    if "think" not in text:
        assert parse_verdict(text) == "second"
