"""The scripted server with batches: files, batches that pass through their states, output and error files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from support.scripted_judge import Answer, judge
from support.scripted_server import Answering, ScriptedServer, completion

Event = Literal["upload", "create", "created", "look", "content"]
"""Moments: a file came; a batch is about to be made; it was made; it is looked at; a file of answers is fetched."""
Outcome = Literal["completed", "failed", "expired", "cancelled"]
LineFault = tuple[int, str]
"""HTTP status and error message of one line."""
_STATES = ("validating", "in_progress", "finalizing")
_PAGE = 1
"""The fewest a provider may show at once, so that clients have to turn pages."""


@dataclass
class Batch:
    """One batch, and how often it was looked at."""

    id: str
    input_file: str
    metadata: dict[str, str]
    lines: list[dict[str, Any]]
    outcome: Outcome
    looks: int = 0
    status: str = "validating"
    output_file: str | None = None
    error_file: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": self.input_file,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "metadata": self.metadata,
            "request_counts": {"total": len(self.lines), "completed": 0, "failed": 0},
        }


class BatchServer(ScriptedServer):
    """Each look at a batch takes it one state further, to its outcome.

    Args:
        answer: as of `ScriptedServer`.
        outcomes: of the batches in order of creation; `completed` for the rest. Of `expired` and `cancelled` ones the
            first half of the lines is answered.
        error: code of the error with which batches fail.
        line_fault: what goes wrong with one line: (body, how often its custom_id was submitted) to status and message.
        cut: told of each event; the connection is cut where it says so. Cut at `create`, no batch is made.
        held: batches stay in progress while this is set.
        api_key: as of `ScriptedServer`.
    """

    def __init__(
        self,
        answer: Answering = judge,
        *,
        outcomes: Sequence[Outcome] = (),
        error: str = "internal_error",
        line_fault: Callable[[dict[str, Any], int], LineFault | None] = lambda body, times: None,
        cut: Callable[[Event], bool] = lambda event: False,
        held: bool = False,
        api_key: str | None = None,
    ) -> None:
        super().__init__(answer, api_key=api_key)
        self.held = held
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, str] = {}
        self.submitted: Counter[str] = Counter()
        self._outcomes = outcomes
        self._error = error
        self._line_fault = line_fault
        self._cut = cut

    def add_routes(self, router: web.UrlDispatcher) -> None:
        super().add_routes(router)
        router.add_post("/v1/files", self._upload)
        router.add_get("/v1/files/{id}/content", self._content)
        router.add_post("/v1/batches", self._create)
        router.add_get("/v1/batches", self._list)
        router.add_get("/v1/batches/{id}", self._look)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Bodies of all submitted requests, in order."""
        return [line["body"] for batch in self.batches.values() for line in batch.lines]

    async def _upload(self, request: web.Request) -> web.Response:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._api_key is not None and sent != self._api_key:
            return _error(401, f"Incorrect API key provided: {sent}")
        form = await request.post()
        content = form["file"]
        if form["purpose"] != "batch" or not isinstance(content, web.FileField):
            return _error(400, "no file for a batch")
        name = self._keep(content.file.read().decode())
        return self._answered(request, "upload", {"id": name, "object": "file", "purpose": "batch"})

    def _keep(self, text: str) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = text
        return name

    async def _create(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        known = wanted["input_file_id"] in self.files and wanted["endpoint"] == "/v1/chat/completions"
        if not known or wanted["completion_window"] != "24h":
            return _error(400, f"invalid batch: {wanted}")
        if self._cut("create"):
            return _reset(request)
        number = len(self.batches)
        lines = [json.loads(line) for line in self.files[wanted["input_file_id"]].split("\n") if line]
        outcome = self._outcomes[number] if number < len(self._outcomes) else "completed"
        batch = Batch(f"batch-{number}", wanted["input_file_id"], wanted.get("metadata") or {}, lines, outcome)
        self.batches[batch.id] = batch
        self.submitted.update(line["custom_id"] for line in lines)
        return self._answered(request, "created", batch.shown())

    async def _list(self, request: web.Request) -> web.Response:
        newest = list(reversed(self.batches))
        after = request.query.get("after")
        rest = newest[newest.index(after) + 1 :] if after else newest
        page = [self.batches[name].shown() for name in rest[:_PAGE]]
        return web.json_response({"object": "list", "data": page, "has_more": len(rest) > _PAGE})

    async def _look(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _error(404, "no such batch")
        if batch.status in (*_STATES, ""):
            batch.looks = min(batch.looks, 0) + 1 if self.held else batch.looks + 1
            batch.status = _STATES[batch.looks] if batch.looks < len(_STATES) else self._finish(batch)
        return self._answered(request, "look", batch.shown())

    def _finish(self, batch: Batch) -> str:
        twice = [name for name, count in Counter(line["custom_id"] for line in batch.lines).items() if count > 1]
        if twice or batch.outcome == "failed":
            code = "duplicate_custom_id" if twice else self._error
            batch.errors = [{"code": code, "message": f"scripted: {code}", "line": 1, "param": None}]
            return "failed"
        good, bad = [], []
        answered = len(batch.lines) if batch.outcome == "completed" else len(batch.lines) // 2
        for number, line in enumerate(batch.lines):
            if number >= answered:
                error = {"code": f"batch_{batch.outcome}", "message": "This request could not be executed in time."}
                bad.append({"custom_id": line["custom_id"], "response": None, "error": error})
                continue
            fault = self._line_fault(line["body"], self.submitted[line["custom_id"]])
            status, body = (200, self._completed(line["body"], number)) if fault is None else _faulty(*fault)
            reply = {"custom_id": line["custom_id"], "response": {"status_code": status, "body": body}, "error": None}
            (good if status == 200 else bad).append(reply)
        # Providers promise no order.
        batch.output_file = self._keep(_jsonl(reversed(good))) if good else None
        batch.error_file = self._keep(_jsonl(bad)) if bad else None
        return batch.outcome

    def _completed(self, body: dict[str, Any], number: int) -> dict[str, Any]:
        answer = self._answer(body)
        answer = Answer(answer) if isinstance(answer, str) else answer
        return completion(body, answer, number, echo_prefill=False)

    async def _content(self, request: web.Request) -> web.Response:
        if self._cut("content"):
            return _reset(request)
        return web.Response(text=self.files[request.match_info["id"]], content_type="application/jsonl")

    def _answered(self, request: web.Request, event: Event, body: dict[str, Any]) -> web.Response:
        return _reset(request) if self._cut(event) else web.json_response(body)


def _faulty(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, "type": "scripted", "code": None}}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "scripted", "code": None}}, status=status)


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _jsonl(rows: Any) -> str:  # noqa: ANN401
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
