"""Program files of an optimised persona prompt, and what they change in the one call that writes a persona."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support.models import ScriptedModel, pair, text

from personalrm.config_load import parse_config
from personalrm.errors import ConfigError, DataError
from personalrm.persona import PersonaSettings, induce_persona
from personalrm.preflight import Needs, missing
from personalrm.records import Absent, Demonstration, UserData
from personalrm.stages.learn import used_by_theta
from personalrm.theta import Theta, read_theta


def program(**changes: object) -> dict[str, Any]:
    predictor = {
        "demos": [
            {
                "augmented": True,
                "past_judgements": "A chose short.",
                "reasoning": "r",
                "synthesized_persona": "Likes short.",
            },
            {"past_judgements": "B chose long.", "persona": "Likes long."},
        ],
        "signature": {"instructions": " Say who this is. ", "fields": []},
    }
    return {"synthesize.predict": {**predictor, **changes}, "metadata": {"dependency_versions": {"dspy": "2.6.12"}}}


def written(folder: Path, content: object) -> Path:
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_program_as_dspy_saves_it_is_read(tmp_path: Path) -> None:
    theta = read_theta(written(tmp_path, program()))
    shown = (("A chose short.", "Likes short."), ("B chose long.", "Likes long."))
    assert theta == Theta("mine", "Say who this is.", shown)
    assert theta.label != Theta("mine", "Say who this is.").label


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
def test_instruction_takes_the_place_of_the_request_and_demonstrations_stand_before(style: Any) -> None:  # noqa: ANN401
    theta = Theta("mine", "Say who this is.", (("A chose short.", "Likes short."),))
    model = ScriptedModel(lambda _: text("Likes tea."))
    shown = [Demonstration(pair=pair("p"), swapped=False)]
    asyncio.run(induce_persona(model, shown, PersonaSettings(style, theta=theta)))
    asyncio.run(induce_persona(model, shown, PersonaSettings(style)))
    with_theta, without = (list(request.messages) for request in model.requests.values())
    assert [message.content for message in with_theta[1:3]] == ["A chose short.", "Likes short."]
    assert [message.role for message in with_theta[:4]] == ["system", "user", "assistant", "user"]
    assert with_theta[3].content.endswith("Say who this is.")
    assert "Say who this is." not in without[1].content
    assert with_theta[3].content.splitlines()[0] == without[1].content.splitlines()[0]


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (None, Absent("not_applicable", "d has no level A to keep Theta's users apart")),
        ("train", Absent("empty", "Theta ours was found on the train users")),
        ("test", None),
    ],
)
def test_users_that_a_theta_was_found_on_have_no_row_nor_those_without_a_level(
    level: str | None, said: Absent | None
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
    user = UserData.model_validate({"dataset": "d", "user_id": "u", "level_a": level})
    assert used_by_theta(config, "corrected+ours", user) == said
    assert used_by_theta(config, "corrected", user) is None
