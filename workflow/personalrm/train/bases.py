"""Base models as folders that transformers reads: a local folder, a hub repository, or an embedded model.

An embedded GGUF file is converted once, to a folder in the model cache with weights in float32, so that every class of
transformers, peft and trl can load it. Quantised weights are exact there: only their form changes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from personalrm.core.errors import ConfigError, EmbeddedModelError
from personalrm.core.files import file_lock, sha256_file, stable_hash
from personalrm.llm.local.catalogue import CatalogueEntry, get_entry
from personalrm.llm.local.fetch import default_cache_dir, ensure_model
from personalrm.train.base_names import kind_of_base

# Bars and notes on weights of heads that features do not need would fill the jobs' logs.
logging.set_verbosity_error()
logging.disable_progress_bar()

CONVERSION = "1"
"""Raise it when what `_convert` writes changes: earlier folders in caches are then made again."""
PAD_TOKENS = ("<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>")
"""Tokens of known vocabularies that may pad, in order, where a tokenizer pads with its end token."""


@dataclass(frozen=True)
class Base:
    """Where transformers finds a model.

    Attributes:
        path: a folder, or the id of a hub repository.
        revision: of the hub repository; None for a folder, or for `main`.
        identity: hash or name of the content; for a hub repository without a revision, its name alone.
        context_length: in tokens, what the catalogue says; None where the model's own config decides.
    """

    path: str
    revision: str | None
    identity: str
    context_length: int | None = None

    def identity_of(self, model: Any) -> str:  # noqa: ANN401
        """`identity`, with the commit of a hub repository from which `model` was loaded."""
        commit = getattr(model.config, "_commit_hash", None)
        return f"{self.identity.split('@')[0]}@{commit}" if commit else self.identity

    def limits(self, model: Any, tokenizer: Any) -> tuple[int | None, ...]:  # noqa: ANN401
        """What is known of the most tokens of a text, for `token_limit`."""
        return self.context_length, getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length


@contextmanager
def open_base(name: str, revision: str | None = None, cache_dir: Path | None = None) -> Iterator[Base]:
    """The base model `name`.

    An encoder of the catalogue is unpacked for as long as the context is open.

    Raises:
        EmbeddedModelError: the file of an embedded model is nowhere.
        ConfigError: as `kind_of_base` does.
    """
    kind = kind_of_base(name, revision)
    if kind == "hub":
        yield Base(name, revision, f"{name}@{revision or 'main'}")
        return
    if kind == "folder":
        files = sorted(path for path in Path(name).rglob("*") if path.is_file())
        digests = [part for path in files for part in (str(path.relative_to(name)), sha256_file(path))]
        yield Base(name, None, f"folder {stable_hash(*digests)}")
        return
    entry = get_entry(name, encoders=True)
    file = ensure_model(entry, cache_dir=cache_dir)
    identity = f"{name} sha256:{entry.sha256}"
    if entry.kind == "chat":
        yield Base(str(_converted(entry, file, cache_dir or default_cache_dir())), None, identity, entry.context_length)
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Base(str(_unpacked(file, Path(scratch))), None, identity, entry.context_length)


def _unpacked(file: Path, scratch: Path) -> Path:
    """The folder of the model inside a zip file, unpacked below `scratch`."""
    with zipfile.ZipFile(file) as archive:
        configs = [Path(name) for name in archive.namelist() if name.endswith("/config.json")]
        # A folder of pooling settings has a config of its own, deeper than the model's.
        folder = min(configs, key=lambda path: len(path.parts)).parent
        archive.extractall(scratch, [name for name in archive.namelist() if Path(name).parent == folder])
    return scratch / folder


def _converted(entry: CatalogueEntry, file: Path, cache_dir: Path) -> Path:
    """The folder of a converted GGUF file; processes that need the same one convert it once."""
    folder = cache_dir / "torch" / f"{entry.id}-{entry.sha256[:8]}-v{CONVERSION}"
    if folder.is_dir():
        return folder
    with file_lock(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                made = Path(scratch, "model")
                convert_gguf(file, made)
                os.replace(made, folder)
    return folder


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file to `folder`, as transformers saves them, in float32.

    Raises EmbeddedModelError where transformers cannot read the file.
    """
    source: dict[str, str] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(**source)
        model: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    except (OSError, ValueError, ImportError) as error:
        raise EmbeddedModelError(f"{file}: transformers cannot read it: {error}") from error
    # The weights are dequantised, but the model still says that it is quantised, and would not be saved.
    model.hf_quantizer = None
    model.is_quantized = False
    for owner, mark in ((model, "quantization_method"), (model.config, "quantization_config")):
        if hasattr(owner, mark):
            delattr(owner, mark)
    # A GGUF file without an output matrix shares it with the input embedding, and the loaded config may not say so.
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if embedding.shape == head.shape and torch.equal(embedding, head):
        model.config.tie_word_embeddings = True
        model.tie_weights()
    model.config.pad_token_id = separate_pad(tokenizer)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def separate_pad(tokenizer: Any) -> int:  # noqa: ANN401 - transformers has no common type
    """Give the tokenizer a pad token that is not its end token, and return its id.

    Where both are one token, what reads "the last token that is no padding" reads the wrong one: a chat turn ends in
    the end token.

    Raises ConfigError where the vocabulary has no token of PAD_TOKENS: a token would have to be added.
    """
    ends = {tokenizer.eos_token_id, None}
    if tokenizer.pad_token_id in ends:
        vocabulary = tokenizer.get_vocab()
        found = [token for token in PAD_TOKENS if vocabulary.get(token) not in ends]
        if not found:
            raise ConfigError(f"tokenizer of {tokenizer.name_or_path}: no pad token other than the end token")
        tokenizer.pad_token = found[0]
    return int(tokenizer.pad_token_id)
