"""How far a call is: a bar on a terminal and in notebooks, nothing elsewhere, and the user's own hook in its place."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from support.scripted_server import Fault, ScriptedServer
from support.traits import says

from personalrm import DefaultJudge
from personalrm.app.library.progress import Progress
from personalrm.core.errors import ModelCallError

from .conftest import QUICK, Item, asked, items, judge_of, prefers_good, taste_model, votes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In the test's body: pytest sets its own stream after the fixtures."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_on_a_terminal_a_bar_moves_with_the_answers_and_goes_at_the_end(
    monkeypatch: pytest.MonkeyPatch, bank: Path
) -> None:
    terminal = on_a_terminal(monkeypatch)
    with ScriptedServer(says, latency=0.15) as server:
        taste_model(server, bank, num_workers=2).fit(votes(6))
    said = terminal.getvalue()
    shown = said.split("\r")
    # One stage, of twelve calls: its bar moves while it lasts.
    assert len({line.partition("%")[0] for line in shown if "scores: " in line}) >= 3
    assert shown[-1].strip() == ""
    terminal.truncate(0)
    with ScriptedServer(prefers_good, latency=0.05) as server:
        judge_of(server).fit(items(6))
    assert "search and persona: " in terminal.getvalue()


@pytest.mark.parametrize("many", [False, True])
def test_judging_many_pairs_shows_a_bar_too(monkeypatch: pytest.MonkeyPatch, many: bool) -> None:
    terminal = on_a_terminal(monkeypatch)
    with ScriptedServer(prefers_good, latency=0.15) as server:
        judge = DefaultJudge("some/model", server.url, num_workers=2, model_options=QUICK)
        if many:
            judge.predict_many([(one["context"], one["chosen"], one["rejected"]) for one in items(5)])
        else:
            judge.evaluate(items(5))
    shown = terminal.getvalue().split("\r")
    assert len({line.partition("%")[0] for line in shown if "judgments: " in line}) >= 3
    assert shown[-1].strip() == ""


def criteria(body: Item) -> str:
    """Of a user who is known, the judge `criteria` asks for criteria, and then for scores."""
    if "Criterion 1" in asked(body):
        return "Criterion 1: First 9, Second 2"
    return "Weight 3: good" if "GOOD" not in asked(body) else prefers_good(body)


@pytest.mark.parametrize(("method", "calls"), [("demos", 8), ("criteria", 12)])
def test_the_share_is_of_the_calls_that_the_judge_makes(method: str, calls: int) -> None:
    told: list[tuple[float, str]] = []
    with ScriptedServer(criteria) as server:
        judge = judge_of(server, method=method, progress_update_hook=lambda *step: told.append(step)).fit(items(6))
        judge.evaluate(items(4, 6))
    assert (49.5, f"judgments: {calls // 2} answers") in told
    assert told[-2:] == [(99.0, f"judgments: {calls} answers"), (100.0, "judged")]


def test_the_share_of_a_taste_is_of_its_scores(bank: Path) -> None:
    told: list[tuple[float, str]] = []
    with ScriptedServer(says) as server:
        model = taste_model(server, bank, progress_update_hook=lambda *step: told.append(step)).fit(votes(6))
        model.evaluate(votes(4, 6))
        model.predict_many([("Which?", "This!", "That?")])
    assert told[-2:] == [(99.0, "judgments: 2 answers"), (100.0, "judged")]
    assert (99.0, "judgments: 8 answers") in told


def test_the_percentage_never_falls() -> None:
    told: list[float] = []
    with Progress(lambda percent, _: told.append(percent)) as progress:
        for start in (40, 10):
            progress.stage("stage", 4, start, 60)
            progress.answered()
        progress.report(5, "late")
    assert told == sorted(told)
    assert told[-1] == 45


def test_a_fit_that_fails_leaves_no_bar(monkeypatch: pytest.MonkeyPatch, bank: Path) -> None:
    terminal = on_a_terminal(monkeypatch)
    with ScriptedServer(says, faults=lambda *_: Fault("status", 503)) as server, pytest.raises(ModelCallError):
        taste_model(server, bank).fit(votes(6))
    assert "scores" in terminal.getvalue()
    assert terminal.getvalue().split("\r")[-1].strip() == ""


def test_elsewhere_and_with_a_hook_there_is_no_bar(monkeypatch: pytest.MonkeyPatch, bank: Path) -> None:
    terminal = on_a_terminal(monkeypatch)
    told: list[tuple[float, str]] = []
    with ScriptedServer(says) as server:
        taste_model(server, bank, progress_update_hook=lambda *step: told.append(step)).fit(votes(4))
        assert told[-1] == (100.0, "fitted")
        assert terminal.getvalue() == ""
        plain = io.StringIO()
        monkeypatch.setattr(sys, "stderr", plain)
        taste_model(server, bank).fit(votes(4))
        assert plain.getvalue() == ""


def test_in_a_notebook_there_is_a_bar_and_without_tqdm_nothing(monkeypatch: pytest.MonkeyPatch, bank: Path) -> None:
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", stream)
    with ScriptedServer(says) as server:
        taste_model(server, bank).fit(votes(4))
        assert "scores" in stream.getvalue()
        length = len(stream.getvalue())
        monkeypatch.setitem(sys.modules, "tqdm", None)
        taste_model(server, bank).fit(votes(4))
        assert len(stream.getvalue()) == length
