"""Program files of an optimised persona prompt, and what they change in the one call that writes a persona."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support.models import ScriptedModel, pair, text

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import Demonstration, NoResult, PreferencePair, Turn, UserData
from personalrm.methods.synthesizeme.persona import PersonaSettings, induce_persona, persona_messages
from personalrm.methods.synthesizeme.theta import (
    PersonaDemonstration,
    Theta,
    parse_judgements,
    read_theta,
    saved_judgements,
    text_keys,
)
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import missing
from personalrm.studies.study import Needs
from personalrm.studies.synthesizeme.stages.learn import used_by_theta

RULER = "=" * 48


def as_in_the_package(
    *conversation: str, first: str = "Short.", second: str = "Long.", chose: str = "First", why: str = ""
) -> str:
    """One judgement in the layout of the package's program files. Turns alternate, and the user has the first."""
    turns = "\n\n".join(f"[{('user', 'model')[n % 2]}]: {said}" for n, said in enumerate(conversation))
    reasoning = f"    **Reasoning**: «{why}»\n===\n" if why else ""
    return (
        f"{RULER}\n**Conversation**: {turns}\n===\n"
        f"    **Completion One (FIRST COMPLETION)**: «[model]: {first}»\n===\n"
        f"    **Completion Two (SECOND COMPLETION)**: «[model]: {second}»\n===\n"
        f"{reasoning}    **TRUE USER PREFERENCE**: {chose}\n{RULER}\n\n"
    )


TEA = as_in_the_package("How do I make tea?", why="One line\n===\nand another.")
RAIN = as_in_the_package("Hi", "Hello.\n\nWhat now?", "Will it rain?", first="No.", second="Yes.", chose="Second")


def program(**changes: object) -> dict[str, Any]:
    predictor = {
        "demos": [
            {
                "augmented": True,
                "past_judgements": f"{TEA}\n\n{RAIN}",
                "reasoning": "r",
                "synthesized_persona": "Likes short.",
            },
            {"past_judgements": RAIN, "persona": "Likes rain."},
        ],
        "signature": {"instructions": " Say who this is. ", "fields": []},
    }
    return {"synthesize.predict": {**predictor, **changes}, "metadata": {"dependency_versions": {"dspy": "2.6.12"}}}


def written(folder: Path, content: object) -> Path:
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_program_as_dspy_saves_it_is_read_down_to_its_judgements(tmp_path: Path) -> None:
    theta = read_theta(written(tmp_path, program()))
    assert (theta.name, theta.instruction) == ("mine", "Say who this is.")
    assert [shown.persona for shown in theta.demonstrations] == ["Likes short.", "Likes rain."]
    tea, rain = theta.demonstrations[0].judgements
    assert (tea.pair.chosen, tea.pair.rejected, tea.swapped) == ("Short.", "Long.", False)
    assert tea.reasoning == "One line\n===\nand another."
    assert (rain.pair.chosen, rain.pair.rejected, rain.swapped, rain.reasoning) == ("Yes.", "No.", True, None)
    said = [("user", "Hi"), ("assistant", "Hello.\n\nWhat now?"), ("user", "Will it rain?")]
    assert [(turn.role, turn.content) for turn in rain.pair.context] == said
    assert theta.label != Theta("mine", "Say who this is.").label


@pytest.mark.parametrize("text", ["", "A chose short.", f"{TEA}then words", TEA.replace("[user]: ", ""), TEA[:-60]])
def test_a_text_in_another_layout_holds_no_judgement(text: str) -> None:
    assert parse_judgements(text) == ()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "mine.json: is no JSON"),
        ([], "holds 0 predictors"),
        ({**program(), "other": {}}, "holds 2 predictors"),
        (program(signature={"instructions": " "}), "synthesize.predict.signature.instructions"),
        (program(demos={}), "synthesize.predict.demos: is no list"),
        (program(demos=[{"past_judgements": "x"}]), r"demos\[0\]: needs the texts past_judgements"),
        (program(demos=["x"]), r"demos\[0\]"),
        (
            program(demos=[{"past_judgements": "A chose short.", "persona": "p"}]),
            r"demos\[0\].past_judgements: is not in",
        ),
        (program(demos=[{"past_judgements": "", "persona": "p", "judgements": []}]), "judgements: is no list of judge"),
        (program(demos=[{"past_judgements": "", "persona": "p", "judgements": [{}]}]), "judgements: context: "),
    ],
)
def test_what_is_wrong_with_a_program_is_named(tmp_path: Path, content: object, named: str) -> None:
    with pytest.raises(DataError, match=named):
        read_theta(written(tmp_path, content))


