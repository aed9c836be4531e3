"""Which seeded mutants the tests kill: `python benchmarks/mutants.py --out mutants.csv [--count 400] [--seed 0]`.

Mutants are single changes of one expression: a comparison, an operator, a number, a truth value, a condition. They are
drawn by the seed, as many from each module as its share of all places. Each one stands alone in a copy of the tracked
files. The tests of its module run there until the first failure: first those that run the mutated line, as traced once
for each module, and where they all pass, all of them. One row is written per mutant: `killed` (a test fails, or the
tests take ten seconds and four times the CPU time that all of them take without it), or `survived`. A row that stands
in the file is not run again, so that a run that was ended goes on. Whether a survivor is equivalent is for a reader to
say.

Libraries are imported once, and each run of tests is a fork of this process. Linux only.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import contextlib
import csv
import importlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
from measure import ROOT

PACKAGE = Path("workflow/personalrm")
SEARCH = tuple(f"methods/test_{name}.py" for name in ("search", "pruned_search", "search_rules", "learning"))
TARGETS: dict[str, tuple[str, ...]] = {
    "judge/parsing.py": ("judge/test_parsing.py", "judge/test_verdict_forms.py", "judge/test_verdicts_blind.py"),
    "judge/judge.py": (
        "judge/test_judge.py",
        "studies/test_judging.py",
        "methods/test_registry.py",
        "judge/test_prompt_labels.py",
        "judge/test_prompt_knowledge.py",
        "methods/test_lost_calls.py",
    ),
    "methods/synthesizeme/search.py": (*SEARCH, "judge/test_prompt_labels.py"),
    "methods/synthesizeme/pruned_search.py": SEARCH,
    "methods/synthesizeme/bootstrap.py": (
        "methods/test_learning.py",
        "judge/test_prompt_labels.py",
        "methods/test_search_rules.py",
    ),
    "methods/synthesizeme/profile.py": (
        "methods/test_learning.py",
        "methods/test_search_rules.py",
        "methods/test_context_subsets.py",
        "methods/test_lost_calls.py",
    ),
    "data/splits.py": ("data/test_splits.py", "data/test_near_duplicates.py"),
    "data/near_duplicates.py": ("data/test_near_duplicates.py",),
    "results/stats/statistics.py": (
        "results/test_statistics.py",
        "results/test_statistics_written_out.py",
        "results/test_main_table.py",
        "results/test_differences.py",
        "results/test_lost.py",
        "results/test_scaling.py",
        "studies/test_power.py",
    ),
    "llm/cache/key.py": ("llm/test_key.py", "llm/test_client.py"),
}
"""Modules whose mutants are made, with the tests that are to kill them."""

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
LIBRARIES = ("hypothesis", "httpx", "jinja2", "numpy", "openai", "pandas", "pydantic", "scipy.stats", "typer")
"""What the tests import, slowly."""
WAIT_S = 1800
"""Longest time of one run of tests, whatever CPU time it takes."""
COLUMNS = ("module", "line", "column", "before", "after", "result", "test", "seconds")


class Mutant(NamedTuple):
    """One change: `before` stands in the module's source at these bytes, and `after` takes its place."""

    module: str
    line: int
    column: int
    begin: int
    end: int
    before: str
    after: str

    @property
    def key(self) -> tuple[str, ...]:
        """The first columns of its row in the file."""
        return self.module, str(self.line), str(self.column), self.before, self.after


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its text; none in annotations."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in _expressions(ast.parse(source)):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        before = source.encode()[begin:end].decode()
        for after in _changes(node):
            yield Mutant(module, node.lineno, node.col_offset, begin, end, before, f"({after})")


