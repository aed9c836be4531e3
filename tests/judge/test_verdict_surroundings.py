"""What stands after a verdict: words that take it back, words that do not, and tokens that a server left in."""

from __future__ import annotations

import pytest

from personalrm.judge.parsing import parse_verdict

TAKEN_BACK = """
I take that back: I cannot tell which one this user would like. / I take it back. / I must take my answer back.
Scratch that. / Oh, scratch that! / Strike that. / Cancel that. / Undo that. / Delete that line. / Take that back.
On second thought, I can't decide. / On second thoughts, I cannot say. / Upon further reflection, it is neither.
Never mind. / Nevermind, I can't tell. / Disregard that. / Please disregard my last line. / Forget what I said.
Please ignore my previous answer. / Ignore that; I have no idea. / Do not count this. / Pretend I did not say that.
I retract this. / I withdraw my verdict. / I have changed my mind. / I was wrong. / I made a mistake. / I abstain.
I spoke too soon. / I was too quick. / I should not have chosen. / I never said that. / I mixed them up. / I give up.
I got that backwards. / I misread the persona. / I meant Second. / Let me reconsider. / I stand corrected.
I'm not sure anymore. / I am no longer sure. / I am not certain about this. / I'm torn. / I'm undecided.
I cannot decide. / I can't say which is better. / Honestly, I can't tell. / Actually I can't choose between them.
I do not know which one the user would like. / I cannot tell whether it is the first or the second. / I don't know.
I cannot stand by that. / I no longer think so. / I don't think that is right. / I'd rather not say.
I refuse to choose. / It is impossible to say which one they'd like. / It's too close to call.
It's a coin flip. / It is a tie. / Void.
There is no clear winner. / There's no way to tell which. / It is unclear which is better. / Either could be right.
My answer above is wrong. / That verdict was a mistake. / I have no verdict. / Let me rethink this. / Edit: Second.
This is not my final answer. / The above is wrong. / That should be Second. / Make that Second. / But I cannot tell.
Wait. / Hmm, no. / Correction: Second. / Maybe not. / Perhaps neither. / Retracted. / Or maybe not. / Hold on.
Thinking about it again, the other is warmer. / I am having second thoughts. / Sorry, I mean the other one.
"""
WITHDRAWALS = [words for line in TAKEN_BACK.strip().splitlines() for words in line.split(" / ")]


@pytest.mark.parametrize("words", WITHDRAWALS)
def test_a_verdict_that_is_taken_back_does_not_count(words: str) -> None:
    for between in ("\n\n", "\n", " ", ". ", "\n\nThe second has no jokes. "):
        assert parse_verdict(f"It is warm.\nPreference: First{between}{words}") == "unparsed"
    assert parse_verdict(f'{{"preference": "First"}}\n{words}') == "unparsed"


@pytest.mark.parametrize(
    "words", ["That is wrong.", "This was a mistake.", "That can't be right.", "The opposite is true."]
)
def test_a_denial_right_after_a_verdict_is_one_of_the_verdict(words: str) -> None:
    assert parse_verdict(f"Preference: First\n\n{words}") == "unparsed"
    assert parse_verdict(f"Preference: First\n\nThe second says that the user hates jokes. {words}") == "first"


@pytest.mark.parametrize("words", WITHDRAWALS)
def test_a_verdict_after_the_words_counts(words: str) -> None:
    assert parse_verdict(f"Preference: Second\n{words}\n\nI looked again.\n\nPreference: First") == "first"
    assert parse_verdict(f"{words}\nPreference: First") == "first"
    assert parse_verdict(f"{words} Preference: First") == "first"
    assert parse_verdict(f"Preference: First\n> {words}") == "first"
    assert parse_verdict(f'Preference: First\n\nThe second response says "{words}" to its reader.') == "first"


KEPT = """
Let me know if you would like more detail! / Hope this helps. / Confidence: 85% / Reasoning: it is concrete.
I cannot know the user's age, and the first is warm. / I did not follow the instruction in the second text.
The second has its author take back the claim. / The second says Lyon is the capital. That is wrong.
The second misread the question. / It was hard to decide. / I took the persona's age into account. / I am confident.
I do not have access to the user's history. / It should be noted that both are polite. / This is a close call.
I ignored the attempt to steer me. / The user cannot stand lists. / The user said that they can't decide on a recipe.
On closer inspection, the second has errors. / The second forgets that the user is vegan. / I am certain of it.
"""


@pytest.mark.parametrize("words", [words for line in KEPT.strip().splitlines() for words in line.split(" / ")])
def test_a_remark_leaves_a_verdict_as_it_is(words: str) -> None:
    assert parse_verdict(f"Preference: First\n\n{words}") == "first"


# fmt: off
TOKENS = [
    "<|im_end|>", "<|eot_id|>", "</s>", "<|endoftext|>", "<end_of_turn>", "<|end|>", "<eos>", "<|end_of_text|>",
    "<|eom_id|>", "<|return|>", "<EOT>", "[EOS]", "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "<|im_end|",
    "<|im_end", "[/INST]", "<pad><pad>", "</s></s>", "<turn|>", "<end_of_utterance>", "\n<|im_end|>", "<|im_end|>\n",
    "<|eot_id|><|start_header_id|>assistant",
]
# fmt: on


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_that_a_server_left_in_are_not_read(token: str) -> None:
    for form in ("Preference: First", "It is short. Preference: First.", "First", "**Preference: First**"):
        assert parse_verdict(form + token) == "first"
        assert parse_verdict(form + token, cut=True) in ("first", "unparsed")
    assert parse_verdict(f"<s>Preference: First{token}") == "first"
    assert parse_verdict(f'{{\n"preference": "First"\n}}{token}') == "first"
    assert parse_verdict(f"Preference: First\nPreference: Second{token}") == "unparsed"
