"""Who answers while the reference is recorded: a script for the scripted run, a real model for the embedded one."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.scripted_judge import Answer, fraction, judge

from .recording import Body, Source

_TASTES = ("warm words of comfort", "plain numbered steps", "named studies and sources", "little personal stories")
_AVERSIONS = ("curt replies", "long paragraphs", "jargon", "warnings")


def scripted(body: Body) -> Answer:
    """The scripted judge, with answers to the other prompts of the workflow, and some that are no clear verdict."""
    messages = body["messages"]
    everything = "\n".join(str(message["content"]) for message in messages)
    chance = fraction(f"{everything}\n{body.get('seed', 0)}")
    answer = _other(body, str(messages[0]["content"]), _asked(body), everything, chance) or judge(body)
    if "Preference: " in str(answer.text) and not body.get("logprobs"):
        answer = _unclear(answer, chance)
    tokens_in = len(everything) // 4 + 1
    return replace(answer, tokens_in=tokens_in, tokens_cached=tokens_in // 2 if chance < 0.3 else 0)


def _asked(body: Body) -> str:
    """The last turn of the user."""
    return next(str(message["content"]) for message in reversed(body["messages"]) if message["role"] == "user")


def _other(body: Body, system: str, asked: str, everything: str, chance: float) -> Answer | None:
    """Answers to all prompts but the judge's; None where the request is one of those."""
    if "proposed_instruction" in system:
        way = int(1000 * fraction(everything + str(body.get("seed"))))
        return Answer(f"[[ ## proposed_instruction ## ]]\nDescribe the taste, way {way}.")
    if "observations" in system or "summary" in system:
        return Answer("Choices of several people.")
    if "Rating: <1-5>" in system:
        return Answer(f"Tastes differ here.\nRating: {1 if chance < 0.04 else 4}")
    if "people in\ngeneral would prefer" in system or "people in general prefer" in system:
        # A member of the panel has a mind of its own, so that not all agree.
        opinion = 2 * fraction(f"{body['model']} {asked}") - 1
        return judge(body, lambda background, first, second: opinion)
    if "--- Description 1 ---" in asked:
        return Answer("- Warmth: plain ... warm\n- Length: short ... long\n- Evidence: stories ... studies")
    if "Scales:" in asked:
        words = ("low", "high", "not mentioned")
        return Answer("\n".join(f"{n}: {words[int(3 * fraction(f'{n} {everything}'))]}" for n in _numbers(asked)))
    if "Sentences:" in asked:
        words = ("values", "topic", "format", "other")
        return Answer("\n".join(f"{n}: {words[int(4 * fraction(f'{n} {everything}'))]}" for n in _numbers(asked)))
    if "Facts:" in asked:
        return Answer(
            "\n".join(f"{n}: {'yes' if fraction(f'{n} {everything}') < 0.4 else 'no'}" for n in _numbers(asked))
        )
    if "Answer: First" in system:
        return Answer(f"The words agree.\nAnswer: {'First' if chance < 0.6 else 'Second'}")
    if "The person chose: " in asked and "What can be remembered" not in asked and "can be remembered" in asked:
        return Answer(f"- likes {_pick(_TASTES, chance)}\n- dislikes {_pick(_AVERSIONS, 1 - chance)}")
    if "The person chose: " in asked or "Disliked: " in asked:
        # Now and then a persona that says nothing, so that it is sampled again.
        said = "Likes answers that are liked." if chance < 0.15 else f"Likes {_pick(_TASTES, fraction(asked))}. "
        return Answer(said if chance < 0.15 else f"{said}Dislikes {_pick(_AVERSIONS, chance)}.")
    letters = re.findall(r"^([A-D]): ", asked, re.MULTILINE)
    if letters and body.get("logprobs"):
        return _letter(letters, everything)
    return None


def _numbers(asked: str) -> list[str]:
    """Numbers of a numbered list."""
    return re.findall(r"^(\d+)\. ", asked, re.MULTILINE)


def _pick(words: tuple[str, ...], share: float) -> str:
    return words[min(int(len(words) * share), len(words) - 1)]


def _letter(letters: list[str], everything: str) -> Answer:
    """Log-probabilities of the letters of a choice, as if each had a strength of its own."""
    odds = sorted(((f" {one}", -0.1 - 4 * fraction(one + everything)) for one in letters), key=lambda pair: -pair[1])
    return Answer(odds[0][0], logprobs=[odds], finish_reason="length")


def _unclear(answer: Answer, chance: float) -> Answer:
    """A verdict in words; of a hundred: 4 ties, 3 without a verdict, 2 refused, 2 cut by the provider's filter."""
    if chance < 0.04:
        return replace(answer, text=re.sub(r"Preference: \w+", "Preference: Tie", str(answer.text)))
    if chance < 0.07:
        return replace(answer, text="Both have something, and much could be said of either.")
    if chance < 0.09:
        return replace(answer, text=None, refusal="I cannot compare these.")
    return replace(answer, finish_reason="content_filter") if chance < 0.11 else answer


@contextmanager
def embedded(model: str, context: int, folder: Path, cores: int = 2) -> Iterator[Source]:
    """Answers of a real embedded model, given as the run's own embedded backend gives them: one call at a time, from a
    state of the prompt cache that the request alone decides. Its server's files lie in `folder`."""
    from personalrm.llm.local.backend import EmbeddedBackend
    from personalrm.llm.local.catalogue import get_entry
    from personalrm.llm.local.fetch import default_cache_dir, ensure_model
    from personalrm.llm.local.owner import owner_from_env
    from personalrm.llm.local.server import ensure_server, stop_servers
    from personalrm.llm.types import ModelSpec

    entry = get_entry(model)
    path = ensure_model(entry, local_path=None, cache_dir=default_cache_dir())
    wanted: dict[str, Any] = {"owner": owner_from_env(), "threads": cores, "context": context}
    server = ensure_server(entry, path, runtime_dir=folder, **wanted)

    async def base() -> str:
        return f"{server.url}/v1"

    backend = EmbeddedBackend(ModelSpec(model, "embedded", model, entry.sha256, context_length=context), base, folder)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def source(body: Body) -> Answer:
        return asyncio.run_coroutine_threadsafe(_ask(backend, body), loop).result()

    try:
        yield source
    finally:
        asyncio.run_coroutine_threadsafe(backend.aclose(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        stop_servers(folder)


async def _ask(backend: Any, body: Body) -> Answer:  # noqa: ANN401 - `EmbeddedBackend`, imported when it is needed
    """The answer of `backend` to a request body."""
    from personalrm.llm.types import Message, Request

    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    request = Request(
        tuple(Message(message["role"], message["content"]) for message in body["messages"]),
        max_tokens=body["max_tokens"],
        temperature=body["temperature"],
        top_p=body["top_p"],
        seed=body["seed"],
        top_logprobs=body.get("top_logprobs", 0),
        stop=tuple(body.get("stop", ())),
        json_schema=None if schema is None else json.dumps(schema),
    )
    said = await backend.call(request)
    usage = said.usage
    return Answer(
        said.text,
        logprobs=tuple(token.top for token in said.logprobs),
        finish_reason=said.finish_reason,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        tokens_cached=usage.tokens_cached,
    )
