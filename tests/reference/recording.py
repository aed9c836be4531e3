"""Recorded model answers: a file of requests with their answers, and a local server that answers from it.

A line of the file is one request body of OpenAI's protocol with its answers in the order in which they were given:

    {"request": {"model": …, "messages": […], …}, "answers": [{"text": …, "logprobs": […], …}, …]}

Nothing in it depends on the response store, on its keys or on the modules of the library.
"""

from __future__ import annotations

import gzip
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from support.scripted_judge import Answer
from support.scripted_server import Fault, ScriptedServer

Body = dict[str, Any]
Source = Callable[[Body], Answer]


class Recording:
    """Answers by request. Equal requests (whatever the order of their fields) share a list of answers."""

    def __init__(self, lines: Iterable[Body] = ()) -> None:
        self.answers: dict[str, list[Answer]] = {
            canonical(line["request"]): [_answer(answer) for answer in line["answers"]] for line in lines
        }

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a file that `save` wrote."""
        return cls(json.loads(line) for line in read_gzip(path).splitlines())

    def save(self, path: Path) -> None:
        """Write the file: same answers, same bytes."""
        lines = []
        for request in sorted(self.answers):
            given = [_facts(answer) for answer in self.answers[request]]
            # A source that answers from the request alone says the same each time: once is enough.
            given = given[:1] if all(answer == given[0] for answer in given) else given
            lines.append(json.dumps({"request": json.loads(request), "answers": given}, sort_keys=True) + "\n")
        write_gzip(path, "".join(lines))


class RecordingServer(ScriptedServer):
    """Answers by `source`, one request at a time, and keeps request and answer in `recording`."""

    def __init__(self, source: Source) -> None:
        self.recording = Recording()
        self._source = source
        super().__init__(self._record)

    def _record(self, body: Body) -> Answer:
        answer = self._source(body)
        self.recording.answers.setdefault(canonical(body), []).append(answer)
        return answer


class ReplayServer(ScriptedServer):
    """Answers from a recording; a request that is not in it gets HTTP 400 and stands in `unknown`.

    The n-th of several equal requests gets the n-th answer, and the last one when there are no more.
    """

    def __init__(self, recording: Recording) -> None:
        self._recorded = recording.answers
        self._asked: Counter[str] = Counter()
        self._counting = threading.Lock()
        self.unknown: list[str] = []
        super().__init__(self._replay, faults=self._refusal)

    @property
    def not_asked(self) -> set[str]:
        """Recorded requests that nobody sent."""
        return set(self._recorded) - set(self._asked)

    def nearest(self, request: str) -> str:
        """Where the recorded request with the longest equal start differs from `request`, in two lines."""
        if not self._recorded:
            return "nothing is recorded"
        shared, near = max((_shared(request, other), other) for other in self._recorded)
        start = max(0, shared - 60)
        return f"  recorded: …{near[start : shared + 120]}…\n  sent:     …{request[start : shared + 120]}…"

    def _replay(self, body: Body) -> Answer:
        request = canonical(body)
        with self._counting:
            place = self._asked[request]
            self._asked[request] += 1
        answers = self._recorded[request]
        return answers[min(place, len(answers) - 1)]

    def _refusal(self, number: int, body: Body) -> Fault | None:
        request = canonical(body)
        if request in self._recorded:
            return None
        self.unknown.append(request)
        message = f"no recorded answer for this request: {request[:300]}"
        return Fault("status", 400, {"error": {"message": message, "type": "not_recorded", "code": "not_recorded"}})


def canonical(body: Body) -> str:
    """The request as text: fields sorted, whole numbers without a fraction.

    >>> canonical({"temperature": 0.0, "model": "m"}) == canonical({"model": "m", "temperature": 0})
    True
    """
    return json.dumps(_plain(body), sort_keys=True, ensure_ascii=False)


def _shared(one: str, other: str) -> int:
    """Length of the start that two texts have in common."""
    shortest = min(len(one), len(other))
    return next((place for place in range(shortest) if one[place] != other[place]), shortest)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _facts(answer: Answer) -> Body:
    """An answer without the fields that have their default."""
    plain = {field.name: field.default for field in fields(Answer)}
    return {name: value for name, value in asdict(answer).items() if name == "text" or value != plain[name]}


def _answer(facts: Body) -> Answer:
    odds = tuple(tuple((str(text), float(number)) for text, number in token) for token in facts.get("logprobs", ()))
    return Answer(**{**facts, "logprobs": odds})


def read_gzip(path: Path) -> str:
    """Text of a compressed file."""
    return gzip.decompress(path.read_bytes()).decode("utf-8")


def write_gzip(path: Path, text: str) -> None:
    """Write compressed text without a time stamp or a file name, so that equal texts are equal files."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as file:
        file.write(text.encode("utf-8"))
    path.write_bytes(buffer.getvalue())
