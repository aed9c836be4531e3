"""What the reference compares: the texts that a run made, without what may differ from run to run.

The docstring of `test_reference.py` lists what is left out, and why.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from support.packed import data_in

from .recording import read_gzip, write_gzip

HERE = Path(__file__).parent
HASHES = HERE / "hashes.json"
RECORDS = ("data", "traces", "profiles", "verdicts", "analysis")
_KEY = re.compile(r"[0-9a-f]{64}")
_DURATION = re.compile(r"\b\d+(?:\.\d s|:\d\d min|:\d\d:\d\d h)\b")
_SECONDS = "wall_time_s"
_SHOWN = 12
"""Files whose first difference a failure shows."""

Texts = dict[str, str]
"""Name of a file, below the run's folder, to its comparable text."""


def outputs(run: Path) -> Texts:
    """Comparable texts of all results of the run in this folder, by name."""
    found = dict(_records(run))
    for path in sorted((run / "tables").iterdir()):
        text = _read(path)
        found[f"tables/{path.name}"] = _without_seconds(path.suffix, text) if path.stem == "cost" else text
    found |= {f"figures/{path.name}": _read(path) for path in sorted((run / "figures").glob("*.txt"))}
    for name, view in (("report.html", report), ("transcripts.html", transcripts), ("manifest.json", manifest)):
        if (run / name).exists():
            found[name] = view(_read(run / name))
    return found


def _read(path: Path) -> str:
    # Not read_text: it would make every kind of line end one.
    return path.read_bytes().decode("utf-8")


def _records(run: Path) -> Iterator[tuple[str, str]]:
    """Records of all stages, a line each; the counts of the data; the programs of Thetas as they are."""
    for path in sorted(path for name in RECORDS for path in (run / name).rglob("*.jsonl")):
        lines = (json.dumps(comparable(json.loads(line)), sort_keys=True) for line in _read(path).splitlines())
        yield str(path.relative_to(run)), "".join(f"{line}\n" for line in lines)
    for path in sorted([*(run / "data").rglob("*.json"), *(run / "thetas").rglob("*.json")]):
        yield str(path.relative_to(run)), _read(path)


def comparable(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A record with a word in the place of each key of the response store, and calls in an order of their own.

    >>> comparable({"calls": [{"key": "f" * 64, "tokens_in": 2}, {"key": "0" * 64, "tokens_in": 1}]})
    {'calls': [{'key': 'a key', 'tokens_in': 1}, {'key': 'a key', 'tokens_in': 2}]}
    """
    if isinstance(value, dict):
        inner = {name: comparable(part) for name, part in value.items()}
        if isinstance(inner.get("calls"), list):
            inner["calls"] = sorted(inner["calls"], key=lambda call: json.dumps(call, sort_keys=True))
        return inner
    if isinstance(value, list):
        return [comparable(part) for part in value]
    return "a key" if isinstance(value, str) and _KEY.fullmatch(value) else value


def _without_seconds(suffix: str, text: str) -> str:
    """The table of cost without the column, or the cells, of durations."""
    if suffix != ".csv":
        return _DURATION.sub("a duration", text)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    kept = [name for name in rows[0] if name != _SECONDS]
    made = io.StringIO(newline="")
    writer = csv.DictWriter(made, kept, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return made.getvalue()


def report(page: str) -> str:
    """The report's summary, and its list of what was not run."""
    summary = page[page.index('<h2 id="summary">') : page.index('<h2 id="results">')]
    return summary + page[page.index('<h2 id="not-run">') : page.index('<h2 id="manifest">')]


def transcripts(page: str) -> str:
    """A hash for each call that the page shows: its prompt, as it is built again, and its answer. Sorted."""
    data = data_in(page)
    lines = []
    for call in data["calls"]:
        prompt = [[data["messages"][place][0], data["texts"][data["messages"][place][1]]] for place in call["prompt"]]
        lines.append(_sha(json.dumps([prompt, data["texts"][call["answer"]["text"]]]))[:12])
    return "".join(f"{line}\n" for line in sorted(lines))


def manifest(text: str) -> str:
    """Of the manifest: the counts of the data, seeds, and what the results rest on."""
    whole = json.loads(text)
    kept = {"seeds": whole["seeds"], "usage": whole["usage"]}
    return (
        json.dumps(kept | {"data": {name: facts["funnel"] for name, facts in whole["data"].items()}}, indent=1) + "\n"
    )


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def expected_hashes(run: str) -> dict[str, str]:
    """The committed hashes of a run."""
    return _hashes().get(run, {})


def _hashes() -> dict[str, dict[str, str]]:
    hashes: dict[str, dict[str, str]] = json.loads(HASHES.read_text(encoding="utf-8")) if HASHES.exists() else {}
    return hashes


def _texts_file(run: str) -> Path:
    """Texts that the hashes are of, so that a failure can show what the line was."""
    return HERE / f"{run}-expected.json.gz"


def keep(run: str, texts: Texts) -> None:
    """Make `texts` the expected ones of a run."""
    hashes = _hashes() | {run: {name: _sha(text) for name, text in texts.items()}}
    HASHES.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_gzip(_texts_file(run), json.dumps(texts, indent=0, sort_keys=True, ensure_ascii=False))


def differences(run: str, texts: Texts) -> str:
    """Which files differ from the expected ones, each with its first line that does; empty where none does."""
    hashes, found = expected_hashes(run), {name: _sha(text) for name, text in texts.items()}
    changed = sorted(name for name in hashes.keys() & found.keys() if hashes[name] != found[name])
    said = [f"no longer made: {name}" for name in sorted(hashes.keys() - found.keys())]
    said += [f"new: {name}" for name in sorted(found.keys() - hashes.keys())]
    if changed:
        kept: Mapping[str, str] = json.loads(read_gzip(_texts_file(run)))
        said.append(f"{len(changed)} of {len(hashes)} files differ: {', '.join(changed)}")
        said += [_first_difference(name, kept[name], texts[name]) for name in changed[:_SHOWN]]
    return "\n".join(said)


def _first_difference(name: str, before: str, after: str) -> str:
    lines = enumerate(zip_longest(before.split("\n"), after.split("\n")), 1)
    number, (old, new) = next((n, pair) for n, pair in lines if pair[0] != pair[1])
    return f"{name}, line {number}\n  expected: {_near(old, new)}\n  found:    {_near(new, old)}"


def _near(line: str | None, other: str | None, width: int = 160) -> str:
    """The part of a line around the place where it leaves the other."""
    if line is None:
        return "(the file ends)"
    place = next((n for n, pair in enumerate(zip_longest(line, other or "")) if pair[0] != pair[1]), 0)
    start = max(0, place - width // 2)
    return ("…" if start else "") + line[start : start + width]


def texts_match_hashes(run: str) -> bool:
    """Whether the kept texts are those that the hashes are of."""
    texts: Texts = json.loads(read_gzip(_texts_file(run)))
    return {name: _sha(text) for name, text in texts.items()} == expected_hashes(run)
