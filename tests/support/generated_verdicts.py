"""Judged users made up for tests: each method has a true accuracy, each user a leaning of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from personalrm.core.conditions import K
from personalrm.core.records import CallRef, JudgedUser, Label, Outcome, Verdict, write_records

Rule = Callable[[np.random.Generator, float, bool], tuple[Outcome, Label | None]]


class Cell(NamedTuple):
    """One way of judging: what a row of the main table stands for, and how good it truly is."""

    method: str
    accuracy: float
    judge_model: str | None = "judge-1b"
    profile_model: str | None = None
    k: K | None = None
    variant: str = "corrected"
    dataset: str = "generated"
    draws: int = 1


def position(outcome: Outcome, swapped: bool) -> Label | None:
    """Where the judge pointed: the chosen answer is first unless the order is swapped."""
    if outcome not in ("correct", "wrong"):
        return None
    return "first" if (outcome == "correct") != swapped else "second"


def noisy(generator: np.random.Generator, accuracy: float, swapped: bool) -> tuple[Outcome, Label | None]:
    """Right with probability `accuracy`; one judgment in fifty is a tie or cannot be parsed."""
    draw = generator.random()
    outcome: Outcome = "tie" if draw < 0.01 else "unparsed" if draw < 0.02 else "wrong"
    if outcome == "wrong" and generator.random() < accuracy:
        outcome = "correct"
    return outcome, position(outcome, swapped)


def always_first(_g: np.random.Generator, _a: float, swapped: bool) -> tuple[Outcome, Label | None]:
    """Says "first" whatever is shown."""
    return ("wrong" if swapped else "correct"), "first"


def oracle(_g: np.random.Generator, _a: float, swapped: bool) -> tuple[Outcome, Label | None]:
    """Always right."""
    return "correct", position("correct", swapped)


def outage(_g: np.random.Generator, _a: float, _s: bool) -> tuple[Outcome, Label | None]:
    """The provider never answers."""
    return "provider_error", None


def judged_users(
    cell: Cell, sizes: Sequence[int], *, seed: int = 0, rule: Rule = noisy, spread: float = 0.1
) -> Iterator[JudgedUser]:
    """Rows of one cell: user i has `sizes[i]` pairs; both orders, or one verdict a pair for `logprob_both`."""
    generator = np.random.default_rng([seed, *cell.method.encode(), cell.k if isinstance(cell.k, int) else 0])
    together = cell.method.endswith(".logprob_both")
    for draw in range(cell.draws):
        for user, size in enumerate(sizes):
            accuracy = float(np.clip(generator.normal(cell.accuracy, spread), 0, 1))
            verdicts = []
            for pair in range(size):
                for swapped in (False,) if together else (False, True):
                    outcome, said = rule(generator, accuracy, swapped)
                    verdicts.append(
                        Verdict(
                            pair_id=f"u{user}-p{pair}",
                            swapped=None if together else swapped,
                            outcome=outcome,
                            said=None if together else said,
                        )
                    )
            yield judged(cell, f"u{user}", verdicts, draw)


def judged(cell: Cell, user_id: str, verdicts: Sequence[Verdict], draw: int = 0) -> JudgedUser:
    """One row of a verdicts file, with one call a verdict where a model judges."""
    calls = tuple(
        CallRef(
            key=f"{cell.dataset}{cell.judge_model}{cell.method}{cell.k}{draw}{user_id}{number}",
            stage="judge",
            tokens_in=400,
            tokens_out=20,
            cost_usd=0.0001,
        )
        for number in range(len(verdicts) if cell.judge_model else 0)
    )
    return JudgedUser(
        dataset=cell.dataset,
        user_id=user_id,
        variant=cell.variant,
        profile_model=cell.profile_model,
        judge_model=cell.judge_model,
        method=cell.method,
        k=cell.k,
        draw=draw,
        status="ok" if verdicts else "failed",
        reason=None if verdicts else "test",
        verdicts=tuple(verdicts),
        calls=calls,
    )


def write_cells(
    folder: Path, cells: Iterable[Cell], sizes: Sequence[int], *, seed: int = 0, rule: Rule = noisy
) -> list[Path]:
    """One verdicts file for each cell."""
    paths = []
    for number, cell in enumerate(cells):
        path = folder / f"{number:03d}.jsonl"
        write_records(path, judged_users(cell, sizes, seed=seed + number, rule=rule))
        paths.append(path)
    return paths


LEARNED_FROM: tuple[K, ...] = (2, "all")


def quickstart_cells() -> list[Cell]:
    """One data set, six methods, a model that judges by its own and by another's profiles, two values of k."""
    small, large = "SmolLM2-135M", "Qwen2.5-0.5B"
    cells = [Cell("random", 0.5, None), Cell("longer", 0.49, None)]
    for judge, gain in ((small, 0.0), (large, 0.04)):
        cells.append(Cell("default.logprob", 0.52 + gain, judge))
        for method, accuracy in (("demos", 0.56), ("persona", 0.55), ("both", 0.59)):
            cells += [
                Cell(f"{method}.logprob", accuracy + gain + (0.05 if k == "all" else 0), judge, small, k)
                for k in LEARNED_FROM
            ]
    return cells


def paper_cells() -> list[Cell]:
    """Two data sets, three models, six methods, k = all."""
    cells = []
    for dataset, base in (("chatbot_arena", 0.55), ("prism", 0.53)):
        cells += [Cell("random", 0.5, None, dataset=dataset), Cell("longer", 0.53, None, dataset=dataset)]
        for model, gain in (("Llama-3.2-3B", 0.0), ("Llama-3.1-8B", 0.02), ("Llama-3.3-70B", 0.04)):
            cells.append(Cell("default", base + gain, model, dataset=dataset))
            for method, more in (("demos", 0.05), ("persona", 0.0), ("both", 0.06)):
                cells.append(Cell(method, base + gain + more, model, model, "all", dataset=dataset))
    return cells
