"""The library and the workflow ask the same and learn the same: they are the same functions under the same settings."""

from __future__ import annotations

from pathlib import Path

from support.scripted_server import ScriptedServer
from support.stages import bundled, measure_stages, run_stages
from support.traits import BANK, says

from personalrm import TasteModel
from personalrm.app.library.data import to_item

from .conftest import judge_of, prompts

VOTES = Path(__file__).parents[3] / "resources" / "quickstart" / "votes.jsonl"


def test_library_and_workflow_ask_and_learn_the_same(tmp_path: Path) -> None:
    user = bundled("dalia")
    with ScriptedServer() as server:
        theirs, judged = run_stages(user, server.url, tmp_path)
        asked_by_workflow = prompts(server)
    parts = {part: [to_item(pair) for pair in user.part(part)] for part in ("context", "validation", "test")}
    # At the same address, which the keys of calls depend on.
    with ScriptedServer(port=server.port) as server:
        rm = judge_of(server, num_search_candidates=2).fit(parts["context"], parts["validation"])
        verdicts = rm.evaluate(parts["test"]).verdicts
        assert prompts(server) == asked_by_workflow
    own = {"dataset": theirs.dataset, "model": theirs.model, "demonstrations": (), "plain_demonstrations": ()}
    assert rm.profile.model_copy(update=own) == theirs.model_copy(update=own)
    for name in ("demonstrations", "plain_demonstrations"):
        ours = [(demo.pair.pair_id, demo.swapped, demo.reasoning) for demo in getattr(rm.profile, name)]
        assert ours == [(demo.pair.pair_id, demo.swapped, demo.reasoning) for demo in getattr(theirs, name)]
    assert verdicts == judged.verdicts


def test_library_and_workflow_measure_the_same_taste(tmp_path: Path) -> None:
    user, bank = bundled("hugo"), tmp_path / "bank.yaml"
    bank.write_text(BANK, encoding="utf-8")
    with ScriptedServer(says) as server:
        theirs, judged = measure_stages(user, server.url, bank, tmp_path)
        asked_by_workflow = prompts(server)
    parts = {part: [to_item(pair) for pair in user.part(part)] for part in ("context", "validation", "test")}
    with ScriptedServer(says, port=server.port) as server:
        rm = TasteModel("some/model", model_url=server.url, bank=bank).fit(parts["context"], parts["validation"])
        assert rm.evaluate(parts["test"]).verdicts == judged.verdicts
        assert prompts(server) == asked_by_workflow
    own = {"dataset": theirs.dataset, "model": theirs.model}
    assert rm.learned.record.model_copy(update=own) == theirs
