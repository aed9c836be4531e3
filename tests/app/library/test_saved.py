"""Saving and loading: a loaded object is as good as the fitted one, and no file holds a key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.models import ScriptedModel
from support.scripted_server import ScriptedServer

from personalrm import SynthesizeMe
from personalrm.app.library.models import MODEL
from personalrm.core.errors import ConfigError, DataError

from .conftest import items, judge_of, prefers_bad
from .test_loop import answer

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("place", ["folder", "folder/mine.json"])
def test_a_loaded_object_is_as_good_as_the_fitted_one(place: str, server: ScriptedServer, tmp_path: Path) -> None:
    rm = judge_of(server, user_id="ann/../x").fit(items(6))
    file = rm.save(tmp_path / place)
    assert file.parent == tmp_path / "folder"
    for loaded in (
        judge_of(server).load(tmp_path / place),
        judge_of(server, user_id="ann/../x").load(file),
        SynthesizeMe.from_saved(tmp_path / place),
    ):
        assert loaded.is_fitted
        assert loaded.user_id == "ann/../x"
        assert loaded.profile == rm.profile
        assert loaded.get_judge_prompt() == rm.get_judge_prompt()
        assert loaded.predict_pairwise("Which?", "BAD", "GOOD") == -1
        assert loaded.evaluate(items(2)) == rm.evaluate(items(2))


def test_another_process_can_go_on(server: ScriptedServer, tmp_path: Path) -> None:
    judge_of(server).fit(items(5)).save(tmp_path)
    code = (
        "import sys; from personalrm import SynthesizeMe\n"
        "rm = SynthesizeMe.from_saved(sys.argv[1])\n"
        "print(rm.predict_pairwise('Which?', 'GOOD', 'BAD'), rm.get_persona())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "workflow"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "1 Likes what is good.\n"


def test_from_saved_takes_the_settings_and_what_shall_differ(server: ScriptedServer, tmp_path: Path) -> None:
    saved = judge_of(server, seed=7, num_workers=3).fit(items(5)).save(tmp_path)
    same = SynthesizeMe.from_saved(saved)
    entry = same.config.models[MODEL]
    assert (same.config.seed, entry.max_concurrency, same.model_id) == (7, 3, "some/model")
    with ScriptedServer(prefers_bad) as other:
        moved = SynthesizeMe.from_saved(saved, model_id="other", model_url=other.url)
        assert moved.predict_pairwise("Which?", "GOOD", "BAD") == -1
        assert {body["model"] for body in other.requests} == {"other"}
    with pytest.raises(ConfigError, match=r"^sede: no setting"):
        SynthesizeMe.from_saved(saved, sede=3)


def test_a_file_of_the_version_before_is_read(server: ScriptedServer, tmp_path: Path) -> None:
    file = judge_of(server, max_labeled_demos=-1).fit(items(5)).save(tmp_path)
    content = json.loads(file.read_text(encoding="utf-8"))
    content["personalrm"] = "0.1.0"
    content["settings"]["persona_program"] = content["settings"].pop("persona_synthesis_program_path")
    file.write_text(json.dumps(content), encoding="utf-8")
    assert SynthesizeMe.from_saved(file).profile.user_id == content["profile"]["user_id"]


def test_a_model_of_ones_own_has_to_be_given_again(tmp_path: Path) -> None:
    model = ScriptedModel(answer)
    SynthesizeMe(lm=model, num_search_candidates=0).fit(items(4)).save(tmp_path)
    with pytest.raises(ConfigError, match=r"^lm: "):
        SynthesizeMe.from_saved(tmp_path)
    assert SynthesizeMe.from_saved(tmp_path, lm=model).predict_pairwise("Which?", "GOOD", "BAD") == 1


def test_no_file_holds_a_key(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-canary-1")
    judge_of(server, output_dir=tmp_path, model_options={"api_key_env": "MY_KEY"}).fit(items(4)).close()
    assert server.headers[0]["Authorization"] == "Bearer sk-canary-1"
    url = server.url.replace("http://", "http://me:sk-canary-2@")
    judge_of(server, user_id="url", model_url=url).fit(items(3)).save(tmp_path)
    judge_of(server, user_id="base", model_options={"api_base": url}).fit(items(3)).save(tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 4
    assert not [path.name for path in written if b"canary" in path.read_bytes()]


BREAK: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda file: file.write_text(file.read_text()[:100]), "fit and save again"),
    "a later version": (lambda file: file.write_text(file.read_text().replace(": 1,", ": 9,", 1)), "schema_version"),
    "another program's": (lambda file: file.write_text('{"demos": []}'), "fit and save again"),
    "not text": (lambda file: file.write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "gone": (lambda file: file.unlink(), "no saved profile"),
}


@pytest.mark.parametrize("case", BREAK)
def test_a_broken_file_is_named_and_leaves_the_object_unfitted(
    case: str, server: ScriptedServer, tmp_path: Path
) -> None:
    file = judge_of(server).fit(items(3)).save(tmp_path)
    damage, said = BREAK[case]
    damage(file)
    rm = judge_of(server)
    with pytest.raises(DataError, match=said) as caught:
        rm.load(file)
    assert str(file) in str(caught.value)
    assert not rm.is_fitted


def test_the_right_users_file_or_an_error(server: ScriptedServer, tmp_path: Path) -> None:
    for user in ("ann", "bo"):
        judge_of(server, user_id=user).fit(items(3)).save(tmp_path)
    assert judge_of(server, user_id="bo").load(tmp_path).user_id == "bo"
    with pytest.raises(DataError, match="of 2 users; give user_id"):
        judge_of(server).load(tmp_path)
    with pytest.raises(DataError, match="no saved profile of user 'eve'"):
        judge_of(server, user_id="eve").load(tmp_path)
    (annas,) = tmp_path.glob("ann*.json")
    with pytest.raises(DataError, match="user 'ann', not of 'bo'"):
        judge_of(server, user_id="bo").load(annas)
    with pytest.raises(ConfigError, match=r"^path: "):
        judge_of(server).load()


def test_the_file_is_json_with_a_version(server: ScriptedServer, tmp_path: Path) -> None:
    content = json.loads(judge_of(server, user_id="ann").fit(items(4)).save(tmp_path).read_text(encoding="utf-8"))
    assert content["schema_version"] == 1
    assert content["model_id"] == "some/model"
    assert content["settings"]["model_url"] == server.url
    assert content["profile"]["persona"] == "Likes what is good."
