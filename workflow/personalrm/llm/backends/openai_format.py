"""The OpenAI chat protocol, both ways: a `Request` as a JSON body, a JSON body as a `Response`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from personalrm.core.errors import ModelCallError, TransientError
from personalrm.llm.limits.faults import Failure, to_error
from personalrm.llm.types import ModelSpec, Request, Response, SystemRole, TokenLogprobs, Usage

LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, as in the OpenAI API: JSON has no infinite numbers."""

RESERVED = frozenset(
    {"model", "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "stream"}
    | {"n", "logprobs", "top_logprobs", "response_format"}
)
"""Fields of a body that belong to each request, so that no `extra_body` may hold them."""

_ENDED = frozenset(
    {"stop", "length", "content_filter", "tool_calls", "function_call", "end_turn", "max_tokens", "stop_sequence"}
    | {"eos", "eos_token", "completed", "complete", "model_length"}
)
"""Reasons with which an answer may end, also an empty one."""
_BROKEN_OFF = re.compile(
    r"error|abort|cancel|fail|time_?out|insufficient|interrupt|unavailable|preempt|unload", re.IGNORECASE
)
"""Words in reasons with which a server ends an answer that it did not finish, whatever text it has sent until then."""
_FILTERED = frozenset(
    {"content_filter", "safety", "refusal", "sensitive", "recitation", "blocklist", "prohibited_content", "spii"}
    | {"content_filtered", "guardrail_intervened"}
)
"""Reasons that say that a filter of the model or the provider stopped the answer, which was paid for."""
_REPLY = frozenset(
    {"choices", "created", "id", "model", "object", "service_tier", "system_fingerprint", "usage"}
    | {"candidates", "content", "output", "response"}
)
"""Fields of a reply that say nothing of a failure, also of other formats, whose answers speak of anything."""
_MOST_TOKENS = 10**7
"""A larger count is no count."""

_SAMPLE_STRIDE = 1_000_003
_SEED_RANGE = 2**31


def wire_text(text: str) -> str:
    """`text` as it can be sent: lone surrogates, which no encoding can carry, become U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def valid_text(text: str) -> str:
    """`text` as every file and page can hold it: no lone surrogates, and no NUL."""
    return wire_text(text).replace("\0", "\ufffd")


def wire_messages(request: Request, system_role: SystemRole = "system") -> list[dict[str, str]]:
    """The messages of `request` as role/content objects.

    With `system_role` "user" an instruction becomes the beginning of the user message that follows it: templates of
    models without a system role want turns that alternate.
    """
    sent: list[dict[str, str]] = []
    joins = False
    for message in request.messages:
        content, instructs = wire_text(message.content), message.role == "system"
        role = system_role if instructs else message.role
        if joins and role == "user":
            sent[-1]["content"] += f"\n\n{content}"
        else:
            sent.append({"role": role, "content": content})
        joins = instructs and role == "user"
    return sent


def wire_seed(request: Request) -> int:
    """The seed to send. Repeated samples need their own: a seeded server would give each the same text."""
    return (request.seed + _SAMPLE_STRIDE * request.sample_index) % _SEED_RANGE


def wire_options(spec: ModelSpec, request: Request) -> dict[str, Any]:
    """All of the body but the model, its messages and `extra_body`, without what the spec omits.

    A `top_p` of 1, which cuts nothing off, is not sent to Claude: from version 4.1 on it refuses `temperature` and
    `top_p` together.
    """
    options: dict[str, Any] = {
        spec.token_limit_key: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": wire_seed(request),
    }
    if request.top_logprobs:
        options |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.stop:
        options["stop"] = list(request.stop)
    if request.json_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": json.loads(request.json_schema)}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
    left_out = {*spec.omit, *(("top_p",) if "claude" in spec.wire_id.lower() and request.top_p == 1 else ())}
    return {name: value for name, value in options.items() if name not in left_out}


def as_extra_body(values: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """`extra_body` of a spec from JSON values: each as its JSON text, in the order of the names."""
    return tuple((name, json.dumps(values[name], sort_keys=True)) for name in sorted(values))


def wire_extras(spec: ModelSpec) -> dict[str, Any]:
    """The config's `extra_body`; a value that is JSON ("true", "0.5", "{…}") is sent as such, else as text."""
    extras: dict[str, Any] = {}
    for name, value in spec.extra_body:
        try:
            extras[name] = json.loads(value)
        except ValueError:
            extras[name] = value
    return extras


def wire_body(spec: ModelSpec, request: Request) -> dict[str, Any]:
    """The body of one chat completion."""
    messages = wire_messages(request, spec.system_role)
    return {"model": spec.wire_id, "messages": messages, **wire_options(spec, request)} | wire_extras(spec)


def prefill_of(request: Request) -> str:
    """The text that the model is asked to continue, or an empty text."""
    last = request.messages[-1] if request.messages else None
    return wire_text(last.content) if last is not None and last.role == "assistant" else ""


def strip_prefill(content: str, prefill: str, logprobs: Sequence[str] = ()) -> str:
    """`content` without the echoed `prefill`.

    Some servers (llama.cpp) repeat the prefill in the content, some of them without its trailing blanks;
    others return the continuation alone. Where the generated tokens are known and already spell the
    content, nothing was echoed, even if the continuation happens to begin with the same words.
    """
    if not prefill or (logprobs and "".join(logprobs) == content):
        return content
    for echoed in (prefill, prefill.rstrip()):
        if echoed and content.startswith(echoed):
            return content[len(echoed) :]
    return content


def parse_body(body: object, request: Request, where: str, key_env: str | None = None) -> Response:
    """The answer in a decoded JSON body of status 200.

    Raises the error that an error object stands for, of the body or of its choice (TransientError where it has no code
    of its own), and TransientError for a body without choice or message and for an answer that the server broke off.
    What a filter stopped is an answer (`finish_reason` "content_filter"): it was paid for.
    """
    if not isinstance(body, Mapping):
        raise TransientError(f"{where}: the body is not a JSON object")
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    # litellm moves what it has no field for one level down, and takes for "stop" what it does not know.
    choice = {**as_mapping(as_mapping(first).get("provider_specific_fields")), **as_mapping(first)}
    for error in (body.get("error"), choice.get("error")):
        if error:
            raise _body_error(error, where, key_env)
    if not isinstance(first, Mapping):
        # Servers also report failures without `error`: as `base_resp`, `detail`, `errors`, or a code and a message.
        rest = {name: value for name, value in body.items() if value and name not in _REPLY}
        # Ollama's own format has the answer here.
        if isinstance(rest.get("message"), Mapping):
            del rest["message"]
        raise _body_error(rest, where, key_env, "the body has no choices")
    native, finish = _text(choice.get("native_finish_reason")), _text(choice.get("finish_reason"))
    if finish == "stop" and native and native.lower() not in _ENDED:
        finish = native
    if finish.lower() in _FILTERED:
        finish = "content_filter"
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise TransientError(f"{where}: the choice has no message (finish_reason {finish!r})")
    if not isinstance(message.get("content"), str | list | None):
        raise TransientError(f"{where}: the content of the message is no text")
    response = _response(body, choice, finish, request)
    if is_broken_off(response):
        raise TransientError(f"{where}: the server broke the answer off (finish_reason {finish!r})")
    return response


def _response(body: Mapping[str, Any], choice: Mapping[str, Any], finish: str, request: Request) -> Response:
    message = as_mapping(choice["message"])
    special = as_mapping(message.get("provider_specific_fields"))
    tokens = as_list(as_mapping(choice.get("logprobs")).get("content"))
    spelled = [str(as_mapping(token).get("token", "")) for token in tokens]
    return Response(
        text=strip_prefill(_said(message.get("content")), prefill_of(request), spelled),
        finish_reason=finish,
        usage=_usage(as_mapping(body.get("usage"))),
        logprobs=tuple(_token_logprobs(as_mapping(token)) for token in tokens) if request.top_logprobs else (),
        reasoning=_text(message.get("reasoning_content") or message.get("reasoning") or message.get("thinking")),
        refusal=_text(message.get("refusal") or special.get("refusal")),
        model=_text(body.get("model")),
    )


def is_broken_off(response: Response) -> bool:
    """Whether this is a failure in the form of an answer: one that the server gave up, or an empty one without end."""
    empty = not response.text and not response.refusal
    reason = response.finish_reason.lower()
    return bool(_BROKEN_OFF.search(reason)) or (empty and reason not in _ENDED)


def _body_error(error: object, where: str, key_env: str | None, what: str = "error in the body") -> ModelCallError:
    """The failure in an error object that came with status 200."""
    code = str(error.get("code")) if isinstance(error, Mapping) else ""
    status = int(code) if re.fullmatch(r"[45]\d\d", code) else 200
    text = json.dumps(error, ensure_ascii=False) if isinstance(error, Mapping) else str(error)
    return to_error(Failure(status, f"{what}: {text}"), where, key_env)


def as_mapping(value: object) -> Mapping[str, Any]:
    """A JSON object; empty for anything else."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: object) -> list[Any]:
    """A JSON array; empty for anything else."""
    return value if isinstance(value, list) else []


def _said(content: object) -> str:
    """Text of a message's content without its parts that are thinking."""
    if isinstance(content, list):
        content = [part for part in content if as_mapping(part).get("type") not in ("reasoning", "thinking")]
    return _text(content)


def _text(value: object) -> str:
    """Text of a content field, made valid: null is empty; content parts are joined."""
    if isinstance(value, list):
        return "".join(_text(part if isinstance(part, str) else as_mapping(part).get("text")) for part in value)
    return valid_text(value) if isinstance(value, str) else ""


def _token_logprobs(token: Mapping[str, Any]) -> TokenLogprobs:
    """Alternatives of one token, best first; the chosen token itself where the server lists none."""
    listed = as_list(token.get("top_logprobs")) or [token]
    pairs = [(valid_text(str(as_mapping(t).get("token", ""))), _logprob(as_mapping(t).get("logprob"))) for t in listed]
    # Stable: servers list best first, and equal values keep the server's order.
    return TokenLogprobs(top=tuple(sorted(pairs, key=lambda pair: -pair[1])))


def _logprob(value: object) -> float:
    """A finite log-probability; the lowest for what is none."""
    # A comparison with NaN is false; a whole number may be larger than any float.
    if isinstance(value, int | float) and LOWEST_LOGPROB <= value <= -LOWEST_LOGPROB:
        return float(value)
    return LOWEST_LOGPROB


def _usage(usage: Mapping[str, Any]) -> Usage:
    """Token counts; a count that is absent is 0."""
    cached = as_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")
    return Usage(
        tokens_in=_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        tokens_out=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        tokens_cached=_count(cached),
    )


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value <= _MOST_TOKENS else 0
