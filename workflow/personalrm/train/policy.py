"""Causal language models as policies: log-probabilities of completions, and greedy generation.

A prompt and its completion become tokens apart. The tokenizer's first token stands before them, and the end token after
them. Texts that begin alike are read together (`token_trees.py`). Padding has a token of its own, and a mask, so that
what else is in a batch changes numbers by rounding alone: below 1e-4 in float32; in bfloat16 up to its own precision.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import sha256_file
from personalrm.train import WEIGHTS
from personalrm.train.bases import Base, open_base, separate_pad
from personalrm.train.features import Wide
from personalrm.train.fine_tuning import Tuned, put_weights
from personalrm.train.policy_settings import Generated, PolicySettings, Text, Tuning
from personalrm.train.texts import Tokens, batches, special_tokens, token_limit
from personalrm.train.token_trees import Batch, Tree, batch_of, grouped, reads_trees, text_log_probs, token_log_probs
from personalrm.train.trainer import seeded


@dataclass(frozen=True, eq=False)
class Policy:
    """A model in memory; made by `open_policy`.

    Attributes:
        model: of transformers, or wrapped by PEFT.
        tokenizer: pads with a token that is not its end token.
        settings: how it was opened.
        tuning: which weights a training changes; None for a model that is only read.
        identity: of the weights with which it started.
        limit: most tokens of a text whose log-probability is taken.
        context: most tokens that the model takes.
        reload: makes the model as it started, without adapters.
        seen: numbers of texts and prompts that were read, and of those that were cut, by what was cut.
    """

    model: Any
    tokenizer: Any
    settings: PolicySettings
    tuning: Tuning | None
    identity: str
    limit: int
    context: int
    reload: Callable[[], Any]
    seen: Counter[str] = field(default_factory=Counter)

    def tokens(self, text: Text) -> Tokens:
        """The text as tokens, cut to the limits, with the end token. `answer` counts those of the completion."""
        before = self._before
        end = [*self._ids(text.completion), int(self.tokenizer.eos_token_id)]
        kept = end[: self.limit - len(before)]
        room = min(self.limit - len(before) - len(kept), self.settings.max_prompt_tokens or self.limit)
        start = self._ids(text.prompt)
        start_kept = start[max(0, len(start) - room) :]
        ids = (*before, *start_kept, *kept)
        return Tokens(ids, len(kept), len(start_kept) < len(start), len(kept) < len(end))

    def log_probs(self, texts: Sequence[Text]) -> Wide:
        """log pi(completion | prompt) of each, (texts,): sums over the tokens of the completion and its end token."""
        made = [self.tokens(text) for text in texts]
        cut = {
            "prompts_cut": sum(one.context_cut for one in made),
            "completions_cut": sum(one.answer_cut for one in made),
        }
        self.seen.update({"texts": len(made), **cut})
        return self.sums(made)

    def reference_log_probs(self, texts: Sequence[Text]) -> Wide:
        """The same of the model as it started."""
        return self.sums([self.tokens(text) for text in texts], reference=True)

    def sums(self, texts: Sequence[Tokens], *, reference: bool = False) -> Wide:
        """Log-probabilities summed over the last `answer` tokens of each text, (texts,), in their order; equal texts
        and what texts share are read once. `reference`: those of the model as it started."""
        distinct = {(text.ids, text.answer): text for text in texts}.values()
        rows = self.trees(grouped(distinct, self.settings.batch_tokens))
        rows.sort(key=lambda tree: (len(tree.ids), tree.ids))
        found: dict[tuple[tuple[int, ...], int], float] = {}
        model, turned_off = self.model, nullcontext()
        if reference and self.tuning and self.tuning.kind == "lora":
            turned_off = self.model.disable_adapter()
        elif reference and self.tuning:
            model = self._reference
        training = model.training
        model.eval()
        with torch.inference_mode(), self.precision(), turned_off:
            for batch in batches(rows, self.settings.batch_tokens):
                read = batch_of(batch, self._pad, self.settings.device)
                whose = [(text.ids, text.answer) for tree in batch for text in tree.texts]
                sums = text_log_probs(token_log_probs(model, read).double(), read, len(whose))
                found.update(zip(whose, sums.tolist(), strict=True))
        model.train(training)
        return np.array([found[one.ids, one.answer] for one in texts], dtype=np.float64)

    def trees(self, groups: Iterable[Sequence[Tokens]]) -> list[Tree]:
        """A tree for each group of texts, or for each text where the model reads no trees."""
        if self._reads_trees:
            return [Tree.of(group) for group in groups]
        return [Tree.of([text]) for group in groups for text in group]

    def batch(self, groups: Iterable[Sequence[Tokens]]) -> Batch:
        """Groups of texts as a batch on the CPU, texts in their order."""
        return batch_of(self.trees(groups), self._pad)

    def generate(
        self, prompts: Sequence[str], *, max_new_tokens: int, min_new_tokens: int = 0, stop: Sequence[str] = ()
    ) -> list[Generated]:
        """How the model goes on, by the most probable token each time, in the order of the prompts.

        Args:
            prompts: a longer one than the model takes with `max_new_tokens` loses its start.
            max_new_tokens: most tokens.
            min_new_tokens: the end token is not taken before so many.
            stop: a text ends before the first of these strings, also within the least tokens.

        Raises ConfigError where the model has no room for a prompt.
        """
        room = self.context - max_new_tokens - len(self._before)
        if room < 1:
            raise ConfigError(
                f"base {self.settings.base}: takes {self.context} tokens, so that {max_new_tokens} new ones leave no "
                "room for a prompt; generate fewer"
            )
        asked = {prompt: (*self._before, *self._ids(prompt)[-room:]) for prompt in prompts}
        self.seen.update(prompts=len(prompts), prompts_cut=sum(len(self._ids(one)) > room for one in prompts))
        distinct = sorted(set(asked.values()), key=lambda ids: (len(ids), ids))
        wanted = {"max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens}
        found: dict[tuple[int, ...], Generated] = {}
        training, own = self.model.training, self.model.generation_config
        # A base's own settings may sample, or punish repetition.
        self.model.generation_config = GenerationConfig(eos_token_id=self._ends, pad_token_id=self._pad)
        self.model.eval()
        try:
            grown = [Tokens(ids + (0,) * max_new_tokens, 0, False, False) for ids in distinct]
            for batch in batches(grown, self.settings.batch_tokens):
                rows = [one.ids[:-max_new_tokens] for one in batch]
                found.update(zip(rows, self._continued(rows, wanted, stop), strict=True))
        finally:
            self.model.generation_config = own
            self.model.train(training)
        return [found[asked[prompt]] for prompt in prompts]

    def _continued(
        self, rows: Sequence[tuple[int, ...]], wanted: dict[str, int], stop: Sequence[str]
    ) -> list[Generated]:
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self._pad)
        for row, given in zip(ids, rows, strict=True):
            row[longest - len(given) :] = torch.tensor(given)
        real = torch.arange(longest)[None] >= torch.tensor([longest - len(given) for given in rows])[:, None]
        device = self.settings.device
        with torch.inference_mode(), self.precision():
            made = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=real.long().to(device),
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([_Stop(self.tokenizer, stop, longest)]),
                **wanted,
            )
        return [self._read(row, stop) for row in made[:, longest:].cpu().tolist()]

    def _read(self, ids: list[int], stop: Sequence[str]) -> Generated:
        """What a row of new tokens says."""
        end = next((n for n, one in enumerate(ids) if one in self._ends), None)
        text = str(self.tokenizer.decode(ids[:end], skip_special_tokens=True))
        places = [place for one in stop if (place := text.find(one)) >= 0]
        return Generated(text[: min(places)] if places else text, end is None and not places)

    def precision(self) -> Any:  # noqa: ANN401 - a context manager of torch
        """In which the model computes."""
        device = torch.device(self.settings.device).type
        return torch.autocast(device, torch.bfloat16, enabled=self.settings.dtype == "bfloat16")

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    @cached_property
    def _before(self) -> list[int]:
        return special_tokens(self.tokenizer)[0]

    @cached_property
    def _reads_trees(self) -> bool:
        return reads_trees(self.model)

    @property
    def _pad(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @cached_property
    def _ends(self) -> list[int]:
        """End tokens: the tokenizer's, and those of the model's own settings."""
        own = self.model.generation_config.eos_token_id
        more = own if isinstance(own, list) else [own] * (own is not None)
        return sorted({int(self.tokenizer.eos_token_id), *more})

    @cached_property
    def _reference(self) -> Any:  # noqa: ANN401
        return self.reload().to(self.settings.device)


class _Stop(StoppingCriteria):
    """Ends the rows whose new text has a stop string."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], start: int) -> None:  # noqa: ANN401
        self._tokenizer, self._stop, self._start = tokenizer, stop, start

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_more: object) -> torch.Tensor:
        """Whether each row is done, (rows,)."""
        done = [False] * len(input_ids)
        if self._stop:
            texts = self._tokenizer.batch_decode(input_ids[:, self._start :], skip_special_tokens=True)
            done = [any(one in text for one in self._stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


@contextmanager
def open_policy(
    settings: PolicySettings,
    tuning: Tuning | None,
    seed: int,
    *,
    start: Sequence[Path] = (),
    cache_dir: Path | None = None,
) -> Iterator[Policy]:
    """The base, with the weights of earlier trainings, and new adapters where these are tuned, drawn from `seed`.

    Args:
        settings: of the model.
        tuning: which weights a training will change; None to read the model only.
        seed: of new adapters.
        start: folders of earlier trainings, each begun where the one before ended; their weights are merged.
        cache_dir: where embedded models are.

    Raises:
        EmbeddedModelError: the file of an embedded model is nowhere.
        ConfigError: there is no such base or device, it is no causal language model, its vocabulary has no token to pad
            or to end with, or `max_tokens` is more than it takes or leaves no room.
        DataError: a folder of `start` is damaged, or its training began elsewhere.
    """
    named = f"base {settings.base}"
    with open_base(settings.base, settings.revision, cache_dir) as base:
        dtype = torch.float32 if tuning and tuning.kind == "full" else getattr(torch, settings.dtype)

        def load() -> Any:  # noqa: ANN401
            return _started(base, start, dtype, named)[0]

        model, identity = _started(base, start, dtype, named)
        tokenizer = _tokenizer(base, named)
        pad = separate_pad(tokenizer)
        model.config.get_text_config().pad_token_id = pad
        known = base.limits(model, tokenizer)
        limit, context = token_limit(known, settings.max_tokens, named), token_limit(known, None, named)
        if limit <= len(special_tokens(tokenizer)[0]):
            raise ConfigError(f"{named}: max_tokens {limit} has no room for a text")
        if tuning and tuning.kind == "lora":
            with seeded(seed):
                model = get_peft_model(model, _adapters(tuning))
        try:
            model.to(settings.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"{named}: device {settings.device!r} cannot be used: {error}") from error
        yield Policy(model, tokenizer, settings, tuning, identity, limit, context, load)


def _tokenizer(base: Base, named: str) -> Any:  # noqa: ANN401
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(base.path, revision=base.revision)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"{named}: transformers cannot load its tokenizer: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"{named}: its tokenizer has no end token, so that no text would end")
    return tokenizer


def _started(base: Base, start: Sequence[Path], dtype: torch.dtype, named: str) -> tuple[Any, str]:
    """The model with the weights of earlier trainings merged, and what identifies them."""
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            base.path,
            revision=base.revision,
            # Merged weights have the digits in which they were trained.
            dtype=torch.float32 if start else dtype,
            attn_implementation="sdpa",
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise ConfigError(f"{named}: transformers cannot load it as a causal language model: {error}") from error
    identity = base.identity_of(model)
    for folder in start:
        tensors, card = Tuned.load(folder)
        if card.get("base") != identity:
            raise DataError(f"{folder}: trained from {card.get('base')}, not from {identity}; train again")
        try:
            tuning = Tuning(**card["tuning"])
            if tuning.kind == "lora":
                model = get_peft_model(model, _adapters(tuning))
            put_weights(model, tensors)
        except (DataError, KeyError, TypeError) as error:
            raise DataError(f"{folder}: no weights of a policy ({error}); train again") from error
        if tuning.kind == "lora":
            # PEFT froze the weights: a further training may tune all of them.
            model = model.merge_and_unload().requires_grad_(True)
        identity += f" + sha256:{sha256_file(folder / WEIGHTS)}"
    return model.to(dtype), identity


def _adapters(tuning: Tuning) -> Any:  # noqa: ANN401
    where = {"target_modules": "all-linear"} if tuning.layers == "all" else {}
    sizes = {"r": tuning.rank, "lora_alpha": tuning.alpha, "lora_dropout": tuning.dropout}
    return LoraConfig(task_type="CAUSAL_LM", bias="none", **sizes, **where)


def save_merged(
    settings: PolicySettings, start: Sequence[Path], folder: Path, *, cache_dir: Path | None = None
) -> None:
    """Write the base with the weights of trainings merged, as a folder of transformers, whole or not at all.

    Such a folder is a base again, and is what servers (vLLM) and converters (llama.cpp) read. Errors as `open_policy`;
    DataError where the folder holds something.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder}: is not empty; remove it, or name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        open_policy(settings, None, 0, start=start, cache_dir=cache_dir) as policy,
        tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
    ):
        policy.model.save_pretrained(Path(scratch, "model"))
        policy.tokenizer.save_pretrained(Path(scratch, "model"))
        os.replace(Path(scratch, "model"), folder)
