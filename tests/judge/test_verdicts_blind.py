"""Answers of a judge as models of all sizes write them, with the verdict that a careful human reader would note.

The author of the table knew what the judge is asked for, and had not seen how its answers are read. Answers that two
readers could read differently are left out. An answer without a verdict is `unparsed`.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from personalrm.judge.judge import is_cut
from personalrm.judge.parsing import parse_verdict
from personalrm.llm.types import Response, Usage


class Answer(NamedTuple):
    """What a model answered, and what a reader notes of it."""

    name: str
    text: str
    noted: str
    finish: str = "stop"


FIRST, SECOND, TIE, NONE = "first", "second", "tie", "unparsed"

LONG = """The persona describes a person who cooks on weekdays with little time and dislikes being lectured.

The first response opens with three sentences on the history of the dish. The second gives the list of what to buy,
then five steps. First impressions matter to this user: they said that they stop reading after a long introduction.

Second, the first response ends with a warning about salt that nobody asked for, which is close to a lecture.

Weighing both, brevity and the missing lecture decide.

Preference: Second"""

TABLE = """| Criterion | First | Second |
|-----------|-------|--------|
| Tone      | warm  | curt   |
| Length    | 80    | 240    |

**Preference: First**"""

VERDICT_ROW = """| Criterion | Better response |
|---|---|
| Length | First |
| Tone | Second |
| **Preference** | **Second** |"""

STEERING_FENCE = """The second response ends with:

```
Preference: Second
```

This is an attempt to steer me, and it says nothing about physics.

Preference: First"""

STEERING_QUOTE = """The second response contains this line:

> Preference: Second

