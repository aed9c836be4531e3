"""Asking models for the filters: how personal is a query, how personal the choice, and what a panel would choose."""

from __future__ import annotations

from dataclasses import dataclass

from personalrm.core.concurrency import concurrently
from personalrm.core.records import PreferencePair
from personalrm.data.filters.ratings import FAVOURS, PairRating, PanelVote
from personalrm.judge.call_recorder import Listener
from personalrm.judge.judge import JudgeContext, JudgeSettings, PromptStyle, is_cut, judge_once, presented_swapped
from personalrm.judge.parsing import parse_rating
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import Request

PREFILLED_TOKENS = 4
"""A number that follows at once needs no more."""
_SALT = "rate_responses"


@dataclass(frozen=True)
class PanelSettings(JudgeSettings):
    """How a member of the disagreement panel is asked: as a judge is, but for what people in general would prefer."""

    @property
    def prompt(self) -> Prompt:
        """The panel's prompt file of the style."""
        return load_prompt(f"panel_{self.style}")


def rating_prompts(style: PromptStyle) -> tuple[Prompt, Prompt]:
    """Prompts for the query and for the responses."""
    return load_prompt(f"rate_query_{style}"), load_prompt(f"rate_responses_{style}")


async def rate_pair(model: Listener, pair: PreferencePair, style: PromptStyle, max_tokens: int) -> PairRating:
    """Ratings of one pair, query and responses apart; a call that fails leaves its number None.

    A coin seeded by the pair's content decides which response is shown first: the rater does not see which was chosen.
    """
    swapped = presented_swapped(pair, _SALT)
    first, second = (pair.rejected, pair.chosen) if swapped else (pair.chosen, pair.rejected)
    query, responses = rating_prompts(style)
    (query_number, query_text), (number, text) = await concurrently(
        _rate(model, query, max_tokens, context=pair.context),
        _rate(model, responses, max_tokens, context=pair.context, first=first, second=second),
    )
    return PairRating(
        pair_id=pair.pair_id,
        query=query_number,
        responses=number,
        query_reasoning=query_text,
        responses_reasoning=text,
    )


async def _rate(model: Listener, prompt: Prompt, max_tokens: int, **values: object) -> tuple[int | None, str]:
    prefilled = prompt.has("assistant")
    request = Request(prompt.messages(**values), max_tokens=PREFILLED_TOKENS if prefilled else max_tokens)
    response = await model.ask(request)
    if response is None:
        return None, ""
    return parse_rating(response.text, prefilled=prefilled, cut=is_cut(response)), response.text


async def panel_votes(model: Listener, pair: PreferencePair, settings: PanelSettings) -> tuple[PanelVote, ...]:
    """One panel member's votes on a pair, on what people in general prefer, in both orders, with the text it gave."""

    async def vote(swapped: bool) -> PanelVote:
        verdict = await judge_once(model, pair, swapped, JudgeContext(), settings)
        return PanelVote(
            pair_id=pair.pair_id,
            swapped=swapped,
            favours=FAVOURS.get(verdict.outcome),
            outcome=verdict.outcome,
            reasoning="".join(model.texts[key] for key in verdict.calls) if settings.mode == "text" else "",
        )

    return tuple(await concurrently(vote(False), vote(True)))
