"""Bradley-Terry reward models: a base model with a scalar head, fine-tuned on pairs of texts.

r is read at the last token of a text: conversation and answer in the chat template of the base. The loss of a pair is
-log s(r(chosen) - r(rejected)). What is said of a user is a system turn before the conversation, the same for both
answers; without it the text is the plain one. TRL trains (https://huggingface.co/docs/trl/reward_trainer), with PEFT's
adapters where only these are tuned.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.modeling_outputs import SequenceClassifierOutput
from trl import RewardConfig, RewardTrainer

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import PreferencePair, Turn
from personalrm.methods.base import LogOdds
from personalrm.methods.reward.hyper import BTHyper
from personalrm.train.bases import open_base, separate_pad
from personalrm.train.encoders import EncoderSettings
from personalrm.train.features import Wide
from personalrm.train.fine_tuning import Tuned, Updates, fine_tune, put_weights
from personalrm.train.texts import Tokeniser, Tokens, batches, cuts, token_limit
from personalrm.train.trainer import Run, seeded


class Example(NamedTuple):
    """A pair to be learned, and what is said of its user."""

    context: tuple[Turn, ...]
    chosen: str
    rejected: str
    system: str = ""

    @classmethod
    def of(cls, pair: PreferencePair, system: str) -> Example:
        """A pair with what is said of its user."""
        return cls(pair.context, pair.chosen, pair.rejected, system)


class ScoreHead(nn.Linear):
    """The scalar head, in float32 also where the base computes in bfloat16, which has too few digits for a reward."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Rewards at all places, (..., 1), from hidden states (..., dim)."""
        with torch.autocast(hidden.device.type, enabled=False):
            return nn.functional.linear(hidden.float(), self.weight)


@dataclass(frozen=True, eq=False)
class Network:
    """A base with a scalar head, in memory (`methods.base.TrainedReward`); made by `open_network`.

    Attributes:
        model: of transformers, or wrapped by PEFT.
        tokenizer: pads with a token that is not its end token.
        tokenise: a conversation, an answer and what is said of the user as tokens.
        settings: of the base; its pooling is not read.
        identity: of the base's weights.
        seen: numbers of texts that were rated, and of those that were cut, by what was cut.
    """

    model: Any
    tokenizer: Any
    tokenise: Callable[[Sequence[Turn], str, str], Tokens]
    settings: EncoderSettings
    identity: str
    seen: Counter[str] = field(default_factory=Counter)

    def adapt(self, _pairs: Sequence[PreferencePair], system: str = "") -> LogOdds:
        """The log-odds of a user of whom this is said; votes change nothing."""

        def log_odds(targets: Sequence[PreferencePair]) -> Sequence[float]:
            found: list[float] = self.log_odds([Example.of(pair, system) for pair in targets]).tolist()
            return found

        return log_odds

    def rewards(self, texts: Sequence[Tokens]) -> Wide:
        """Rewards of texts, (texts,), in their order; what else is in a batch changes them by rounding alone."""
        distinct = sorted({tokens.ids: tokens for tokens in texts}.values(), key=lambda one: (len(one.ids), one.ids))
        found: dict[tuple[int, ...], float] = {}
        training = self.model.training
        self.model.eval()
        with torch.inference_mode(), self._precision():
            for batch in batches(distinct, self.settings.batch_tokens):
                found.update(zip((tokens.ids for tokens in batch), self._forward(batch), strict=True))
        self.model.train(training)
        return np.array([found[tokens.ids] for tokens in texts], dtype=np.float64)

    def log_odds(self, examples: Sequence[Example]) -> Wide:
        """r(chosen) - r(rejected) of each, (examples,)."""
        texts = [text for one in examples for text in self.sides(one)]
        self.seen.update({"texts": len(texts), **cuts(texts)})
        rated = self.rewards(texts)
        found: Wide = rated[::2] - rated[1::2]
        return found

    def sides(self, one: Example) -> tuple[Tokens, Tokens]:
        """The texts of the chosen and of the rejected answer."""
        return self.tokenise(one.context, one.chosen, one.system), self.tokenise(one.context, one.rejected, one.system)

    def _precision(self) -> Any:  # noqa: ANN401 - a context manager of torch
        device = torch.device(self.settings.device).type
        return torch.autocast(device, torch.bfloat16, enabled=self.settings.dtype == "bfloat16")

    def _forward(self, batch: Sequence[Tokens]) -> list[float]:
        longest = max(len(tokens.ids) for tokens in batch)
        ids = torch.full((len(batch), longest), self.tokenizer.pad_token_id)
        real = torch.zeros_like(ids)
        for row, mask, tokens in zip(ids, real, batch, strict=True):
            row[: len(tokens.ids)] = torch.tensor(tokens.ids)
            mask[: len(tokens.ids)] = 1
        device = self.settings.device
        logits = self.model(input_ids=ids.to(device), attention_mask=real.to(device), use_cache=False).logits
        found: list[float] = logits[:, 0].double().cpu().tolist()
        return found


