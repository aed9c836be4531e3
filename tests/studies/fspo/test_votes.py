"""Labels of synthetic users as votes of the main study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import ScriptedServer
from support.synthetic_world import world

from personalrm.app.cli import main
from personalrm.core.errors import DataError
from personalrm.core.records import UserData, read_records
from personalrm.studies.config_load import parse_config, write_resolved
from personalrm.studies.fspo.export import export_votes
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.manifest import manifest_stage
from personalrm.studies.synthesizeme.plan import Plan as MainPlan
from personalrm.studies.synthesizeme.stages.prepare import prepare_stage
from studies.fspo.cases import run

DOMAIN = {
    "traits": {
        "likes": {"red": "The person wants red.", "blue": "The person wants blue."},
        "hopes": {"green": "The person wants green.", "tea": "The person hopes for tea."},
    },
    "people": {"interpolated": True, "held_out": 0.25},
    "questions": {"general": 8},
    "pairs": {"shared": 16, "own": 0},
    "licence": "MIT",
}


def finished(folder: Path) -> Plan:
    with ScriptedServer(world()) as server:
        plan = run(folder, server.url, domain=DOMAIN)
        write_resolved(folder / "run.json", plan.config)
        manifest_stage(folder / "run.json", Path(plan.run) / "manifest.json")
    return plan


def test_votes_carry_the_planted_tastes_and_the_parts_of_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = finished(tmp_path)
    out = tmp_path / "votes"
    call = ["synthesise", str(out), "--run", plan.run, "--domain", "d"]
    assert main(call) == 0
    assert "labels kept: " in capsys.readouterr().out
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in (out / "votes.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert len(rows) == card["labels"]["kept"] == sum(part["votes"] for part in card["measured"].values())
    assert {row["user_id"] for row in rows} == {"red", "blue", "green", "tea", "green-red", "green-blue"}
    tastes = json.loads((out / "tastes.json").read_text(encoding="utf-8"))
    for row in rows:
        wanted = [word for word in ("red", "blue", "green") if f"wants {word}." in tastes[row["user_id"]]["taste"]]
        offered = [any(f"offers {word}." in row[side]["content"] for word in wanted) for side in ("chosen", "rejected")]
        assert offered == [True, False]
    raw = {
        "run": "main",
        "results": str(tmp_path / "results"),
        "datasets": {
            "synthetic": {
                "path": str(out / "votes.jsonl"),
                "planted": str(out / "tastes.json"),
                "shards": 1,
                "min_pairs": 3,
            },
        },
        "models": {"m": {"backend": "openai", "model": "m", "api_base": "http://x/v1"}},
        "learn": {"models": ["m"]},
        "methods": ["default", "persona", "oracle", "words"],
    }
    main_plan = MainPlan(parse_config(raw))
    prepare_stage(main_plan, "synthetic")
    users = list(read_records(Path(main_plan.prepared_paths("synthetic")[0]), UserData))
    parts = {user.user_id: user.user_split for user in users}
    assert {tastes[name]["part"]: part for name, part in parts.items()} == {
        **{"train": "train", "held_out": "test", "interpolated": "test"},
    }
    assert all(user.planted_taste == tastes[user.user_id]["taste"] for user in users)
    assert main(call) == 1
    assert "is not an empty folder" in capsys.readouterr().err
    before = (out / "votes.jsonl").read_bytes()
    assert main([*call, "--force"]) == 0
    assert (out / "votes.jsonl").read_bytes() == before


def test_what_cannot_be_exported_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synthesise", str(tmp_path / "o"), "--run", str(tmp_path), "--domain", "d"]) == 1
    assert "no finished run of the study fspo" in capsys.readouterr().err
    assert main(["synthesise", str(tmp_path / "o")]) == 2
    assert main(["synthesise", str(tmp_path / "o"), "--run", str(tmp_path)]) == 2
    plan = finished(tmp_path)
    assert main(["synthesise", str(tmp_path / "o"), "--run", plan.run, "--domain", "x"]) == 1
    assert "has no domain 'x'; there are d" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{}", '{"config": {"study": "tailoring"}}'])
def test_a_manifest_of_something_else_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"no run of the study fspo \(manifest\.json is of something else\)"):
        export_votes(tmp_path, "d", tmp_path / "o")


def test_files_that_are_missing_or_do_not_belong_together_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = finished(tmp_path)
    run = Path(plan.run)
    with pytest.raises(DataError, match=r"run\.json/o: cannot be made"):
        export_votes(run, "d", tmp_path / "run.json" / "o")
    monkeypatch.chdir(run)
    export_votes(Path(), "d", tmp_path / "o")
    (pairs,) = (Path(path) for path in plan.paths("pair_answers"))
    rows = pairs.read_text(encoding="utf-8").splitlines(keepends=True)
    pairs.write_text("".join(rows[len(rows) // 2 :]), encoding="utf-8")
    with pytest.raises(DataError, match="the labels of d are not of its users and pairs"):
        export_votes(run, "d", tmp_path / "p")
    pairs.unlink()
    with pytest.raises(DataError, match=r"no .*/pairs/d\.jsonl; run the workflow first"):
        export_votes(run, "d", tmp_path / "p")