def test_a_missing_program_is_named_before_anything_is_paid_for(tmp_path: Path) -> None:
    raw = {"run": "r", "datasets": {"d": {"path": "votes"}}, "models": {"m": {"model": "openai/x"}}}
    raw |= {"variants": ["corrected+mine"], "learn": {"models": ["m"]}}
    with pytest.raises(ConfigError, match=r"variants: 'corrected\+mine': no Theta 'mine' under 'thetas'"):
        parse_config(raw)
    config = parse_config(raw | {"thetas": {"mine": {"path": str(tmp_path / "mine.json")}}})
    (problem,) = missing(config, Needs())
    assert problem.startswith("thetas.mine.path: ")
    assert "cannot be read" in problem
    written(tmp_path, program())
    assert missing(config, Needs()) == []


def test_unknown_variants_are_named() -> None:
    raw = {"run": "r", "datasets": {"d": {"path": "votes"}}, "variants": ["mended", "corrected+"]}
    with pytest.raises(ConfigError, match=r"variants: no variant 'mended'.*\n.*no variant 'corrected\+'"):
        parse_config(raw)


@pytest.mark.parametrize("style", ["standard", "compact"])
def test_instruction_takes_the_place_of_the_request(style: Any) -> None:  # noqa: ANN401
    model = ScriptedModel(lambda _: text("Likes tea."))
    shown = [Demonstration(pair=pair("p"), swapped=False)]
    asyncio.run(induce_persona(model, shown, PersonaSettings(style, theta=Theta("mine", "Say who this is."))))
    asyncio.run(induce_persona(model, shown, PersonaSettings(style)))
    with_theta, without = (list(request.messages) for request in model.requests.values())
    assert with_theta[1].content.endswith("Say who this is.")
    assert "Say who this is." not in without[1].content
    assert with_theta[1].content.splitlines()[0] == without[1].content.splitlines()[0]


