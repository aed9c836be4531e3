"""What the library's tests share: invented preferences, and a server whose judge prefers what is marked GOOD."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import ScriptedServer
from support.traits import BANK

from personalrm import SynthesizeMe, TasteModel

Item = dict[str, Any]
QUICK = {"max_attempts": 1, "timeout_s": 10.0}


def item(number: int, **changes: object) -> Item:
    """A preference in the published form; the chosen answer is marked GOOD."""
    return {
        "context": [{"role": "user", "content": f"question {number}?"}],
        "chosen": {"role": "model", "content": f"GOOD answer {number}"},
        "rejected": {"role": "model", "content": f"BAD answer {number}"},
        "conversation_id": f"c{number}",
        "flip": bool(number % 2),
        **changes,
    }


def items(count: int, first: int = 0, **changes: object) -> list[Item]:
    return [item(number, **changes) for number in range(first, first + count)]


def asked(body: dict[str, Any]) -> str:
    """The last message of the user: the pair to be judged, or the persona request."""
    return next(str(m["content"]) for m in reversed(body["messages"]) if m["role"] == "user")


def prefers_good(body: dict[str, Any]) -> str:
    """A judge who says what is marked GOOD; a persona for what shows choices."""
    text = asked(body)
    if "The person chose" in text:
        return "Likes what is good."
    return f"Because.\nPreference: {'First' if text.index('GOOD') < text.index('BAD') else 'Second'}"


def prefers_bad(body: dict[str, Any]) -> str:
    said = prefers_good(body)
    return said.replace("First", "?").replace("Second", "First").replace("?", "Second")


def prompts(server: ScriptedServer) -> list[str]:
    """All that was asked, as text, sorted: calls come in any order."""
    return sorted(str(body["messages"]) for body in server.requests)


def judge_of(server: ScriptedServer, **options: Any) -> SynthesizeMe:  # noqa: ANN401
    """An object with few candidates that gives up at the first failure.

    It searches to the end: this judge is right at once, and the search would stop with no demonstrations.
    """
    given: Item = {"model_id": "some/model", "model_url": server.url, "model_options": QUICK}
    return SynthesizeMe(**{**given, "num_search_candidates": 1, "stop_at_score": None, **options})


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(prefers_good) as running:
        yield running


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    file = tmp_path / "bank.yaml"
    file.write_text(BANK, encoding="utf-8")
    return file


def vote(number: int, likes: str = "!", **changes: object) -> Item:
    """The answer with `likes` is chosen; the other trait is in either answer equally often."""
    other = "?" if likes == "!" else "!"
    marks = (other, "") if number % 2 else ("", other)
    return {
        "context": f"question {number}?",
        "chosen": f"Answer {number}{likes}{marks[0]}",
        "rejected": f"Answer {number}{marks[1]}",
        **changes,
    }


def votes(count: int, first: int = 0, likes: str = "!", **changes: object) -> list[Item]:
    return [vote(number, likes, **changes) for number in range(first, first + count)]


def taste_model(server: ScriptedServer, bank_file: Path, **options: Any) -> TasteModel:  # noqa: ANN401
    given: Item = {"model_id": "some/model", "model_url": server.url, "model_options": QUICK, "bank": bank_file}
    return TasteModel(**{**given, **options})
