"""Token counts of an answer: the provider's, or estimates where a reply has none that makes sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from personalrm.llm import tokens
from personalrm.llm.types import ModelSpec, Request, Response, Usage

HIDDEN = 20_000
"""Tokens that a provider may count in addition to what was sent, and to what was allowed: its own instruction, and
thinking that it does not show (our choice)."""


class Remark(NamedTuple):
    """Something about a server's counts that a reader of the results should know; `kind` tells it from others."""

    kind: str
    text: str


def counts_of(request: Request, response: Response) -> Usage:
    """The counts of a response; estimated (`estimated`) where they are missing, zero, or more than a text can have.

    A token has one byte at least.
    """
    usage, said = response.usage, f"{response.text}{response.reasoning}{response.refusal}"
    sent = tokens.prompt_bytes(request.messages)
    known_in = 0 < usage.tokens_in <= sent + HIDDEN
    known_out = (usage.tokens_out > 0 or not said) and usage.tokens_out <= request.max_tokens + HIDDEN
    if known_in and known_out and usage.tokens_cached <= usage.tokens_in:
        return usage
    tokens_in = usage.tokens_in if known_in else tokens.at_most(request.messages)
    tokens_out = usage.tokens_out if known_out else min(request.max_tokens, tokens.of_text(said))
    return Usage(tokens_in, tokens_out, min(usage.tokens_cached, tokens_in), estimated=True)


def remarks_on(spec: ModelSpec, request: Request, given: Usage, kept: Usage) -> Iterator[Remark]:
    """What the counts `given` in a reply, and those that are `kept`, say of the server."""
    if 0 < given.tokens_in < tokens.at_least(request.messages) / 2:
        yield Remark(
            "cuts prompts",
            f"the server counts {given.tokens_in} tokens in a prompt of {tokens.prompt_bytes(request.messages)} bytes; "
            f"does it cut prompts? Give it a larger context, or set models.{spec.name}.context_length to the one it "
            f"has",
        )
    if kept.estimated:
        yield Remark("no counts", "replies have no token counts that make sense; cost and budget use estimates")
