"""The protocol of batches (`/v1/files`, `/v1/batches`), as OpenAI defines it and others offer it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from personalrm.core.errors import ModelCallError, PermanentError, RequestRejected, TransientError
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.backends.openai_format import as_list, as_mapping, parse_body, wire_body
from personalrm.llm.backends.openai_http import Endpoint
from personalrm.llm.limits.faults import Failure, ModelUnavailable, scrub, to_error
from personalrm.llm.types import ModelSpec, Request, Response

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
OUR_ID = "personalrm_batch"
TRANSFER_S = 900.0
"""Seconds for a file of the largest size, up or down."""
_PAGE = 100
_ASKED_PATH = "/v1/chat/completions"
_QUEUE_FULL = re.compile(r"token_limit|rate_limit|quota|billing")
_OUR_FAULT = re.compile(r"^(invalid|duplicate|mismatched|missing|empty|unsupported|model_)")


Shown = Mapping[str, Any]
"""A batch as the provider shows it: `id`, `status`, files of answers and of errors, counts, errors."""


class BatchApi:
    """What one endpoint does with batches. Each method raises the `ModelCallError` that a plain call would."""

    def __init__(self, spec: ModelSpec, settings: BatchSettings) -> None:
        self._spec = spec
        self._settings = settings
        self._endpoint = Endpoint(spec)

    def line(self, key: str, request: Request) -> bytes:
        """The line of a request in the input file; `key` becomes its custom_id."""
        body = wire_body(self._spec, request)
        asked = {"custom_id": key, "method": "POST", "url": _ASKED_PATH, "body": body}
        return json.dumps(asked, separators=(",", ":")).encode() + b"\n"

    async def upload(self, lines: bytes) -> str:
        """Send an input file; returns its id."""
        parts = {"file": ("requests.jsonl", lines, "application/jsonl")}
        sent = await self._ask("POST", "/files", timeout_s=TRANSFER_S, files=parts, data={"purpose": "batch"})
        return str(sent["id"])

    async def create(self, file: str, ours: str) -> str:
        """Make a batch of an input file; returns its id. After a TransientError it may have been made."""
        wanted = {
            "input_file_id": file,
            "endpoint": _ASKED_PATH,
            "completion_window": f"{self._settings.window_h}h",
            "metadata": {OUR_ID: ours},
        }
        return str((await self._ask("POST", "/batches", json=wanted))["id"])

    async def find(self, ours: str) -> str | None:
        """The id of the batch that has `ours` in its metadata, or None."""
        page: dict[str, Any] = {"limit": _PAGE}
        while True:
            listed = await self._ask("GET", "/batches", params=page)
            batches = _mappings(listed.get("data"))
            for batch in batches:
                if as_mapping(batch.get("metadata")).get(OUR_ID) == ours:
                    return str(batch["id"])
            if not batches or not listed.get("has_more"):
                return None
            page["after"] = str(batches[-1]["id"])

    async def look(self, batch: str) -> Shown | None:
        """A batch as it is now; None if there is none of this id."""
        reply = await self._endpoint.send("GET", f"/batches/{batch}")
        if reply.response.status_code == 404:
            return None
        return {**as_mapping(self._endpoint.decoded(reply)), "id": batch}

    async def answers(self, batch: Shown) -> dict[str, Mapping[str, Any]]:
        """The answered lines of an ended batch, failed ones too, by custom_id."""
        found: dict[str, Mapping[str, Any]] = {}
        for file in filter(None, [batch.get("output_file_id"), batch.get("error_file_id")]):
            reply = await self._endpoint.send("GET", f"/files/{file}/content", timeout_s=TRANSFER_S)
            self._endpoint.check(reply)
            for line in _lines(reply.response.text):
                found.setdefault(str(line.get("custom_id")), line)
        return found

    def read(self, line: Mapping[str, Any], request: Request, batch: str) -> Response:
        """The answer in a line. Raises the error that it stands for."""
        where, key_env = self._where(batch), self._spec.api_key_env
        response = as_mapping(line.get("response"))
        status, body = response.get("status_code"), response.get("body")
        if status == 200:
            return parse_body(body, request, where, key_env)
        if isinstance(status, int) and status >= 400:
            raise to_error(Failure(status, json.dumps(body, ensure_ascii=False)), where, key_env)
        # batch_expired, batch_cancelled, and what went wrong before any status.
        raise TransientError(f"{where}: {scrub(json.dumps(line.get('error'), ensure_ascii=False), key_env)}")

    def failure(self, batch: Shown) -> ModelCallError:
        """Why a batch failed as a whole, before any of its requests was made."""
        errors = _mappings(as_mapping(batch.get("errors")).get("data"))
        codes = [str(error.get("code") or "") for error in errors]
        status = 500
        if any(_QUEUE_FULL.search(code) for code in codes):
            status = 429
        elif any(_OUR_FAULT.match(code) for code in codes):
            status = 400
        text = f"the batch failed: {json.dumps(errors, ensure_ascii=False)}"
        # The queue has room when another batch ends, so that the interval of checks is long enough to wait.
        headers = {"Retry-After": f"{self._settings.max_poll_s:g}"}
        error = to_error(Failure(status, text, headers), self._where(str(batch["id"])), self._spec.api_key_env)
        # What was rejected is the batch, not one request.
        return PermanentError(str(error)) if isinstance(error, RequestRejected) else error

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._endpoint.aclose()

    def _where(self, batch: str) -> str:
        return f"model {self._spec.name}, batch {batch}"

    async def _ask(self, method: str, path: str, **content: Any) -> Mapping[str, Any]:  # noqa: ANN401
        reply = await self._endpoint.send(method, path, **content)
        try:
            body = self._endpoint.decoded(reply)
        except PermanentError as error:
            if reply.response.status_code not in (403, 404, 405):
                raise
            raise ModelUnavailable(
                f"{error} If this endpoint has no batches for this key, remove models.{self._spec.name}.batch."
            ) from None
        if not isinstance(body, Mapping) or (method == "POST" and not body.get("id")):
            raise TransientError(f"{reply.where}: {path} answered with no object, or one without id")
        return body


def is_answered(line: Mapping[str, Any]) -> bool:
    """Whether the provider answered the request of a line, which it will be paid for."""
    return bool(as_mapping(line.get("response")).get("status_code") == 200)


def _lines(text: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON-lines text; other lines are skipped, so that their requests count as unanswered."""
    # Not splitlines: JSON may hold line separators of Unicode.
    for line in text.split("\n"):
        try:
            value = json.loads(line) if line.strip() else None
        except ValueError:
            continue
        if isinstance(value, Mapping):
            yield value


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [one for one in as_list(value) if isinstance(one, Mapping)]
