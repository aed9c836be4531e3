"""Trainings of transformers whose process dies before an update, and go on in another one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Killed:
    """Kills the process that `run` starts, with SIGKILL, when a trainer has done so many updates.

    Attributes:
        steps: updates that were done before each loss that was computed in this process.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, trainer: Any, done: int, *, torn: bool = True) -> None:  # noqa: ANN401
        """`trainer` is the class whose `compute_loss` is watched; with `torn` the process dies while it writes the next
        checkpoint."""
        self.steps: list[int] = []
        self._killing = False
        before = trainer.compute_loss

        def counted(training: Any, *args: Any, **more: Any) -> Any:  # noqa: ANN401
            self.steps.append(training.state.global_step)
            if self._killing and training.state.global_step == done:
                if torn:
                    Path(training.args.output_dir, f"checkpoint-{done + 8}").mkdir(parents=True)
                os.kill(os.getpid(), signal.SIGKILL)
            return before(training, *args, **more)

        monkeypatch.setattr(trainer, "compute_loss", counted)

    def run(self, target: Callable[..., object], *args: Any, **named: Any) -> None:  # noqa: ANN401
        """Call `target` in a process of its own, which has to be killed."""
        self._killing = True
        process = multiprocessing.get_context("fork").Process(target=target, args=args, kwargs=named)
        process.start()
        process.join(120)
        self._killing = False
        assert process.exitcode == -signal.SIGKILL
