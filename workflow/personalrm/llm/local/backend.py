"""Backend for an embedded model: what it answers depends on the request alone, not on what was asked before.

A server that reuses as much of its prompt cache as it can splits a prompt where the previous one happened to differ,
and that moves log-probabilities: by up to 0.34 between two runs of one quickstart (measured). Here the split is given
by the request. All messages before the last question (instruction, demonstrations) are evaluated from an empty cache,
once, and that state is saved; each request that begins with them starts from it. One call at a time: calls that
share a batch share its shape.
"""

from __future__ import annotations

import logging
import re
import socket
from pathlib import Path

from personalrm.core.files import canonical_json, stable_hash, waiting_lock
from personalrm.llm.backends.openai_format import parse_body, wire_body, wire_extras
from personalrm.llm.backends.openai_http import BaseUrl, OpenAIHttpBackend
from personalrm.llm.local.owner import owner_from_env
from personalrm.llm.types import ModelSpec, Request, Response

CHAT = "/v1/chat/completions"
SLOT = "/slots/0"
"""The one slot of the server (`local/server.py`): save, restore."""

log = logging.getLogger("personalrm.llm")

Messages = list[dict[str, str]]


class EmbeddedBackend(OpenAIHttpBackend):
    """`Backend` for llama.cpp's server with one slot and a folder for saved states.

    Args:
        spec: the model.
        find_base: finds the server's base URL, starting the server if need be.
        runtime_dir: where the run's servers keep their state; a lock here lets one process at a time use the slot.
    """

    def __init__(self, spec: ModelSpec, find_base: BaseUrl, runtime_dir: Path) -> None:
        super().__init__(spec, lambda: _root(find_base))
        self._runtime_dir = runtime_dir
        self._told = False

    async def call(self, request: Request) -> Response:
        """Send `request` once. Raises a `ModelCallError` that says which kind of failure it was."""
        body = wire_body(self._spec, request)
        async with waiting_lock(self._lock()):
            body["cache_prompt"] = await self._prepared(shared_messages(body["messages"]))
            reply = await self._endpoint.send("POST", CHAT, json=body)
        return parse_body(self._endpoint.decoded(reply), request, reply.where)

    async def _prepared(self, shared: Messages) -> bool:
        """Bring the slot into the state that `shared` gives from an empty cache; False if they are none."""
        if not shared:
            return False
        body = {
            "model": self._spec.model,
            "messages": shared,
            **wire_extras(self._spec),
            "max_tokens": 0,
            "cache_prompt": False,
            "add_generation_prompt": False,
        }
        name = f"{stable_hash(canonical_json(body))}.state"
        if not await self._slot("restore", name):
            self._endpoint.check(await self._endpoint.send("POST", CHAT, json=body))
            if not await self._slot("save", name) and not self._told:
                # The slot is in the right state all the same: this costs time and changes no answer.
                log.warning("model %s: the prompt cache cannot be saved; is the disk full?", self._spec.name)
                self._told = True
        return True

    async def _slot(self, action: str, name: str) -> bool:
        """Save or restore the slot; False where the server would not (no such file, no room)."""
        reply = await self._endpoint.send("POST", SLOT, params={"action": action}, json={"filename": name})
        return reply.response.status_code == 200

    def _lock(self) -> Path:
        """Of the servers that this process may share with others: those of its owner, on this host."""
        server = stable_hash(socket.gethostname(), str(owner_from_env()))[:16]
        return self._runtime_dir / f"{re.sub(r'[^A-Za-z0-9.-]', '-', self._spec.model)}@{server}.slot.lock"


def shared_messages(messages: Messages) -> Messages:
    """The messages before the last question (and the start of its answer, where there is one).

    >>> [m["role"] for m in shared_messages([{"role": role} for role in ("system", "user", "assistant", "user")])]
    ['system', 'user', 'assistant']
    >>> [m["role"] for m in shared_messages([{"role": role} for role in ("system", "user", "assistant")])]
    ['system']
    """
    last = max((index for index, message in enumerate(messages) if message["role"] != "assistant"), default=0)
    return messages[:last]


async def _root(find_base: BaseUrl) -> str:
    """The server's address without the API's version: slots are no part of that API."""
    return (await find_base()).removesuffix("/v1")
