"""How a config describes a model, in every study."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from personalrm.core.conditions import VerdictMode
from personalrm.core.credentials import clean_key, is_key
from personalrm.judge.judge import PromptStyle
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.backends.openai_format import RESERVED, as_extra_body
from personalrm.llm.types import MAX_TOKENS, ModelSpec, SystemRole

Omittable = Literal["temperature", "top_p", "seed", "stop", "logprobs", "top_logprobs", "response_format"]
Positive = Annotated[int, Field(ge=1)]


class ModelConfig(BaseModel):
    """One model: how to reach it, and how it judges (docs/models.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    backend: Literal["litellm", "openai", "embedded"] = "litellm"
    """How the model is reached: hosted providers through LiteLLM, any endpoint with the OpenAI protocol, or a server
    that the run starts on this machine."""
    model: str
    """LiteLLM's id, the endpoint's id, or an id of `personalrm models list`."""
    snapshot: str = ""
    """Dated version, or any name of weights, precision and server version; part of the identity of the model."""
    same_weights: bool = False
    """Every server of this id and snapshot has the same weights, so that its answers are found at another address, too.
    Needs a `snapshot`."""
    api_base: str | None = None
    """Address of the endpoint. Part of the identity of the model, unless it is OpenAI's own or `same_weights` is
    set."""
    api_base_env: str | None = None
    """Environment variable that holds the address, in place of `api_base`."""
    api_key_env: str | None = None
    """Environment variable that holds the key (from the environment or `.env`); never the key itself."""
    path: str | None = None
    """Embedded: a local model file, whose SHA-256 is checked."""
    context_length: Positive = 8192
    """Window of the model in tokens. A prompt that certainly does not fit is not sent."""
    tokenizer: Path | None = None
    """Path of the model's `tokenizer.json`, with which prompts that may not fit are counted. Without it, OpenAI's
    models are counted with their own tokenizers and others are estimated (at most a token for 3 bytes)."""
    prompts: PromptStyle = "standard"
    """`compact` is for small models: the label follows at once, and is read from log-probabilities only."""
    verdicts: Annotated[list[VerdictMode], Field(min_length=1)] = ["text"]
    """How verdicts are read: words, log-probabilities in each order, or one verdict per pair from both orders. Each has
    rows of its own; the first is used for learning."""
    max_tokens: Positive = 1024
    """Longest answer of a `text` judgment, in tokens: reasoning and verdict."""
    max_concurrency: Positive = 32
    """Most calls of one job in flight. It begins with 1, then 8, and follows the answers of the provider."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Longest time of one call, in seconds."""
    deadline_s: Annotated[float, Field(gt=0)] = 900.0
    """Longest time of one call with its retries, in seconds."""
    max_attempts: Positive = 6
    """Most attempts of one call; a 429 does not count."""
    requests_per_minute: Positive | None = None
    """The provider's limit, shared by all jobs of one machine; not for `embedded`."""
    tokens_per_minute: Positive | None = None
    """The provider's limit, shared by all jobs of one machine; not for `embedded`."""
    price_in: Annotated[float, Field(ge=0)] | None = None
    """US dollars per million prompt tokens, where LiteLLM's list has no price."""
    price_out: Annotated[float, Field(ge=0)] | None = None
    """US dollars per million written tokens, where LiteLLM's list has no price."""
    extra_body: dict[str, JsonValue] = {}
    """Sent with each request (backends `openai` and `litellm`); part of the identity of the model. vLLM and SGLang need
    `{continue_final_message: true, add_generation_prompt: false}` for log-probability verdicts."""
    sent_as: str = ""
    """Id that requests name, where it is not `model`; part of the identity of the model. Without it `model` is sent as
    it stands (to OpenAI's own address without a leading `openai/`)."""
    omit: list[Omittable] = []
    """Fields that are not sent because the server refuses them; part of the identity of the model."""
    system_role: SystemRole = "system"
    """`user`: instructions stand at the beginning of the user's message, for models without a system role; part of the
    identity of the model."""
    token_limit_key: Annotated[str, Field(pattern="^[A-Za-z_]+$")] = MAX_TOKENS
    """Field in which the longest answer is sent, as `max_completion_tokens`; part of the identity of the model."""
    batch: BatchSettings | None = None
    """`{}`: stages that do not adapt send batches at half the price; backend `openai` only."""

    @field_validator("api_key_env", "api_base_env")
    @classmethod
    def _no_value(cls, value: str | None) -> str | None:
        if value is not None and is_key(value):
            raise ValueError(
                "must be the name of an environment variable (letters, digits, '_'), not the value itself; put the "
                "value into the environment or .env under a name, and give that name here"
            )
        return value

    @field_validator("api_base")
    @classmethod
    def _clean(cls, value: str | None) -> str | None:
        return clean_key(value or "") or None

    @field_validator("extra_body")
    @classmethod
    def _not_ours(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        ours = sorted(RESERVED & set(value))
        if ours:
            raise ValueError(f"{', '.join(ours)}: set by the requests themselves; remove it here")
        return value

    @model_validator(mode="after")
    def _reachable(self) -> ModelConfig:
        if self.same_weights and not self.snapshot:
            raise ValueError("same_weights: needs a snapshot, which names these weights; add it, or remove this key")
        if self.backend == "openai" and not (self.api_base or self.api_base_env):
            raise ValueError("backend 'openai' needs api_base (or api_base_env, the variable that holds it)")
        if self.backend != "openai" and self.batch is not None:
            raise ValueError(f"batch: backend {self.backend!r} sends no batches; remove it, or use backend 'openai'")
        for key in ("extra_body", "sent_as", "omit", "system_role", "token_limit_key"):
            if self.backend == "embedded" and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: of backends 'openai' and 'litellm' only; remove it")
        if self.token_limit_key in {*self.extra_body, *RESERVED} - {MAX_TOKENS}:
            raise ValueError(f"token_limit_key: {self.token_limit_key} is sent already; give another field")
        if self.reads_labels and {"logprobs", "top_logprobs"} & set(self.omit):
            raise ValueError("omit: verdicts are read from log-probabilities; set verdicts: [text], prompts: standard")
        return self

    @property
    def reads_labels(self) -> bool:
        """Whether any stage may read labels from log-probabilities: `compact` prompts of analyses do, too."""
        return self.prompts == "compact" or any(mode != "text" for mode in self.verdicts)

    def spec(self, name: str) -> ModelSpec:
        """How to reach the model; `api_base_env` is looked up in the environment of the process."""
        known: dict[str, Any] = {each.name: getattr(self, each.name, None) for each in fields(ModelSpec)}
        if self.api_base is None and self.api_base_env:
            known["api_base"] = clean_key(os.environ.get(self.api_base_env, "")) or None
        if self.backend == "embedded" and not self.snapshot:
            from personalrm.llm.local.catalogue import get_entry

            known["snapshot"] = get_entry(self.model).sha256
        known["tokenizer"] = str(self.tokenizer) if self.tokenizer else None
        written = {"extra_body": as_extra_body(self.extra_body), "omit": tuple(self.omit)}
        return ModelSpec(**known | written | {"name": name})
