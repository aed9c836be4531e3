"""Backend for any OpenAI-compatible endpoint, on httpx."""

from __future__ import annotations

from personalrm.llm.backends.endpoint import BaseUrl, Endpoint
from personalrm.llm.backends.openai_format import parse_body, wire_body
from personalrm.llm.types import ModelSpec, Request, Response


class OpenAIHttpBackend:
    """`Backend` for `POST {api_base}/chat/completions`; `Endpoint` explains `find_base`."""

    def __init__(self, spec: ModelSpec, find_base: BaseUrl | None = None) -> None:
        self._spec = spec
        self._endpoint = Endpoint(spec, find_base)

    async def call(self, request: Request) -> Response:
        """Send `request` once. Raises a `ModelCallError` that says which kind of failure it was."""
        reply = await self._endpoint.send("POST", "/chat/completions", json=wire_body(self._spec, request))
        return parse_body(self._endpoint.decoded(reply), request, reply.where, self._spec.api_key_env)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._endpoint.aclose()