def _expressions(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions that are evaluated when the code runs. Docstrings and messages are left out."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.expr):
                yield child
            yield from _expressions(child)


def _changes(node: ast.expr) -> Iterator[str]:
    """Other expressions in the place of this one."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield ast.unparse(ast.Compare(node.left, [COMPARED[type(node.ops[0])]()], node.comparators))
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.unparse(ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))
    elif isinstance(node, ast.BoolOp):
        yield ast.unparse(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield ast.unparse(node.operand)
    elif isinstance(node, ast.IfExp):
        yield ast.unparse(ast.IfExp(node.test, node.orelse, node.body))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield repr(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield repr(node.value + 1)


def drawn(sources: dict[str, str], count: int, seed: int) -> list[Mutant]:
    """`count` mutants of all modules; a larger count has the smaller one's first."""
    every = [mutant for module, source in sources.items() for mutant in mutants_of(module, source)]
    random.Random(f"mutants {seed}").shuffle(every)
    return every[:count]


def scratch_copy(folder: Path) -> None:
    """Copy the tracked files, as they are in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


class Tracer:
    """pytest plugin: the lines of one file that each test runs, in its own process, and the seconds of each test."""

    def __init__(self, file: Path) -> None:
        self.file, self.test = str(file), ""
        self.lines: defaultdict[str, set[int]] = defaultdict(set)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        threading.settrace(self.trace)
        sys.settrace(self.trace)

    def trace(self, frame: FrameType, _event: str, _value: object) -> Any:  # noqa: ANN401 - as typeshed has it
        """As `sys.settrace` takes it: follow frames of the file, and no others."""
        if frame.f_code.co_filename != self.file:
            return None
        self.lines[self.test].add(frame.f_lineno)
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Note the test that runs; fixtures shared by tests count for the first one."""
        self.test, begin = item.nodeid, time.monotonic()
        try:
            sys.settrace(self.trace)
            return (yield)
        finally:
            self.seconds[item.nodeid] += time.monotonic() - begin


class Run(NamedTuple):
    """How a run of tests ended: the child's wait status, its CPU seconds, and what it printed."""

    status: int
    cpu: float
    printed: str


def run_tests(folder: Path, tests: Iterable[str], limit: int, traced: tuple[Path, Path] | None = None) -> Run:
    """Run tests of the copy in a fork of this process, at most `limit` CPU seconds.

    With `traced`, the lines of its first file that each test runs are written to its second.
    """
    printed, before = folder / "printed.txt", _cpu_of_children()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = 1
        with contextlib.suppress(BaseException):
            code = _tests_in_this_process(folder, tests, traced)
            sys.stdout.flush()
        os._exit(code)
    status = _waited_for(child)
    return Run(status, _cpu_of_children() - before, printed.read_text(encoding="utf-8", errors="replace"))


def _waited_for(child: int) -> int:
    """The wait status of a child, which is killed with all that it started after `WAIT_S`."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.02)
    os.killpg(child, 9)
    return os.waitpid(child, 0)[1]


def _tests_in_this_process(folder: Path, tests: Iterable[str], traced: tuple[Path, Path] | None) -> int:
    sys.path[:0] = [str(folder / "workflow"), str(folder)]
    plugins = [Tracer(traced[0])] if traced else []
    options = ["-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-m", "not full and not cluster"]
    code = int(pytest.main([*options, *tests], plugins=plugins))
    if traced:
        tracer = plugins[0]
        found = {"lines": {test: sorted(lines) for test, lines in tracer.lines.items()}, "seconds": tracer.seconds}
        traced[1].write_text(json.dumps(found), encoding="utf-8")
    return code


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Coverage(NamedTuple):
    """Which tests run which lines of a module, quick ones first, and the CPU seconds of all of them."""

    tests: tuple[str, ...]
    lines: dict[str, frozenset[int]]
    cpu: float

    def of(self, lines: range) -> Sequence[str]:
        """Tests that run one of the lines."""
        return [test for test, held in self.lines.items() if not held.isdisjoint(lines)]


def coverage(folder: Path, module: str) -> Coverage:
    """Trace the tests of a module. Ends the program where they fail without a mutant, or test another copy."""
    names, lines = [f"tests/{name}" for name in TARGETS[module]], folder / "lines.json"
    plain = run_tests(folder, names, WAIT_S)
    done = run_tests(folder, names, WAIT_S, (folder / PACKAGE / module, lines))
    if plain.status or done.status:
        sys.exit(f"the tests of {module} fail without any mutant:\n{plain.printed}\n{done.printed}")
    found = json.loads(lines.read_text(encoding="utf-8"))
    if not any(found["lines"].values()):
        sys.exit(f"the tests of {module} run none of its lines in {folder}; do they import another copy?")
    ordered = sorted(found["seconds"], key=lambda test: (found["seconds"][test], test))
    held = {test: frozenset(found["lines"].get(test, ())) for test in ordered}
    return Coverage(tuple(ordered), held, plain.cpu)


def judged(run: Run) -> tuple[str, str]:
    """`survived`, `killed` or `killed by time`, and the test that failed first."""
    if run.status == 0:
        return "survived", ""
    if os.WIFSIGNALED(run.status):
        return "killed by time", ""
    failed = [line for line in run.printed.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "killed", failed[0].split(" - ")[0].split(" ", 1)[1] if failed else "tests could not start"


def with_mutant(folder: Path, mutant: Mutant, covered: Coverage) -> tuple[str, str]:
    """Run the tests of the mutated line with the mutant in the copy; the source, and its time, stand there again."""
    path = folder / PACKAGE / mutant.module
    source, times = path.read_bytes(), path.stat()
    lines = range(mutant.line, mutant.line + source[mutant.begin : mutant.end].count(b"\n") + 1)
    path.write_bytes(source[: mutant.begin] + mutant.after.encode() + source[mutant.end :])
    # Compiled files are known by the source's time in seconds, and by its length.
    os.utime(path, (times.st_atime, times.st_mtime + 10))
    try:
        for tests in filter(None, (covered.of(lines), covered.tests)):
            result = judged(run_tests(folder, tests, 10 + int(4 * covered.cpu)))
            if result[0] != "survived":
                break
        return result
    finally:
        path.write_bytes(source)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def prepared(folder: Path) -> None:
    """Copy and compile the project, and import what its tests import but the project itself."""
    scratch_copy(folder)
    compileall.compile_dir(folder, quiet=2, workers=1)
    for name in LIBRARIES:
        importlib.import_module(name)
    if any(name.split(".")[0] == "personalrm" for name in sys.modules):
        sys.exit("the project was imported before its mutants were made")


def main() -> None:
    """Run the mutants that the file lacks, and print the share that is killed."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The same examples for each mutant, without those of earlier runs.
        os.execve(sys.executable, [sys.executable, "-B", *sys.argv], os.environ | {"PYTHONHASHSEED": "0", "CI": "1"})
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, required=True, help="csv; rows that it has are kept")
    options.add_argument("--count", type=int, default=400)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    sources = {module: (ROOT / PACKAGE / module).read_text(encoding="utf-8") for module in TARGETS}
    mutants = drawn(sources, given.count, given.seed)
    if not given.out.exists():
        given.out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    with given.out.open(encoding="utf-8", newline="") as file:
        results = {tuple(row[name] for name in COLUMNS[:5]): row["result"] for row in csv.DictReader(file)}
    covered: dict[str, Coverage] = {}
    with tempfile.TemporaryDirectory() as name, given.out.open("a", encoding="utf-8", newline="") as file:
        folder = Path(name).resolve()
        prepared(folder)
        os.environ["PYTHONPATH"] = str(folder / "workflow")
        for mutant in sorted((one for one in mutants if one.key not in results), key=lambda one: one.module):
            if mutant.module not in covered:
                covered[mutant.module] = coverage(folder, mutant.module)
            begin = time.monotonic()
            result, test = with_mutant(folder, mutant, covered[mutant.module])
            results[mutant.key] = result
            csv.writer(file).writerow([*mutant.key, result, test, f"{time.monotonic() - begin:.1f}"])
            file.flush()
    ended = [results[mutant.key] for mutant in mutants]
    killed = len(ended) - ended.count("survived")
    print(f"{killed} of {len(ended)} mutants killed ({killed / len(ended):.1%}); the others: {given.out}")


if __name__ == "__main__":
    main()
