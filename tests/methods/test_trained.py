"""What a fine-tuned reward model reads of a user."""

from __future__ import annotations

import pytest
from support.models import pair

from personalrm.core.errors import ConfigError
from personalrm.core.records import Demonstration
from personalrm.judge.judge import JudgeContext
from personalrm.methods.base import Method
from personalrm.methods.registry import METHODS
from personalrm.methods.trained import compare, for_all, system_turn


def test_the_system_turn_has_persona_and_answers_without_reasoning() -> None:
    assert system_turn(JudgeContext()) == ""
    persona = system_turn(JudgeContext("Likes lists."))
    assert persona == "What is known about this user:\nLikes lists."
    shown = Demonstration(pair=pair("p", chosen="Good.", rejected="Bad."), swapped=True, reasoning="SECRET")
    both = system_turn(JudgeContext("Likes lists.", (shown, shown)))
    assert both.startswith(f"{persona}\n\nAnswers that this user chose, each with one that the user did not choose:\n")
    assert both.count("\nChosen:\nGood. p\n\nNot chosen:\nBad. p") == 2
    assert "SECRET" not in both
    alone = system_turn(JudgeContext(None, (shown,)))
    assert both.startswith(f"{persona}\n\n{alone}\n\n--- Example 2 ---")


def test_each_reads_what_a_judge_is_told() -> None:
    shown = {name: method.shows for name, method in METHODS.items() if method.shows}
    own = {f"bt_{name}": name for name in ("persona", "both", "measured_persona", "oracle")}
    assert shown == {**own, "bt_persona_other_user": "persona"}
    assert {name for name in shown if METHODS[name].other_user} == {"bt_persona_other_user"}
    assert METHODS["bt_both"].stages == METHODS["both"].stages
    assert {name: METHODS[name].by_k for name in shown} == {name: name != "bt_oracle" for name in shown}
    with pytest.raises(ConfigError, match="shows something before conversations, so that it needs a reward model"):
        Method("wrong", "nothing", for_all, judge=compare, shows="persona")
