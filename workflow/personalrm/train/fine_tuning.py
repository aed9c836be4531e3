"""What all fine-tuning by a trainer of transformers shares: its arguments, checkpoints, the curve, weights as files.

A training that was killed resumes from a checkpoint of transformers with equal bits. Only a folder whose last file is
whole counts as one. Its tensors are read as data: reading one runs no code.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_text, stable_hash
from personalrm.train import CARD, WEIGHTS
from personalrm.train.checkpoint import read_card
from personalrm.train.trainer import Run, deterministic

Tensors = dict[str, torch.Tensor]

POINTS = 50
"""Most points of the loss in the curve."""
STATE = "trainer_state.json"
"""The file that transformers writes last into a checkpoint."""
OF_OPTIMISER = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
"""Files of a checkpoint that transformers does not miss."""
_UNREADABLE = (OSError, EOFError, LookupError, ValueError, RuntimeError, pickle.UnpicklingError, SafetensorError)
"""What torch, safetensors and json raise for damaged files."""


class Tuned(NamedTuple):
    """What training found: the tuned weights under the names of transformers or PEFT, and how they were made, as
    JSON."""

    tensors: Tensors
    card: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write both files. The card comes last, so that a folder with a card is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        # Written under another name and renamed, by the library; unlike bytes, weights are not held twice.
        save_file(self.tensors, folder / WEIGHTS)
        atomic_write_text(folder / CARD, json.dumps(self.card, indent=1, sort_keys=True) + "\n")
        # The library makes private files.
        shutil.copymode(folder / CARD, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> Tuned:
        """Read what `save` wrote. Raises DataError that names a folder whose files are missing or damaged."""
        card = read_card(folder)
        try:
            return cls(load_file(folder / WEIGHTS), card)
        except (OSError, ValueError, SafetensorError) as error:
            raise DataError(f"{folder}: no trained weights ({error}); train again") from error


def tuned_weights(model: Any) -> Tensors:  # noqa: ANN401 - of transformers, or wrapped by PEFT
    """The weights that training changes, on the CPU: those of adapters where the model has any, or else all. Weights
    that two names share stand under the first."""
    adapters = isinstance(model, PeftModel)
    found = get_peft_model_state_dict(model, save_embedding_layers=False) if adapters else model.state_dict()
    distinct = {(value.data_ptr(), value.shape): name for name, value in reversed(found.items())}
    kept = set(distinct.values())
    return {name: value.detach().cpu().contiguous() for name, value in found.items() if name in kept}


@dataclass(frozen=True)
class Updates:
    """How weights are updated.

    Attributes:
        lr: learning rate.
        batch: rows per update.
        at_once: rows in memory at the same time; a batch is gathered of so many.
        epochs: passes over the rows; not read where `steps` are given.
        steps: updates; 0 for what the epochs give.
        schedule: of the learning rate, after the warm-up.
        warmup: updates in which the learning rate grows from 0.
        weight_decay: of AdamW.
        recompute: compute activations twice, to need less memory.
        device: as torch names it.
        dtype: in which the model computes.
        evaluate_every: updates between measurements on held-out rows; 0 for none.
        keep: the `last` weights, or those of the `best` (lowest) `held_out_loss`.
        more: arguments of transformers by name.
    """

    lr: float
    batch: int
    at_once: int
    epochs: float
    steps: int
    schedule: str
    warmup: int
    weight_decay: float
    recompute: bool
    device: str
    dtype: str
    evaluate_every: int = 0
    keep: Literal["last", "best"] = "last"
    more: tuple[tuple[str, Any], ...] = ()

    def total(self, rows: int) -> int:
        """Updates in all."""
        return self.steps or math.ceil(math.ceil(rows / self.batch) * self.epochs)

    def arguments(self, seed: int, every: int, folder: Path | None) -> dict[str, Any]:
        """Of `TrainingArguments`; `every`: updates between points of the loss."""
        return {
            "output_dir": str(folder or "unused"),
            "learning_rate": self.lr,
            "per_device_train_batch_size": self.at_once,
            "gradient_accumulation_steps": self.batch // self.at_once,
            "num_train_epochs": self.epochs,
            "max_steps": self.steps or -1,
            "lr_scheduler_type": {"constant": "constant_with_warmup"}.get(self.schedule, self.schedule),
            "warmup_steps": self.warmup,
            "weight_decay": self.weight_decay,
            "gradient_checkpointing": self.recompute,
            "bf16": self.dtype == "bfloat16",
            "use_cpu": self.device == "cpu",
            "seed": seed,
            "data_seed": seed,
            "logging_steps": every,
            "logging_nan_inf_filter": False,
            "save_strategy": "no",
            "save_total_limit": 1,
            "report_to": "none",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            **dict(self.more),
        }


def fine_tune(
    model: Any,  # noqa: ANN401
    trainer: Callable[[dict[str, Any], list[Any]], Any],
    rows: int,
    updates: Updates,
    card: dict[str, Any],
    seed: int,
    run: Run,
    measure: Callable[[], dict[str, float]] | None = None,
) -> Tuned:
    """Tune `model` in place.

    Args:
        model: on its device; it ends with the weights that are returned.
        trainer: makes a trainer of transformers, from arguments and callbacks.
        rows: number of training rows.
        updates: how to train.
        card: all that decides the result: a checkpoint of another training is not read.
        seed: of the order of rows.
        run: where to run; its `checkpoint` is a folder for all trainings of this job, or None to keep no checkpoint.
        measure: of held-out rows, by name; None where there are none.

    Returns:
        weights, and `card` with `versions`, `threads`, `steps`, `best_step` and `curve`, one entry per point: `step`,
        `loss` (mean since the point before) and what `measure` gives.

    Raises DataError where the loss or a weight is not finite, and for a damaged checkpoint.
    """
    versions = {name: version(name).split("+")[0] for name in ("torch", "transformers", "trl", "peft")}
    card = card | {"versions": versions, "threads": run.threads}
    key = stable_hash(json.dumps([card, repr(updates)], sort_keys=True))[:16]
    folder = run.checkpoint / key if run.checkpoint else None
    every = max(1, updates.total(rows) // POINTS)
    best = _Best(model, folder) if updates.keep == "best" else None
    course = _Course(measure, updates.evaluate_every, best, run.every_s if folder else math.inf, every)
    found = last_complete(folder) if folder else None
    with deterministic(run.threads):
        made = trainer(updates.arguments(seed, every, folder), [course])
        try:
            made.train(resume_from_checkpoint=str(found) if found else None)
        except _UNREADABLE as error:
            # Later than this, the checkpoint has been read, and the error is one of training.
            if found is None or course.begun or isinstance(error, torch.OutOfMemoryError):
                raise
            raise DataError(
                f"checkpoint {found}: damaged ({str(error).split(chr(10))[0]}); delete this folder to train from the "
                "start"
            ) from error
    done = made.state.global_step
    curve = _curve(made.state.log_history)
    chosen = best.restore(curve) if best else None
    tensors = tuned_weights(model)
    finite = all(torch.isfinite(value).all() for value in tensors.values())
    if not finite or not all(math.isfinite(value) for point in curve for value in point.values()):
        raise DataError("training: the loss or a weight is not finite; lower the learning rate")
    return Tuned(tensors, card | {"steps": done, "best_step": chosen or done, "curve": curve})


class _Best:
    """The weights of the lowest held-out loss; in a file where there are checkpoints, so that they outlive a process.

    A later file than the checkpoint does no harm: the training that resumes comes to the same weights again.
    """

    def __init__(self, model: Any, folder: Path | None) -> None:  # noqa: ANN401
        self._model, self._file = model, folder / "best.safetensors" if folder else None
        self._kept: Tensors = {}

    def note(self, loss: float, history: Sequence[dict[str, Any]]) -> None:
        """Keep the weights where no measurement before was as good."""
        if all(loss < entry["held_out_loss"] for entry in history if "held_out_loss" in entry):
            kept = {name: value.clone() for name, value in tuned_weights(self._model).items()}
            if self._file:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                scratch = self._file.with_suffix(".part")
                save_file(kept, scratch)
                os.replace(scratch, self._file)
            else:
                self._kept = kept

    def restore(self, curve: Sequence[dict[str, float]]) -> int | None:
        """Give the model its best weights; returns their step, None where nothing was measured."""
        measured = [(point["held_out_loss"], int(point["step"])) for point in curve if "held_out_loss" in point]
        finite = [one for one in measured if math.isfinite(one[0])]
        if not finite:
            return None
        put_weights(self._model, load_file(self._file) if self._file else self._kept)
        return min(finite)[1]


def put_weights(model: Any, tensors: Tensors) -> None:  # noqa: ANN401
    """Give a model weights that `tuned_weights` took from one of the same kind.

    Raises DataError where their names or shapes are not those of the model.
    """
    own = tuned_weights(model)
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in tensors.items()}:
        raise DataError("weights of another model")
    with torch.no_grad():
        if isinstance(model, PeftModel):
            set_peft_model_state_dict(model, tensors)
        else:
            # What shares its weights with another name is not among the tensors.
            model.load_state_dict(tensors, strict=False)


class _Course(TrainerCallback):
    """Measures on held-out rows, and decides when checkpoints are written: after a point of the loss, so that no part
    of a mean is lost with the process."""

    def __init__(
        self,
        measure: Callable[[], dict[str, float]] | None,
        evaluate_every: int,
        best: _Best | None,
        every_s: float,
        points_every: int,
    ) -> None:
        self._measure, self._best = measure, best
        self._evaluate_every, self._points_every = evaluate_every, points_every
        self._every_s, self._saved_at = every_s, time.monotonic()
        self.begun = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **_more: object) -> None:  # noqa: ANN401, ARG002
        """Before each update, when a checkpoint has been read whole."""
        self.begun = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_more: object) -> None:  # noqa: ANN401, ARG002
        """After each update."""
        last = state.global_step >= state.max_steps
        control.should_log |= last
        if self._measure and self._evaluate_every and (last or state.global_step % self._evaluate_every == 0):
            found = self._measure()
            if self._best:
                self._best.note(found["held_out_loss"], state.log_history)
            state.log_history.append({"step": state.global_step, **found})
        point = state.global_step % self._points_every == 0
        if point and not last and time.monotonic() - self._saved_at >= self._every_s:
            control.should_save, self._saved_at = True, time.monotonic()


def _curve(history: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """One entry per step: its loss and what was measured on held-out rows."""
    points: dict[int, dict[str, float]] = {}
    for entry in history:
        kept = {name: value for name, value in entry.items() if name == "loss" or name.startswith("held_out")}
        if kept:
            points.setdefault(entry["step"], {"step": entry["step"]}).update(kept)
    return [one for _, one in sorted(points.items())]


def last_complete(folder: Path) -> Path | None:
    """The checkpoint of the most steps in a folder that has all files, the last of them whole; others were being
    written when their process ended, or lost files since, and are removed."""
    whole = []
    for path in folder.glob("checkpoint-*") if folder.is_dir() else ():
        try:
            step = int(json.loads((path / STATE).read_text(encoding="utf-8"))["global_step"])
        except (OSError, ValueError, KeyError):
            step = None
        # transformers goes on from a checkpoint without them as if the optimiser were new.
        if step is None or not all((path / name).is_file() for name in OF_OPTIMISER):
            shutil.rmtree(path)
        else:
            whole.append((step, path))
    return max(whole)[1] if whole else None
