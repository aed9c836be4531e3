"""Texts as tokens: an answer alone or after its conversation in a model's chat template, cut to a limit.

Tokens of the conversation and of the answer are made apart, so that what is cut is known: the conversation loses its
oldest tokens, and the answer is kept whole. Only an answer that alone exceeds the limit loses its end. A system turn
that says something about the user stands before the conversation. It loses its end only where it takes more than half
of the room that the answer leaves, and the conversation needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from personalrm.core.errors import ConfigError
from personalrm.core.records import Turn

Text = Literal["chat", "answer"]
DATE = "26 Jul 2024"
"""Instead of today's date, which some chat templates write: texts, and so rewards, depend on no day. Templates of
Llama 3 have this one where they are given no clock."""


class Tokens(NamedTuple):
    """One text. The answer's tokens are the last `answer` ones."""

    ids: tuple[int, ...]
    answer: int
    context_cut: bool
    answer_cut: bool
    system_cut: bool = False


class Tokeniser:
    """Makes tokens of texts for one model.

    Args:
        tokenizer: of transformers.
        limit: most tokens of a text.
        text: `chat`, conversation and answer in the chat template (a model without one reads the turns, separated by
            blank lines); `answer`, the answer alone without a template.
        named: what messages call the model.

    Raises ConfigError where the limit has no room beside special tokens.
    """

    def __init__(self, tokenizer: Any, limit: int, text: Text, named: str) -> None:  # noqa: ANN401
        self._tokenizer = tokenizer
        self._limit = limit
        self._text = text
        self._named = named
        self._template = without_clock(tokenizer)
        self._before, self._after = special_tokens(tokenizer)
        if limit <= (special := len(self._before) + len(self._after)):
            raise ConfigError(f"{named}: max_tokens {limit} has no room beside {special} special tokens")

    def tokenise(self, context: Sequence[Turn], answer: str, system: str = "") -> Tokens:
        """The tokens of one text, cut to the limit. `system` is a system turn before the conversation, if any."""
        before, after = list(self._before), list(self._after)
        if self._text == "chat" and self._template:
            first, head, tail = self._chat(context, answer, system)
            # The template has its own special tokens.
            before, after = [], []
        else:
            turns = context if self._text == "chat" else ()
            first = f"{system}\n\n" if system else ""
            head, tail = "".join(f"{turn.content}\n\n" for turn in turns), answer
        known, start, end = self._ids(first), self._ids(head), self._ids(tail)
        room = self._limit - len(before) - len(after)
        kept = end[:room]
        room -= len(kept)
        known_kept = known[: max(room - len(start), room // 2)]
        start_kept = start[max(0, len(start) - (room - len(known_kept))) :]
        ids = (*before, *known_kept, *start_kept, *kept, *after)
        # A text without any token: what stands for it is the end token.
        ids = ids or (self._tokenizer.eos_token_id or 0,)
        return Tokens(
            ids,
            max(1, len(kept) + len(after)),
            len(start_kept) < len(start),
            len(kept) < len(end),
            len(known_kept) < len(known),
        )

    def _chat(self, context: Sequence[Turn], answer: str, system: str) -> tuple[str, str, str]:
        """The text in the chat template, in three parts: up to the first turn after the system turn (empty without
        `system`), from there up to the answer, and from there with the end of its turn."""
        turns = _turns_with(context, system)
        render = partial(_render_chat, self._tokenizer, named=self._named, template=self._template)
        # An answer without a conversation is the whole text.
        prompt = render(turns, add_generation_prompt=True) if turns else ""
        whole = render([*turns, {"role": "assistant", "content": answer}])
        other = render([*turns[:1], {"role": "user", "content": "\0"}]) if system else ""
        start = alike(prompt, whole)
        first = min(alike(other, prompt), start)
        return whole[:first], whole[first:start], whole[start:]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _turns_with(context: Sequence[Turn], system: str) -> list[dict[str, str]]:
    """Turns as templates read them, after a system turn with `system`, if any."""
    turns: list[dict[str, str]] = [turn.model_dump() for turn in context]
    if not system:
        return turns
    # A conversation's own system turn comes after what is said about the user, in one turn: templates know one.
    own = [turn.pop("content") for turn in turns[:1] if turn["role"] == "system"]
    return [{"role": "system", "content": "\n\n".join([system, *own])}, *turns[len(own) :]]


def _render_chat(
    tokenizer: Any,  # noqa: ANN401
    turns: Sequence[dict[str, str]],
    *,
    named: str,
    template: str | None,
    add_generation_prompt: bool = False,
) -> str:
    """The turns in a chat template. Raises ConfigError where it refuses them; `named` is what the message calls the
    model."""
    try:
        return str(
            tokenizer.apply_chat_template(
                turns, chat_template=template, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )
    except Exception as error:
        # Templates raise what they like: of jinja, or their own.
        roles = ", ".join(turn["role"] for turn in turns)
        raise ConfigError(
            f"{named}: its chat template refuses a conversation with the roles {roles}: {error}. "
            "Use text: answer, or another base"
        ) from error


def without_clock(tokenizer: Any) -> str | None:  # noqa: ANN401
    """The chat template with `DATE` instead of today's date; None without a template."""
    template: str | None = tokenizer.get_chat_template() if tokenizer.chat_template else None
    if template and "strftime_now" in template:
        # The line break ends with the block, so that the template begins a line as before.
        return f"{{% macro strftime_now(form) %}}{DATE}{{% endmacro %}}\n{template}"
    return template


def alike(one: Sequence[object], other: Sequence[object]) -> int:
    """Number of characters, or tokens, with which both begin."""
    both = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(both) if a != b), min(len(one), len(other)))


class _Row(Protocol):
    @property
    def ids(self) -> tuple[int, ...]: ...


Row = TypeVar("Row", bound=_Row)


def batches(rows: Sequence[Row], most: int) -> Iterator[list[Row]]:
    """Rows of tokens in their order (from short to long), as many at once as fit in `most` tokens, padding included."""
    batch: list[Row] = []
    for row in rows:
        if batch and (len(batch) + 1) * len(row.ids) > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def cuts(texts: Sequence[Tokens]) -> dict[str, int]:
    """Numbers of texts whose conversation, answer or system turn was cut."""
    return {
        "contexts_cut": sum(text.context_cut for text in texts),
        "answers_cut": sum(text.answer_cut for text in texts),
        "systems_cut": sum(text.system_cut for text in texts),
    }


def token_limit(known: Iterable[int | None], wanted: int | None, named: str) -> int:
    """Most tokens of a text, special ones included: the least of what is known of the model `named` (its config, its
    tokenizer, the catalogue), or `wanted` ones.

    The tokenizer is among them: RoBERTa has two positions that no token can take. Raises ConfigError where more are
    wanted.
    """
    most = min(one for one in known if one is not None)
    if wanted is not None and wanted > most:
        raise ConfigError(f"{named}: max_tokens {wanted} exceeds its {most}")
    return wanted or most


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:  # noqa: ANN401
    """What the tokenizer puts before and after a text without a template (BERT: one each; GPT-2: none)."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(n for n in range(len(whole)) if whole[n : n + len(plain)] == plain)
    return list(whole[:start]), list(whole[start + len(plain) :])
