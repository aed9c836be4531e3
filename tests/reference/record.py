"""Record the reference's answers again, or its hashes alone.

    python tests/reference/record.py --hashes             replay the recorded answers; write hashes and expected texts
    python tests/reference/record.py                      ask the script and the embedded model again; write all
    python tests/reference/record.py scripted             the same for one run
    python tests/reference/record.py --hashes --check     replay and compare, in a folder and on cores of your choice

The README in this folder says when either is allowed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

# As a script, the folder above is not on the path; in tests, pytest puts it there.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reference.outputs import Texts, differences, keep, outputs
from reference.recording import Recording, RecordingServer, ReplayServer
from reference.runs import RUNS, ReferenceRun

HOW_TO_ALLOW = "If the change is meant, tests/reference/README.md says what to record again."


class NotReproduced(AssertionError):
    """A replay failed, or asked for something else than what was recorded; the message says which requests."""


def replay(run: ReferenceRun, folder: Path, cores: int = 2, hash_seed: int = 0) -> Texts:
    """Results of a run that is given recorded answers alone. Raises NotReproduced where it sends other requests."""
    with ReplayServer(Recording.load(run.recording)) as server:
        project = run.project(folder, server.url)
        failure: AssertionError | None = None
        try:
            run.make(project, cores, hash_seed)
        except AssertionError as error:
            failure = error
        if server.unknown:
            count, first = len(server.unknown), server.unknown[0]
            told = f"{count} requests are not recorded, the first of them:\n{server.nearest(first)}"
            raise NotReproduced(f"{told}\n{HOW_TO_ALLOW}")
        if failure is not None:
            raise failure
        if server.not_asked:
            count, first = len(server.not_asked), min(server.not_asked)
            told = f"{count} recorded requests were not sent, among them:\n  {first[:600]}…"
            raise NotReproduced(f"{told}\n{HOW_TO_ALLOW}")
    return outputs(project.run)


def record(run: ReferenceRun, folder: Path, cores: int) -> Texts:
    """Results of a run whose answers come from its source; writes the recording."""
    folder.mkdir(parents=True, exist_ok=True)
    with run.source(folder / "server") as source, RecordingServer(source) as server:
        project = run.project(folder / "work", server.url)
        run.make(project, cores)
    server.recording.save(run.recording)
    return outputs(project.run)


def main() -> int:
    """Returns 1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(description="Record the answers of the reference runs, or their hashes.")
    parser.add_argument("runs", nargs="*", help=f"of {', '.join(RUNS)}; all where none is named")
    parser.add_argument("--hashes", action="store_true", help="ask nobody: replay the recorded answers")
    parser.add_argument("--check", action="store_true", help="write nothing: compare with the committed hashes")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--hash-seed", type=int, default=0, help="PYTHONHASHSEED of the run")
    asked = parser.parse_args()
    if unknown := set(asked.runs) - set(RUNS):
        parser.error(f"no run {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    failed = False
    for run in (RUNS[name] for name in asked.runs or RUNS):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            if asked.hashes or asked.check:
                texts = replay(run, Path(folder) / "work", asked.cores, asked.hash_seed)
            else:
                texts = record(run, Path(folder), asked.cores)
        said = differences(run.name, texts)
        if not asked.check:
            keep(run.name, texts)
        failed = failed or bool(said)
        size = run.recording.stat().st_size
        sys.stdout.write(
            f"{run.name}: {len(texts)} files, {len(Recording.load(run.recording).answers)} requests in {size:,} bytes, "
            f"{time.monotonic() - started:.0f} s; {said or 'as before'}\n"
        )
    return 1 if failed and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