@contextmanager
def open_network(
    settings: EncoderSettings, hyper: BTHyper, seed: int, *, cache_dir: Path | None = None
) -> Iterator[Network]:
    """The base with a new head, and new adapters where these are tuned, both drawn from `seed`.

    Raises:
        EmbeddedModelError: the file of an embedded model is nowhere.
        ConfigError: there is no such base or device, the base cannot have a scalar head at its last token, its
            vocabulary has no token to pad with, or `max_tokens` is more than it takes.
    """
    named = f"base {settings.base}"
    # Weights that are not tuned need no more digits than the base computes with.
    frozen = hyper.tuning == "lora"
    dtype = getattr(torch, settings.dtype) if frozen else torch.float32
    with open_base(settings.base, settings.revision, cache_dir) as base:
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(base.path, revision=base.revision)
            model: Any = AutoModelForSequenceClassification.from_pretrained(
                base.path, revision=base.revision, num_labels=1, dtype=dtype, attn_implementation="sdpa"
            )
        except (OSError, ValueError, ImportError, SafetensorError) as error:
            raise ConfigError(f"{named}: transformers cannot load it with a scalar head: {error}") from error
        if not isinstance(getattr(model, "score", None), nn.Linear):
            raise ConfigError(f"{named}: has no scalar head at its last token; give a causal language model")
        model.config.get_text_config().pad_token_id = separate_pad(tokenizer)
        most = token_limit(base.limits(model, tokenizer), settings.max_tokens, named)
        tokeniser = Tokeniser(tokenizer, min(most, hyper.max_tokens or most), settings.text, named)
        _read_last(model)
        with seeded(seed):
            model.score = _new_head(model)
            model = get_peft_model(model, _adapters(hyper)) if frozen else model
        try:
            model.to(settings.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"{named}: device {settings.device!r} cannot be used: {error}") from error
        yield Network(model, tokenizer, tokeniser.tokenise, settings, base.identity_of(model))


def _read_last(model: Any) -> None:  # noqa: ANN401
    """Make the model read r at the last token that the attention mask shows. transformers looks for the last one that
    is not the pad token, and a text may end in that token."""
    kind = type(model)

    # Trainers read the arguments from the signature.
    @wraps(kind.forward)
    def forward(
        self: Any,  # noqa: ANN401
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        **_more: object,
    ) -> SequenceClassifierOutput:
        read = self.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        rated = self.score(read.last_hidden_state)
        places = torch.arange(rated.shape[1], device=rated.device)
        last = (places * attention_mask.to(rated.device)).argmax(dim=1)
        return SequenceClassifierOutput(logits=rated[torch.arange(len(rated), device=rated.device), last])

    model.__class__ = type(kind.__name__, (kind,), {"__module__": kind.__module__, "forward": forward})


def _new_head(model: Any) -> ScoreHead:  # noqa: ANN401
    head = ScoreHead(model.score.in_features, 1, bias=False)
    nn.init.normal_(head.weight, std=getattr(model.config.get_text_config(), "initializer_range", 0.02))
    return head


def _adapters(hyper: BTHyper) -> Any:  # noqa: ANN401
    where = {"target_modules": "all-linear", "modules_to_save": ["score"]}
    return LoraConfig(task_type="SEQ_CLS", r=hyper.rank, lora_alpha=hyper.alpha, lora_dropout=0.0, **where)