@pytest.mark.parametrize("style", ["standard", "compact"])
@pytest.mark.parametrize("ours", [False, True], ids=["file of the package", "file of ours"])
def test_all_judgements_of_one_prompt_have_one_layout(tmp_path: Path, style: Any, ours: bool) -> None:  # noqa: ANN401
    theta = read_theta(written(tmp_path, program()))
    if ours:
        demos = [
            {
                "past_judgements": "",
                "judgements": saved_judgements(shown.judgements),
                "synthesized_persona": shown.persona,
            }
            for shown in theta.demonstrations
        ]
        theta = read_theta(written(tmp_path, program(demos=demos)))
    # The user chose as the first demonstration does: its turn is the user's own, byte for byte.
    own = theta.demonstrations[0].judgements
    messages = persona_messages(own, PersonaSettings(style, theta=theta))
    turns = [message.content for message in messages if message.role == "user"]
    assert len(turns) == 3
    assert turns[0] == turns[2]
    assert not any(mark in turn for turn in turns for mark in ("====", "«", "Completion", "PREFERENCE"))
    assert all(turn.endswith("Say who this is.") for turn in turns)
    roles = [message.role for message in messages[:6]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [messages[2].content, messages[4].content] == ["Likes short.", "Likes rain."]
    asked = PersonaSettings(style, theta=Theta("t", theta.instruction))
    for turn, shown in zip(turns, theta.demonstrations, strict=False):
        assert persona_messages(shown.judgements, asked)[1].content == turn


LONG = "It will rain for most of the day in the north, and the south will see sun after noon; " * 2


def voted(*conversation: str, chosen: str = "a", rejected: str = "b", name: str = "p") -> PreferencePair:
    turns = tuple(
        Turn.model_validate({"role": ("user", "assistant")[n % 2], "content": said})
        for n, said in enumerate(conversation)
    )
    return PreferencePair(user_id="u", pair_id=name, context=turns, chosen=chosen, rejected=rejected)


@pytest.mark.parametrize(
    ("votes", "known"),
    [
        ([voted("Will it rain?", chosen="x"), voted("How do I make tea?", chosen="Long.", rejected="Short.")], True),
        ([voted(" how do I  make TEA", chosen="“short”", rejected="long")], True),
        ([voted("How do I make tea?", chosen="Short.", rejected="Middling.")], False),
        ([voted("How do I make coffee?", chosen="Short.", rejected="Long.")], False),
        ([voted("And then?", chosen=LONG, rejected="Other.")], True),
        ([voted("And then?", LONG, "Thanks", chosen="Bye.", rejected="So long.")], True),
        ([voted("And now?", chosen=LONG, rejected="Other.")], False),
        ([], False),
    ],
    ids=["both answers", "folded", "one short answer", "question", "one long answer", "earlier turn", "other", "none"],
)
def test_a_user_whose_judgements_stand_in_the_file_has_no_row_and_the_row_says_why(
    tmp_path: Path, votes: list[PreferencePair], known: bool
) -> None:
    held = f"{TEA}\n\n{as_in_the_package('And then?', first='No idea.', second=LONG)}"
    path = written(tmp_path, program(demos=[{"past_judgements": held, "persona": "Likes tea."}]))
    config = parse_config(
        {
            "run": "x",
            "datasets": {"d": {"path": "votes.jsonl"}},
            "models": {"m": {"model": "gpt"}},
            "learn": {"models": ["m"]},
            "variants": ["corrected", "corrected+mine"],
            "thetas": {"mine": {"path": str(path)}},
        }
    )
    who = UserData(dataset="d", user_id="u", pairs=tuple(votes))
    said = NoResult("not_applicable", "judgements of this user stand in the file of Theta mine")
    assert used_by_theta(config, "corrected+mine", who, read_theta(path)) == (said if known else None)
    assert used_by_theta(config, "corrected", who, None) is None


def test_a_found_theta_knows_its_train_users_in_another_run_too(tmp_path: Path) -> None:
    train, other = voted("How do I make tea?"), voted("Will it rain?")
    content = program(demos=[]) | {"metadata": {"provenance": {"seen_texts": sorted(text_keys(train))}}}
    theta = read_theta(written(tmp_path, content))
    assert theta.holds([other, train])
    assert not theta.holds([other])


def test_a_prompt_shows_no_demonstration_of_the_user_whom_it_is_about() -> None:
    mine, others = (
        PersonaDemonstration((Demonstration(pair=voted(question), swapped=False),), f"Likes {question}")
        for question in ("tea?", "rain?")
    )
    assert Theta("t", "i", (mine, others)).without([voted("cake?"), voted("Tea")]) == (others,)


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (None, NoResult("not_applicable", "d has no user split to keep Theta's users apart")),
        ("train", NoResult("empty", "Theta ours was found on the train users")),
        ("test", None),
    ],
)
def test_users_that_a_theta_was_found_on_have_no_row_nor_those_without_a_level(
    level: str | None, said: NoResult | None
) -> None:
    config = parse_config(
        {
            "run": "x",
            "datasets": {"d": {"path": "votes.jsonl"}},
            "models": {"m": {"model": "gpt"}},
            "learn": {"models": ["m"]},
            "variants": ["corrected", "corrected+ours"],
            "thetas": {"ours": {"optimise": {}}},
        }
    )
    user = UserData.model_validate({"dataset": "d", "user_id": "u", "user_split": level})
    assert used_by_theta(config, "corrected+ours", user, None) == said
    assert used_by_theta(config, "corrected", user, None) is None
