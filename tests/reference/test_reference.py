"""Two recorded runs give the results they gave: no redesign changes what the program computes unnoticed.

The real workflow runs on recorded answers alone (`recording.py`); a request that is not recorded, and a recorded one
that is not sent, fail the test. Then the SHA-256 of each result is compared with `hashes.json`: tables (csv, md, tex,
html), captions of figures, records of all stages (pairs, ratings, traces, profiles, verdicts, analyses), programs of
Thetas, and parts of report, transcripts and manifest. Left out, with the reason:

- figures (pdf, svg, png): they will be drawn again; the captions are compared;
- seconds (`wall_time_s`, durations in cost.md, .tex, .html): they differ from run to run;
- keys of the response store in records, and the order of calls in a list of them: the key will change once. Which
  requests were sent is compared instead, by their bodies;
- of the manifest: commit, packages, platform, code fingerprints, wall time, paths (the config), and the hash of the
  votes' file; kept are counts of the data, seeds, and calls, tokens and list price of the results;
- of the report: tables, figures and captions, which are compared as files, and the manifest; kept are the summary and
  what was not run;
- of the transcripts: keys, and the order of calls; kept are prompts as they are built again, with their answers;
- the data card (it holds the hash of the votes' file), Parquet files (their bytes depend on the version of the library;
  the tables are made from them), logs and benchmarks.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from support.scripted_server import Answer

from .outputs import comparable, differences, texts_match_hashes
from .record import HOW_TO_ALLOW, replay
from .recording import Recording, RecordingServer, ReplayServer
from .runs import RUNS

MAX_BYTES = 3_000_000


@pytest.mark.parametrize("name", RUNS)
def test_recorded_answers_give_the_results_they_gave(tmp_path: Path, name: str) -> None:
    # Another hash seed and another number of cores than those of the recording change nothing.
    said = differences(name, replay(RUNS[name], tmp_path / "work", cores=3, hash_seed=7))
    assert not said, f"{said}\n{HOW_TO_ALLOW}"


def test_the_recordings_are_small_and_the_kept_texts_are_those_of_the_hashes() -> None:
    files = [path for run in RUNS.values() for path in run.recording.parent.glob(f"{run.name}*.gz")]
    assert len(files) == 2 * len(RUNS)
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    assert all(texts_match_hashes(name) for name in RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_recording_is_written_again_to_the_byte(tmp_path: Path, name: str) -> None:
    recording = RUNS[name].recording
    Recording.load(recording).save(tmp_path / "again.gz")
    assert (tmp_path / "again.gz").read_bytes() == recording.read_bytes()


def test_a_replay_answers_equal_requests_in_order_and_refuses_others_by_name(tmp_path: Path) -> None:
    said = iter(["one", "two"])
    body = {"model": "m", "messages": [{"role": "user", "content": "What is it?"}], "temperature": 0.0}
    with RecordingServer(lambda _: Answer(next(said), tokens_in=3, finish_reason="length")) as server:
        for _ in range(2):
            httpx.post(f"{server.url}/chat/completions", json=body).raise_for_status()
    server.recording.save(tmp_path / "saved.gz")
    with ReplayServer(Recording.load(tmp_path / "saved.gz")) as replayed:
        assert len(replayed.not_asked) == 1
        same = {"temperature": 0, "messages": body["messages"], "model": "m"}
        replies = [httpx.post(f"{replayed.url}/chat/completions", json=same).json() for _ in range(3)]
        assert [reply["choices"][0]["message"]["content"] for reply in replies] == ["one", "two", "two"]
        assert {reply["choices"][0]["finish_reason"] for reply in replies} == {"length"}
        assert {reply["usage"]["prompt_tokens"] for reply in replies} == {3}
        assert (replayed.not_asked, replayed.unknown) == (set(), [])
        other = httpx.post(f"{replayed.url}/chat/completions", json=same | {"seed": 9})
        assert other.status_code == 400
        assert '"seed": 9' in other.json()["error"]["message"]
        (unknown,) = replayed.unknown
        assert "sent:" in replayed.nearest(unknown)


def test_keys_of_the_store_and_the_order_of_calls_are_not_compared() -> None:
    calls = [{"key": digit * 64, "tokens_in": tokens} for digit, tokens in (("f", 2), ("0", 1))]
    other = [{"key": digit * 64, "tokens_in": tokens} for digit, tokens in (("1", 1), ("e", 2))]
    assert comparable({"calls": calls}) == comparable({"calls": other})
    assert comparable({"calls": calls}) != comparable({"calls": calls[:1]})