@contextmanager
def open_trained(folder: Path, settings: EncoderSettings, *, cache_dir: Path | None = None) -> Iterator[Network]:
    """The network that `Tuned.save` wrote, on the base that `settings` name.

    Raises DataError that names the folder where its files are missing or damaged, or are of another base.
    """
    tensors, card = Tuned.load(folder)
    try:
        hyper = BTHyper(**card["hyper"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder}: no trained weights ({error}); train again") from error
    with open_network(settings, hyper, 0, cache_dir=cache_dir) as network:
        try:
            if network.identity != card.get("base"):
                raise DataError(f"now {network.identity}")
            put_weights(network.model, tensors)
        except DataError as error:
            raise DataError(
                f"{folder}: trained on another base ({card.get('base')}, {error}); give the base that it was "
                "trained on, or train again"
            ) from error
        yield network


class _Tokenised(NamedTuple):
    """Training pairs as tokens, sorted by content, so that the order in which they were given changes nothing."""

    pairs: list[tuple[Tokens, Tokens]]

    @classmethod
    def of(cls, network: Network, examples: Sequence[Example]) -> _Tokenised:
        """Raises DataError without any example."""
        if not examples:
            raise DataError("reward model: no pair to learn from")
        return cls(sorted((network.sides(one) for one in examples), key=lambda one: (one[0].ids, one[1].ids)))

    @property
    def dataset(self) -> Any:  # noqa: ANN401
        """As TRL reads it."""
        return Dataset.from_dict(
            {"chosen_ids": [a.ids for a, _ in self.pairs], "rejected_ids": [b.ids for _, b in self.pairs]}
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all tokens."""
        return stable_hash(*(json.dumps([a.ids, b.ids]) for a, b in self.pairs))

    @property
    def counts(self) -> dict[str, int]:
        """For the card: tokens, and texts that were cut."""
        texts = [text for pair in self.pairs for text in pair]
        return {"train_pairs": len(self.pairs), "tokens": sum(len(text.ids) for text in texts), **cuts(texts)}


def fit(
    network: Network, examples: Sequence[Example], held_out: Sequence[Example], hyper: BTHyper, seed: int, run: Run
) -> Tuned:
    """Tune the network in place.

    Args:
        network: new, opened with `hyper` and `seed`.
        examples: training pairs; their order changes nothing.
        held_out: pairs of validation users, for the curve.
        hyper: hyper-parameters.
        seed: of the order of the pairs.
        run: where to run; its `checkpoint` is a folder for all trainings of this job, or None to keep no checkpoint.

    Raises DataError without examples, and where the loss or a weight is not finite.
    """
    data, asked = _Tokenised.of(network, examples), asdict(hyper)
    card = {"hyper": asked, "seed": seed, "base": network.identity, "data": data.fingerprint, **data.counts}
    card |= {"validation_pairs": len(held_out)}

    def trainer(arguments: dict[str, Any], callbacks: list[Any]) -> _Trainer:
        # Pairs were cut before; TRL would leave out longer ones.
        own = {"center_rewards_coefficient": hyper.centre or None, "max_length": None}
        return _Trainer(
            model=network.model,
            args=RewardConfig(**arguments, **own),
            train_dataset=data.dataset,
            processing_class=network.tokenizer,
            callbacks=callbacks,
        )

    def right() -> dict[str, float]:
        odds = network.log_odds(held_out)
        return {"held_out": float(np.mean((odds > 0) + 0.5 * (odds == 0)))}

    updates = _updates(network.settings, hyper, len(data.pairs))
    found = fine_tune(network.model, trainer, len(data.pairs), updates, card, seed, run, right if held_out else None)
    # As `trainer.Point` has them.
    curve = [(int(one["step"]), one.get("loss"), one.get("held_out")) for one in found.card["curve"]]
    return found._replace(card=found.card | {"curve": curve})


def _updates(settings: EncoderSettings, hyper: BTHyper, rows: int) -> Updates:
    asked = asdict(hyper)
    same = {name: asked[name] for name in ("lr", "batch", "epochs", "schedule", "weight_decay")}
    same |= {name: asked[name] for name in ("at_once", "steps", "recompute", "evaluate_every")}
    made = Updates(**same, warmup=0, device=settings.device, dtype=settings.dtype)
    # The library rounds a share up: the learning rate of a single update, the first of a warm-up, would be 0.
    return replace(made, warmup=int(made.total(rows) * asked["warmup"]))


class _Trainer(RewardTrainer):
    """TRL's trainer, which tells nobody of it."""

    def _send_telemetry(self) -> None:
        """Nothing."""

    def create_model_card(self, *_args: object, **_more: object) -> None:
        """None: the project's card says how weights were made."""
