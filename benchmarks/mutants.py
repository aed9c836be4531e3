"""Which seeded mutants the tests kill: `python benchmarks/mutants.py --out mutants.csv [--count 400] [--seed 0]`.

Mutants are single changes of one expression: a comparison, an operator, a number, a truth value, a condition. They are
drawn by the seed, as many from each module as its share of all places. Each one stands alone in a copy of the tracked
files, and the tests of its module run there until the first failure. One row is written per mutant: `killed` (a test
fails, or the tests take four times the CPU time that they take without it), or `survived`. A row that stands in the
file is not run again, so that a run that was ended goes on. Whether a survivor is equivalent is for a reader to say.
"""

from __future__ import annotations

import argparse
import ast
import csv
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from measure import ROOT

PACKAGE = Path("workflow/personalrm")
SEARCH = tuple(f"methods/test_{name}.py" for name in ("search", "search_rules", "learning"))
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


def run_tests(folder: Path, tests: tuple[str, ...], limit: int) -> tuple[str, str]:
    """`survived`, `killed` or `killed by time`, and the test that failed first."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    # Without examples of earlier runs, and the same ones for each mutant.
    environment = os.environ | {"PYTHONPATH": str(folder / "workflow"), "PYTHONHASHSEED": "0", "CI": "1"}
    names = [f"tests/{name}" for name in tests]
    try:
        done = subprocess.run(
            [*command, *names],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5)),
        )
    except subprocess.TimeoutExpired:
        return "killed by time", ""
    if done.returncode == 0:
        return "survived", ""
    if done.returncode < 0:
        return "killed by time", ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "killed", failed[0].split(" - ")[0].split(" ", 1)[1] if failed else "tests could not start"


def baseline(folder: Path, tests: tuple[str, ...]) -> float:
    """CPU seconds of the tests without a mutant. Ends the program where they fail, or test another copy."""
    code = "import personalrm; print(personalrm.__file__)"
    environment = os.environ | {"PYTHONPATH": str(folder / "workflow")}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if not Path(found.stdout.strip()).is_relative_to(folder):
        sys.exit(f"the tests would import {found.stdout.strip() or found.stderr}, not the copy in {folder}")
    begin = _cpu_of_children()
    result, test = run_tests(folder, tests, WAIT_S)
    if result != "survived":
        sys.exit(f"the tests fail without any mutant: {test or result}")
    return _cpu_of_children() - begin


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run the mutants that the file lacks, and print the share that is killed."""
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
    times: dict[tuple[str, ...], float] = {}
    with tempfile.TemporaryDirectory() as name, given.out.open("a", encoding="utf-8", newline="") as file:
        folder = Path(name).resolve()
        scratch_copy(folder)
        for mutant in (one for one in mutants if one.key not in results):
            tests, path = TARGETS[mutant.module], folder / PACKAGE / mutant.module
            times.setdefault(tests, 0.0)
            times[tests] = times[tests] or baseline(folder, tests)
            source, begin = sources[mutant.module].encode(), time.monotonic()
            path.write_bytes(source[: mutant.begin] + mutant.after.encode() + source[mutant.end :])
            result, test = run_tests(folder, tests, 10 + int(4 * times[tests]))
            path.write_bytes(source)
            results[mutant.key] = result
            csv.writer(file).writerow([*mutant.key, result, test, f"{time.monotonic() - begin:.1f}"])
            file.flush()
    judged = [results[mutant.key] for mutant in mutants]
    killed = len(judged) - judged.count("survived")
    print(f"{killed} of {len(judged)} mutants killed ({killed / len(judged):.1%}); the others: {given.out}")


if __name__ == "__main__":
    main()
