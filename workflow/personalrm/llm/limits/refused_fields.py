"""Which key of the config changes what a server refuses to be sent, by the words of its refusal.

A field that a server does not take is refused in every request, so that such a refusal ends a job at its first call and
names the key (docs/models.md has a table of them). Words as in providers' documents and public reports.
"""

from __future__ import annotations

import re
from typing import NamedTuple

CONTINUE = "{continue_final_message: true, add_generation_prompt: false}"
"""Value of `extra_body` with which vLLM and SGLang continue the last message."""
_NOT_TAKEN = (
    r"(?:not (?:be )?(?:supported|allowed|permitted|accepted|enabled|recognized)|unsupported|unrecognized|unknown"
    r"|unavailable|unexpected|deprecated|invalid (?:parameter|argument|field)|extra (?:inputs|fields)|extra_forbidden"
    r"|(?:does not|doesn't|do not) (?:support|allow|accept)|only (?:the default|be|supports?)\b"
    r"|cannot both|not both|no longer|only allowed)"
)
_MUST_BE = r"(?:\.\w{1,20})?\W{1,3}(?:must|has to) (?:not )?be\b(?! at most)"
"""Directly behind the field: texts that an error repeats speak so of anything."""
_TEXT_VERDICTS = "verdicts: [text] and prompts: standard"


class _Field(NamedTuple):
    """A field of requests by its names in messages, and what to set. With `phrase` these words alone are a refusal;
    else they must stand near words that say so."""

    names: str
    remedy: str
    phrase: bool = False


_QUOTE = r"['\"`\[. ]"
_FIELDS = (
    _Field(r"max_completion_tokens\W{0,3} instead", "token_limit_key: max_completion_tokens", phrase=True),
    _Field(r"use \W?max_completion_tokens", "token_limit_key: max_completion_tokens", phrase=True),
    _Field(r"max_completion_tokens", "token_limit_key: max_tokens"),
    _Field(r"temperature\W{1,3}(and|or)\W{1,3}top_p|top_p\W{1,3}(and|or)\W{1,3}temperature", "omit: [top_p]"),
    _Field(r"\btemperature\b", "omit: [temperature, top_p]"),
    _Field(r"\btop_p\b", "omit: [top_p]"),
    _Field(rf"{_QUOTE}seed\b", "omit: [seed]"),
    _Field(rf"{_QUOTE}stop\b", "omit: [stop]"),
    _Field(r"response_format|json_schema|json schema|structured outputs?", "omit: [response_format]"),
    _Field(
        r"top_?logprobs\W.{0,60}(?:less than|at most|maximum|up to|between|<=)|sample logprobs of \d+.{0,60}\bmax",
        f"a larger limit of alternatives at the server (vLLM: --max-logprobs 20), or {_TEXT_VERDICTS}",
        phrase=True,
    ),
    _Field(r"logprobs", _TEXT_VERDICTS),
    _Field(
        r"maximum allowed number of output tokens|at most \d+ (completion|output) tokens|range of max_tokens"
        r"|max_tokens\W{1,3}(must|should|has to) be (less|at most|smaller|lower|<)",
        "a smaller max_tokens (of the model, or of the step)",
        phrase=True,
    ),
    _Field(
        r"system role not supported|\broles must alternate|developer instruction is not enabled"
        r"|only user\b.{0,40} roles are supported",
        "system_role: user",
        phrase=True,
    ),
    _Field(
        r"system['\"`]? (role|messages?|prompts?|instructions?)|role\W{1,4}system|['\"`]system['\"`]",
        "system_role: user",
    ),
    _Field(r"cannot set (?:both )?.{0,40}add_generation_prompt", f"extra_body: {CONTINUE}", phrase=True),
    _Field(
        r"continue_final_message|add_generation_prompt",
        f"{_TEXT_VERDICTS}, or the value of extra_body with which this server continues a message",
    ),
    _Field(
        r"not support assistant (message )?prefill|must end with a user message"
        r"|last message('s role)? (must|should) (be|have) .{0,20}\buser\b"
        r"|last message's role is user|expected last role",
        _TEXT_VERDICTS,
        phrase=True,
    ),
    _Field(r"enable_thinking\W{1,3}must be", "extra_body: {enable_thinking: false}", phrase=True),
    _Field(
        r"(unrecognized|unknown|unexpected) (request )?(argument|parameter|field)|extra_forbidden|unknown_parameter",
        "extra_body without this field, or omit with it",
        phrase=True,
    ),
)


def remedy_for(text: str) -> str | None:
    """What to set in a model's entry where a server refuses a field of requests; None where it says nothing of one.

    >>> remedy_for("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    'token_limit_key: max_completion_tokens'
    >>> remedy_for("the text speaks of temperature")
    """
    for names, remedy, phrase in _FIELDS:
        near = rf"{_NOT_TAKEN}.{{0,80}}(?:{names})|(?:{names})(?:.{{0,80}}{_NOT_TAKEN}|{_MUST_BE})|range of (?:{names})"
        if re.search(names if phrase else near, text, re.IGNORECASE | re.DOTALL):
            return remedy
    return None
