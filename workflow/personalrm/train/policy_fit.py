"""Training of policies: supervised fine-tuning, and preference optimisation (DPO, IPO).

One trainer of transformers with two losses, both on log-probabilities of completions. The reference of the preference
losses is the model as it started; its log-probabilities are taken once, before the first update, and kept beside the
checkpoints. Texts are sorted by content, so that the order in which they were given changes nothing. Checkpoints:
`fine_tuning.py`.

Sources: SFT and DPO as TRL 1.16 computes them (`SFTTrainer`, mean over the tokens of a batch; `DPOTrainer`, loss type
`sigmoid`, dropout switched off); DPO: Rafailov et al., 2023; IPO: Azar et al., 2024, on sums as in the code of FSPO
(Singh et al., 2025).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import logsigmoid
from transformers import Trainer, TrainingArguments

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import atomic_open, stable_hash
from personalrm.train.fine_tuning import Tuned, Updates, fine_tune
from personalrm.train.policy import Policy
from personalrm.train.policy_settings import Choice, ChoiceHyper, FitHyper, Text, TextHyper
from personalrm.train.texts import Tokens
from personalrm.train.token_trees import Batch, text_log_probs, token_log_probs
from personalrm.train.trainer import Run, deterministic

if TYPE_CHECKING:
    from collections.abc import Iterator


def fit_texts(
    policy: Policy, texts: Sequence[Text], held_out: Sequence[Text], hyper: TextHyper, seed: int, run: Run
) -> Tuned:
    """Tune the policy in place, so that the texts become more probable.

    The curve has the mean loss per token, and `held_out_loss`, the same of `held_out`.

    Args:
        policy: new, opened with weights to tune.
        texts: to learn; their order changes nothing.
        held_out: to measure on.
        hyper: hyper-parameters.
        seed: of the order of the texts, and of dropout.
        run: where to run; its `checkpoint` is a folder for all trainings of this job, or None to keep no checkpoint.

    Raises:
        ConfigError: the policy was opened to be read only, or best weights are wanted and nothing is held out.
        DataError: there is no text, or the loss or a weight is not finite.
    """
    made = sorted(_scored(policy.tokens(one), hyper) for one in texts)
    others = [_scored(policy.tokens(one), hyper) for one in held_out]

    def measure() -> dict[str, float]:
        return {"held_out_loss": -float(policy.sums(others).sum()) / sum(one.answer for one in others)}

    def collate(rows: list[Tokens]) -> Batch:
        return policy.batch([row] for row in rows)

    facts = _facts(made) | {
        "texts": len(made),
        "held_out": len(others),
        "held_out_data": _facts(sorted(others))["data"],
    }
    return _fit(policy, _Rows(made, collate, text_loss), measure if others else None, hyper, facts, seed, run)


def _scored(text: Tokens, hyper: TextHyper) -> Tokens:
    """The text with as many last tokens scored as the loss is taken on: the first of a text is never predicted."""
    return text if hyper.loss_on == "completion" else text._replace(answer=len(text.ids) - 1)


def fit_choices(
    policy: Policy, choices: Sequence[Choice], held_out: Sequence[Choice], hyper: ChoiceHyper, seed: int, run: Run
) -> Tuned:
    """Tune the policy in place, so that chosen completions gain on rejected ones, compared with how it started.

    The curve has the mean loss, and of `held_out`: `held_out_loss`, `held_out_margin` (mean of beta h) and
    `held_out_accuracy` (share of positive h; zero counts one half).

    Arguments and errors as of `fit_texts`.
    """
    made = sorted(_Pair.of(policy, one) for one in choices)
    others = sorted(_Pair.of(policy, one) for one in held_out)
    known = {pair: float(value) for pair, value in zip(made, _reference(policy, made, run), strict=True)}
    held_out_reference = _reference(policy, others, run)

    def measure() -> dict[str, float]:
        h = _margins(policy, others) - held_out_reference
        return {
            "held_out_loss": float(choice_loss(torch.from_numpy(h), hyper)),
            "held_out_margin": hyper.beta * float(h.mean()),
            "held_out_accuracy": float(np.mean((h > 0) + 0.5 * (h == 0))),
        }

    def collate(rows: list[_Pair]) -> Batch:
        return policy.batch(rows) | {"reference": torch.tensor([known[one] for one in rows], dtype=torch.float32)}

    def loss(model: Any, batch: Batch, _items: object) -> torch.Tensor:  # noqa: ANN401
        sums = text_log_probs(token_log_probs(model, batch), batch, 2 * len(batch["reference"]))
        return choice_loss(sums[::2] - sums[1::2] - batch["reference"], hyper)

    texts, measured = ([text for pair in pairs for text in pair] for pairs in (made, others))
    facts = _facts(texts) | {"choices": len(made), "held_out": len(others), "held_out_data": _facts(measured)["data"]}
    with _without_dropout(policy.model):
        return _fit(policy, _Rows(made, collate, loss), measure if others else None, hyper, facts, seed, run)


class _Pair(NamedTuple):
    """A choice as tokens."""

    chosen: Tokens
    rejected: Tokens

    @classmethod
    def of(cls, policy: Policy, one: Choice) -> _Pair:
        return cls(policy.tokens(Text(one.prompt, one.chosen)), policy.tokens(Text(one.prompt, one.rejected)))


def _reference(policy: Policy, pairs: Sequence[_Pair], run: Run) -> Any:  # noqa: ANN401 - (pairs,)
    """Margins of the model as it started. Those of a training that was killed are read from a file beside its
    checkpoints: they take as long as a third of an epoch."""
    if run.checkpoint is None or not pairs:
        return _margins(policy, pairs, reference=True)
    texts = _facts([text for pair in pairs for text in pair])["data"]
    kept_for = (policy.identity, policy.settings.dtype, run.device, str(run.threads), torch.__version__, texts)
    file = run.checkpoint / f"reference-{stable_hash(*kept_for)[:16]}.npy"
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, EOFError, ValueError):
        # None yet, or a damaged one.
        with deterministic(run.threads):
            found = _margins(policy, pairs, reference=True)
    with atomic_open(file) as stream:
        np.save(stream, found)
    return found


def _margins(policy: Policy, pairs: Sequence[_Pair], *, reference: bool = False) -> Any:  # noqa: ANN401 - (pairs,)
    sums = policy.sums([text for pair in pairs for text in pair], reference=reference)
    return sums[::2] - sums[1::2]


def _facts(texts: Sequence[Tokens]) -> dict[str, Any]:
    """For the card: hash of all tokens, their number, and numbers of texts that were cut."""
    return {
        "data": stable_hash(*(json.dumps([one.ids, one.answer]) for one in texts)),
        "tokens": sum(len(one.ids) for one in texts),
        "prompts_cut": sum(one.context_cut for one in texts),
        "completions_cut": sum(one.answer_cut for one in texts),
    }


def text_loss(model: Any, batch: Batch, items: torch.Tensor | int | None) -> torch.Tensor:  # noqa: ANN401
    """Minus the log-probability of the labels of a batch, (), divided by `items`, the labels of an update (None: those
    of the batch)."""
    return -token_log_probs(model, batch).sum() / (len(batch["text"]) if items is None else items)


def choice_loss(h: torch.Tensor, hyper: ChoiceHyper) -> torch.Tensor:
    """Mean loss, (), of h, (choices,): by how much more than the reference the policy prefers the chosen completion, in
    nats."""
    if hyper.loss == "ipo":
        return ((h - 1 / (2 * hyper.beta)) ** 2).mean()
    return -logsigmoid(hyper.beta * h).mean()


class _Rows(NamedTuple):
    """What a training reads: rows sorted by content, how some of them become a batch, and its loss from the model, the
    batch and the number of labels of the update."""

    rows: Sequence[Any]
    collate: Callable[[list[Any]], Batch]
    loss: Callable[[Any, Batch, Any], torch.Tensor]


class _Trainer(Trainer):
    """The trainer of transformers with a loss of ours."""

    def __init__(self, loss: Callable[[Any, Batch, Any], torch.Tensor], **given: Any) -> None:  # noqa: ANN401
        super().__init__(**given)
        self._own_loss = loss
        # A loss that divides by the labels of a whole update is not divided again by the parts of a batch.
        self.model_accepts_loss_kwargs = loss is text_loss

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401
        inputs: Batch,
        return_outputs: bool = False,  # noqa: ARG002
        num_items_in_batch: Any = None,  # noqa: ANN401
    ) -> torch.Tensor:
        """The loss of a part of a batch."""
        return self._own_loss(model, inputs, num_items_in_batch)


def _fit(
    policy: Policy,
    data: _Rows,
    measure: Callable[[], dict[str, float]] | None,
    hyper: FitHyper,
    facts: dict[str, Any],
    seed: int,
    run: Run,
) -> Tuned:
    if policy.tuning is None:
        raise ConfigError(f"base {policy.settings.base}: opened to be read; give what to tune")
    if not data.rows:
        raise DataError("policy: nothing to learn from")
    if hyper.keep == "best" and measure is None:
        raise ConfigError("keep: best needs held-out data; give some, or keep: last")
    settings = asdict(policy.settings)
    card = {"hyper": asdict(hyper), "tuning": asdict(policy.tuning), "seed": seed, "base": policy.identity, **facts}
    card |= {name: settings[name] for name in ("dtype", "max_tokens", "max_prompt_tokens")}
    card |= {"loss": getattr(hyper, "loss", "sft"), "end_token": policy.tokenizer.eos_token}

    def trainer(arguments: dict[str, Any], callbacks: list[Any]) -> _Trainer:
        return _Trainer(
            data.loss,
            model=policy.model,
            args=TrainingArguments(**arguments, remove_unused_columns=False),
            data_collator=data.collate,
            train_dataset=list(data.rows),
            callbacks=callbacks,
        )

    updates = _updates(policy, hyper, len(data.rows))
    return fine_tune(policy.model, trainer, len(data.rows), updates, card, seed, run, measure)


def _updates(policy: Policy, hyper: FitHyper, rows: int) -> Updates:
    names = ("lr", "batch", "at_once", "epochs", "steps", "schedule", "warmup", "weight_decay", "recompute", "keep")
    same: dict[str, Any] = {name: value for name, value in asdict(hyper).items() if name in names}
    every = math.ceil(rows / hyper.batch) if hyper.evaluate_every == "epoch" else hyper.evaluate_every
    more: tuple[tuple[str, Any], ...] = (("max_grad_norm", hyper.clip),)
    if hyper.optimiser == "rmsprop":
        more += (("optim", "rmsprop"),)
    where: dict[str, Any] = {"device": policy.settings.device, "dtype": policy.settings.dtype}
    return Updates(**same, **where, evaluate_every=every, more=more)


@contextmanager
def _without_dropout(model: Any) -> Iterator[None]:  # noqa: ANN401
    found = [(one, one.p) for one in model.modules() if isinstance(one, torch.nn.Dropout)]
    for one, _ in found:
        one.p = 0.0
    try:
        yield
    finally:
        for one, p in found:
            one.p = p
