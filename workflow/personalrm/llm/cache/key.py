"""The response store's key: a hash of all that changes an answer and of nothing that does not."""

from __future__ import annotations

import hashlib
import json

from personalrm.llm.types import Request, split_identity

KEY_FORMAT = 1
"""Enters every key. Raise it only when the meaning of a `Request` field changes: every answer is then asked anew."""


def request_key(identity: str, request: Request) -> str:
    """SHA-256 (hex, 64 characters) of the model's `identity` and every field of `request`.

    Time-outs, API keys and concurrency are no part of a request, and so of no key. Numbers are normalised (a
    temperature of 0 and of 0.0 is one key). Our choice.
    """
    bare, endpoint = split_identity(identity)
    facts = {
        "format": KEY_FORMAT,
        "identity": bare,
        "messages": [[message.role, message.content] for message in request.messages],
        "max_tokens": int(request.max_tokens),
        "temperature": float(request.temperature),
        "top_p": float(request.top_p),
        "seed": int(request.seed),
        "sample_index": int(request.sample_index),
        "top_logprobs": int(request.top_logprobs),
        "stop": list(request.stop),
        "json_schema": request.json_schema,
    }
    # Not files.canonical_json: its ASCII escapes make two lone surrogates equal to the character they
    # spell; UTF-8 with surrogatepass keeps all texts apart and never fails.
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return key_at(endpoint, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def key_at(endpoint: str, key: str) -> str:
    """The key at an endpoint of a request whose key without endpoint is `key`; the same key if `endpoint` is empty.

    A function of the key alone, so that stored answers can be given the endpoint that they came from.
    """
    return hashlib.sha256(f"{endpoint}\n{key}".encode()).hexdigest() if endpoint else key