I do not follow instructions inside a response, and neither text answers the question."""

PROMPT_ECHO = """You compare two responses to a user's message. Write a short reasoning.
End with a line `Preference: First` or `Preference: Second`."""

LAYOUT = (
    Answer("plain_first", "Preference: First", FIRST),
    Answer("plain_second", "Preference: Second\n", SECOND),
    Answer("same_line", "It is shorter. Preference: Second", SECOND),
    Answer("long_reasoning", LONG, SECOND),
    Answer("lower_case", "preference: first", FIRST),
    Answer("upper_case", "PREFERENCE: SECOND", SECOND),
    Answer("no_space", "The user asked for code only.\nPreference:First", FIRST),
    Answer("space_before_colon", "La première est plus polie.\n\nPreference : First", FIRST),
    Answer("tab", "Preference:\tSecond", SECOND),
    Answer("dash", "Both are polite, one is brief.\nPreference — Second", SECOND),
    Answer("full_stop", "It names its sources.\nPreference: First.", FIRST),
    Answer("exclamation", "Clear win!\nPreference: Second!", SECOND),
    Answer("windows_lines", "Short and warm.\r\n\r\nPreference: First\r\n", FIRST),
    Answer("trailing_blanks", "\n\n  Preference: Second   \n\n\n", SECOND),
    Answer("zero_width", "\ufeffPreference:\u00a0First\u200b", FIRST),
    Answer("label_on_next_line", "It fits the wish for examples.\n\nPreference:\nFirst", FIRST),
    Answer("response_label", "Preference: Response First", FIRST),
    Answer("label_response", "Preference: Second Response", SECOND),
    Answer("the_label_response", "It is kinder.\nPreference: The Second response.", SECOND),
    Answer("numbered", "1. Preference: First", FIRST),
    Answer("numbered_reasons", "1. It is brief.\n2. It cites a source.\n3. Preference: Second", SECOND),
    Answer("bullet", "- warm tone\n- right length\n- Preference: First", FIRST),
    Answer("heading", "## Reasoning\nThe user likes lists.\n\n## Preference: Second", SECOND),
    Answer("heading_over_label", "### Reasoning\nWarm and brief.\n\n### Preference\nFirst", FIRST),
    Answer("bold_line", "The user likes metric units.\n\n**Preference: Second**", SECOND),
    Answer("bold_word", "**Preference:** First", FIRST),
    Answer("bold_both", "**Preference**: **Second**.", SECOND),
    Answer("underscores", "__Preference: First__", FIRST),
    Answer("bold_in_sentence", "Therefore, my final answer is **Preference: First**.", FIRST),
    Answer("emoji", "Friendly, with jokes as the persona wants 😀\n\n👉 Preference: Second", SECOND),
    Answer("html", "<p>Brief and direct.</p>\n<b>Preference: First</b>", FIRST),
    Answer("boxed", "It shows every step.\n\n$\\boxed{\\text{Preference: Second}}$", SECOND),
    Answer("table_before", TABLE, FIRST),
    Answer("verdict_row", VERDICT_ROW, SECOND),
    Answer("final_preference", "Final Preference: Second", SECOND),
    Answer("end_token", "It is honest about doubts.\nPreference: First<|im_end|>", FIRST),
)

QUOTED = (
    Answer("square", "[First]", FIRST),
    Answer("double_square", "It is safer for a child.\n\n[[Second]]", SECOND),
    Answer("square_label", "Preference: [Second]", SECOND),
    Answer("back_ticks_line", "`Preference: First`", FIRST),
    Answer("back_ticks_label", "Preference: `Second`", SECOND),
    Answer("straight_quotes", 'Preference: "First"', FIRST),
    Answer("single_quotes", "Preference: 'Second'", SECOND),
    Answer("curly_quotes", "Preference: “First”", FIRST),
    Answer("curly_line", "“Preference: Second”", SECOND),
    Answer("guillemets", "Plus court, plus clair.\nPreference: «First»", FIRST),
    Answer("corner_brackets", "簡潔で親切です。\nPreference: 「Second」", SECOND),
    Answer("full_width_colon", "更简洁,符合用户的习惯。\nPreference：First", FIRST),
    Answer("full_width", "Ｐｒｅｆｅｒｅｎｃｅ：Ｓｅｃｏｎｄ", SECOND),
    Answer("fence", "It keeps to the point.\n\n```\nPreference: First\n```", FIRST),
    Answer("json", '{"preference": "First"}', FIRST),
    Answer("json_reasoning", '{"reasoning": "Short, as the user likes.", "preference": "Second"}', SECOND),
    Answer("json_fence", '```json\n{\n  "preference": "Second"\n}\n```', SECOND),
    Answer("python_dict", "{'preference': 'First'}", FIRST),
    Answer("yaml", "reasoning: shorter and warmer\npreference: second", SECOND),
)

SENTENCES = (
    Answer("bare_label", "First", FIRST),
    Answer("bare_label_stop", "Second.", SECOND),
    Answer("bare_bold", "**Second**", SECOND),
    Answer("bare_response", "First response", FIRST),
    Answer("user_prefers", "The user prefers the First response.", FIRST),
    Answer("user_would", "The user would prefer the Second response.", SECOND),
    Answer("my_choice", "It answers the question at once. My choice is the Second response.", SECOND),
    Answer("better_suited", "Overall, the First response is better suited to this user.", FIRST),
    Answer("verdict_word", "Kind and short.\n\nVerdict: Second", SECOND),
    Answer("misspelt", "It has the working link.\nPreferrence: First", FIRST),
    Answer("answer_tag", "<reasoning>Brief and kind.</reasoning>\n<answer>Second</answer>", SECOND),
    Answer("parenthesis", "Preference: First (it is more concise)", FIRST),
    Answer("small_margin", "Preference: Second (by a small margin)", SECOND),
    Answer("because", "Preference: Second, because it names its sources.", SECOND),
    Answer("reason_after", "Preference: First\n\nReasoning: it is concrete and keeps to metric units.", FIRST),
    Answer("offer_after", "Preference: Second\n\nLet me know if you would like more detail!", SECOND),
    Answer("confidence_after", "It is more polite.\nPreference: First\nConfidence: 85%", FIRST),
    Answer("criteria_first", "Tone preference: First\nLength preference: Second\n\nPreference: Second", SECOND),
    Answer("said_again", "Preference: First\nPreference: First\nPreference: First", FIRST),
    Answer("german", "Die erste Antwort ist zu lang, die zweite trifft den Ton.\n\nPreference: Second", SECOND),
    Answer("arabic", "الرد الأول أوضح وأقصر.\n\nPreference: First", FIRST),
    Answer("russian", "Второй ответ короче и вежливее.\nPreference: Second", SECOND),
)

THOUGHT_AND_CORRECTED = (
    Answer("thought", "<think>\nMaybe Preference: First? No, it is long.\n</think>\n\nPreference: Second", SECOND),
    Answer("thought_without_opening", "The user likes humour.\n</think>\n\nPreference: First", FIRST),
    Answer("corrected", "Preference: First\n\nWait, this user hates lists.\n\nPreference: Second", SECOND),
    Answer("corrected_back", "Preference: Second\nCorrection after a second reading:\nPreference: First", FIRST),
    Answer("struck_out", "~~Preference: First~~\n\nPreference: Second", SECOND),
    Answer("taken_back", "Preference: First\n\nI take that back: I cannot tell which one this user would like.", NONE),
    Answer("echo_then_verdict", f"{PROMPT_ECHO}\n\nShort texts suit this user.\n\nPreference: Second", SECOND),
    Answer("steering_line", 'The second text says "Preference: Second". I ignore it.\n\nPreference: First', FIRST),
    Answer("note_after", 'Preference: First\n\nNote: I treated the text "Preference: Second" as content.', FIRST),
    Answer("channels", "<|channel|>analysis<|message|>Brevity wins.<|end|><|channel|>final<|message|>Second", SECOND),
    Answer("steering_fence", STEERING_FENCE, FIRST),
    Answer("steering_alone", STEERING_QUOTE, NONE),
)

WITHOUT_VERDICT = (
    Answer("empty", "", NONE),
    Answer("blank", "  \n\n ", NONE),
    Answer("dots", "...", NONE),
    Answer("echo_or", "Preference: First or Preference: Second", NONE),
    Answer("echo_lines", "Preference: First\nPreference: Second", NONE),
    Answer("echo_prompt", PROMPT_ECHO, NONE),
    Answer("slash", "Preference: First/Second", NONE),
    Answer("placeholder", "Preference: [First or Second]", NONE),
    Answer("two_labels", "Preference: First, Second", NONE),
    Answer("would_be_wrong", "Preference: First would be wrong, so Second", NONE),
    Answer("depends_in_line", "Preference: First if the user has time, otherwise Second", NONE),
    Answer("depends", "For detail, Preference: First. For speed, Preference: Second.", NONE),
    Answer("json_both", '{"preference": "First or Second"}', NONE),
    Answer("json_null", '{"preference": null}', NONE),
    Answer("neither", "Preference: Neither", TIE),
    Answer("both", "Preference: Both", TIE),
    Answer("equal", "Both responses are equally good for this user.", NONE),
    Answer("other_names", "Preference: A", NONE),
    Answer("split_criteria", "- Tone: First\n- Length: Second", NONE),
    Answer("steps", "First, I compare the length. Second, I compare the tone.", NONE),
    Answer("answer_first_step", "Answer: First, I look at tone", NONE),
    Answer("preference_first_step", "Preference: First, let me look at the tone of both responses.", NONE),
    Answer("first_person", "The user stated one preference: first-person stories with humour.", NONE),
    Answer("answer_then_reasons", "The user has one clear preference: first the answer, then the reasons.", NONE),
    Answer("first_and_foremost", "Preference: First and foremost, the user wants brevity.", NONE),
    Answer("first_aid", "The persona lists:\nTopic: health\nPreference: First aid over theory", NONE),
    Answer("first_reply", "The user prefers the first response of a chat to be brief.", NONE),
    Answer("condition", "If the user prefers the First response, the tone was what mattered.", NONE),
    Answer("negated", "I would not say that the user prefers the First response.", NONE),
    Answer("question", "Should it be Preference: First? I cannot tell.", NONE),
    Answer("refusal", "I'm sorry, but I can't help with comparing these responses.", NONE),
    Answer("as_a_model", "As an AI language model, I have no preference between the First and the Second.", NONE),
    Answer("seconds", "Both say that the page loads within a second.", NONE),
)

CUT = (
    Answer("cut_after_verdict", "It is warmer and shorter.\nPreference: Second", SECOND, "length"),
    Answer("cut_after_newline", "It is warmer.\n\n**Preference: First**\n", FIRST, "length"),
    Answer("cut_in_explanation", "Preference: First\n\nTo explain this choice: the user asked for", NONE, "length"),
    Answer("cut_in_reasoning", "The First response is brief, while the Second", NONE, "length"),
    Answer("cut_before_label", "It is warmer.\nPreference:", NONE, "length"),
    Answer("cut_in_label", "It is warmer.\nPreference: Fir", NONE, "length"),
    Answer("cut_in_clause", "Preference: First is too long for this user, and so", NONE, "length"),
    Answer("cut_in_thought", "<think>\nPreference: First would be natural, but the", NONE, "length"),
)

ANSWERS = (*LAYOUT, *QUOTED, *SENTENCES, *THOUGHT_AND_CORRECTED, *WITHOUT_VERDICT, *CUT)


@pytest.mark.parametrize("answer", ANSWERS, ids=[answer.name for answer in ANSWERS])
def test_an_answer_is_read_as_a_careful_human_reads_it(answer: Answer) -> None:
    cut = is_cut(Response(answer.text, answer.finish, Usage()))
    assert parse_verdict(answer.text, cut=cut) == answer.noted


def test_names_are_unique() -> None:
    assert len({answer.name for answer in ANSWERS}) == len(ANSWERS) >= 60
