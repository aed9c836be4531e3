"""Recovery of planted facts: what is asked of whom, what is kept, what the table makes of it, and wrong rubrics."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.models import ScriptedModel, last_user, letters, text

from personalrm.core.errors import DataError, ModelCallError, RateLimited
from personalrm.llm.types import Request, Response
from personalrm.personas.records import UserRecovery
from personalrm.personas.recovery import RecoveryQuestion, read_rubric
from personalrm.results.table_formats import write_table
from personalrm.results.tables.recovery_table import (
    RECOVERY_COLUMNS,
    RESULT,
    recovery_blocks,
    recovery_notes,
    recovery_table,
)
from personalrm.studies.synthesizeme.stages.analysing import judge_recovery

ROOT = Path(__file__).parents[2]
PERSONAS = {"ann": "Ann likes tea and jam.", "ben": "Ben likes jam.", "cy": "Cy likes soup."}
FACTS = ("likes tea", "likes jam")


def words(request: Request) -> str:
    return last_user(request)


def listed(request: Request) -> Response:
    """Says that a description states a fact where the thing that is liked stands in it."""
    description, _, facts = words(request).partition("Facts:")
    things = re.findall(r"\d\. The person likes (\w+)\.", facts)
    return text("\n".join(f"{i}: {'yes' if thing in description else 'no'}" for i, thing in enumerate(things, 1)))


def lettered(request: Request) -> Response:
    """The same by letters."""
    description, _, rest = words(request).partition("Fact:")
    says = re.findall(r"likes (\w+)\.", rest)[0] in description
    return letters(A=0.9, B=0.1) if says == ("A: the description states it" in rest) else letters(A=0.1, B=0.9)


def base(user: str = "ann", facts: tuple[str, ...] = FACTS) -> UserRecovery:
    return UserRecovery(
        dataset="d", user_id=user, variant="corrected", profile_model="m", judge_model="m", k="all", facts=facts
    )


@pytest.mark.parametrize(("style", "calls"), [("standard", 3), ("compact", 12)])
def test_each_persona_is_read_with_the_users_facts(style: str, calls: int) -> None:
    model = ScriptedModel(listed if style == "standard" else lettered)
    question = RecoveryQuestion(style=style)  # type: ignore[arg-type]
    found = asyncio.run(judge_recovery(model, PERSONAS, base(), question))
    assert found.stated == {"ann": (True, True), "ben": (False, True), "cy": (False, False)}
    assert next(iter(found.stated)) == "ann"
    assert (found.asked, found.failed, len(found.calls)) == (calls, 0, calls)
    assert list(found.prompts) == [f"recovery_{style}"]


def test_who_has_no_facts_or_no_persona_is_not_asked_about() -> None:
    model = ScriptedModel(listed)
    for given, missing in ((base(facts=()), "no facts"), (base("eve"), "no persona")):
        assert asyncio.run(judge_recovery(model, PERSONAS, given, RecoveryQuestion())).missing == missing
    assert not model.requests


def test_a_failed_call_is_no_answer_and_is_counted() -> None:
    def fails_on_cy(request: Request) -> Response | ModelCallError:
        return RateLimited("busy") if "Cy" in words(request) else listed(request)

    found = asyncio.run(judge_recovery(ScriptedModel(fails_on_cy), PERSONAS, base(), RecoveryQuestion()))
    assert (found.stated["cy"], found.asked, found.failed) == ((None, None), 3, 1)


def row(user: str, stated: Mapping[str, tuple[bool | None, ...]], **changes: object) -> UserRecovery:
    return base(user).model_copy(update={"stated": stated, "asked": 2 * len(stated), **changes})


ROWS = [
    row("ann", {"ann": (True, True), "ben": (True, False), "cy": (False, False)}),
    row("ben", {"ben": (True, None), "ann": (None, False), "cy": (False, True)}),
    row("cy", {}, missing="no persona"),
    row("dee", {}, missing="no facts"),
]


def test_the_table_by_hand(tmp_path: Path) -> None:
    table = recovery_table(ROWS, seed=1, n_resamples=200)
    assert list(table.columns) == list(RECOVERY_COLUMNS)
    assert table["user"].tolist() == ["all", "ann", "ben"]
    whole = table.iloc[0]
    assert whole[["n_users", "no_facts", "no_persona", "n_facts", "unread"]].tolist() == [2, 1, 1, 4, 2]
    # Ann 100 %, ben 100 % (one fact was read); others 25 % and 33.3 %.
    assert table["own"].tolist() == [100, 100, 100]
    assert table["other"].tolist() == pytest.approx([(25 + 100 / 3) / 2, 25, 100 / 3], abs=1e-3)
    assert whole["difference"] == pytest.approx(100 - (25 + 100 / 3) / 2, abs=1e-3)
    assert whole["ci_low"] <= whole["difference"] <= whole["ci_high"]
    # Two users whose signs agree, of four ways to sign them: two as far out.
    assert whole["p_value"] == 0.5
    assert not whole["outage"]
    assert table.equals(recovery_table(ROWS[::-1], seed=1, n_resamples=200))
    write_table(
        table,
        tmp_path / "recovery",
        caption=RESULT.title,
        notes=recovery_notes(table, 2),
        blocks=recovery_blocks(table),
    )
    shown = (tmp_path / "recovery.md").read_text(encoding="utf-8")
    # Both users have all: four facts leave the mean of others open.
    assert 0 < whole["own_low"] < 60
    assert rf"100.00 \[{whole['own_low']:.1f}, 100.0\]" in shown
    assert "personas of 2 other users" in shown


def test_without_a_user_or_with_an_outage_the_table_says_so() -> None:
    nobody = recovery_table([ROWS[2], ROWS[3]], seed=1, n_resamples=50)
    assert nobody["own"].isna().all()
    assert recovery_blocks(nobody)
    lost = recovery_table([ROWS[0].model_copy(update={"failed": 3})], seed=1, n_resamples=50)
    assert lost["outage"].tolist() == [True, True]


def test_the_bundled_rubric_has_facts_of_every_bundled_user() -> None:
    folder = ROOT / "resources" / "quickstart"
    rubric = read_rubric(folder / "rubric.json")
    assert list(rubric) == sorted(json.loads((folder / "tastes.json").read_text(encoding="utf-8")))
    assert all(2 <= len(facts) <= 4 for facts in rubric.values())


@pytest.mark.parametrize("content", [None, "{", "[]", '{"ann": []}', '{"ann": ["x", 3], "bo": []}', '{"ann": [" "]}'])
def test_a_wrong_rubric_is_named_in_one_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "rubric.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(str(path))) as raised:
        read_rubric(path)
    assert len(str(raised.value).splitlines()) == 1
