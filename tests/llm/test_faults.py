"""Kinds of failure by what providers send, as their documents and public reports show it (invented numbers)."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.core.errors import (
    ContextOverflow,
    FieldRefused,
    ModelCallError,
    OutOfTokens,
    RateLimited,
    Refused,
    RequestRejected,
    TransientError,
)
from personalrm.llm.limits.faults import Failure, ModelUnavailable, kind_of, retry_after_of, to_error


def error(message: str, **fields: object) -> str:
    return json.dumps({"error": {"message": message, **fields}})


def google(quota: str, delay: str | None = "17s") -> str:
    details: list[dict[str, object]] = [{"@type": "QuotaFailure", "violations": [{"quotaId": quota}]}]
    details += [{"@type": "RetryInfo", "retryDelay": delay}] if delay else []
    words = "You exceeded your current quota, please check your plan and billing details."
    return error(words, code=429, status="RESOURCE_EXHAUSTED", details=details)


CASES: dict[str, tuple[int, str, type[ModelCallError]]] = {
    "vLLM": (
        400,
        error("The decoder prompt (length 9000) is longer than the maximum model length of 8192.", code=400),
        ContextOverflow,
    ),
    "vLLM, older": (
        400,
        error(
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
            type="BadRequestError",
            code=400,
        ),
        ContextOverflow,
    ),
    "vLLM, input": (
        400,
        error("'max_tokens' is too large: 9. This model's maximum context length is 8 tokens"),
        ContextOverflow,
    ),
    "TGI, Together": (
        422,
        error(
            "`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens and 512",
            type="invalid_request_error",
        ),
        ContextOverflow,
    ),
    "TGI, inputs": (
        422,
        json.dumps(
            {"error": "Input validation error: `inputs` must have less than 4095 tokens.", "error_type": "validation"}
        ),
        ContextOverflow,
    ),
    "SGLang": (
        400,
        error("The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
        ContextOverflow,
    ),
    "SGLang, request": (
        400,
        error("Requested token count exceeds the model's maximum context length of 8192 tokens."),
        ContextOverflow,
    ),
    "Anthropic": (
        400,
        error(
            "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000", type="invalid_request_error"
        ),
        ContextOverflow,
    ),
    "Anthropic, prompt": (
        400,
        error("prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error"),
        ContextOverflow,
    ),
    "Anthropic, bytes": (413, error("Request exceeds the maximum size", type="request_too_large"), ContextOverflow),
    "xAI": (
        400,
        json.dumps({"error": "This model's maximum prompt length is 131072 but the request contains 150000."}),
        ContextOverflow,
    ),
    "Cohere": (
        400,
        json.dumps({"message": "too many tokens: the total number in the prompt cannot exceed 4081"}),
        ContextOverflow,
    ),
    "Gemini": (
        400,
        error(
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            code=400,
            status="INVALID_ARGUMENT",
        ),
        ContextOverflow,
    ),
    "Bedrock": (400, json.dumps({"message": "Input is too long for requested model."}), ContextOverflow),
    "a proxy's 500": (500, error("litellm.ContextWindowExceededError: context_length_exceeded"), ContextOverflow),
    "DeepSeek's filter": (
        400,
        error("Content Exists Risk", type="invalid_request_error", code="invalid_request_error"),
        Refused,
    ),
    "DashScope's filter": (
        400,
        json.dumps({"code": "data_inspection_failed", "message": "Output data may contain inappropriate content."}),
        Refused,
    ),
    "DashScope's filter, new": (400, error("xx", code="DataInspectionFailed"), Refused),
    "Anthropic's filter": (
        400,
        error("Output blocked by content filtering policy", type="invalid_request_error"),
        Refused,
    ),
    "Bedrock's guardrail": (400, json.dumps({"message": "The request was blocked by a guardrail."}), Refused),
    "Azure's filter": (
        400,
        error("The response was filtered", code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
        Refused,
    ),
    "OpenAI's reasoning models": (
        400,
        error("Invalid prompt: it was flagged as potentially violating our usage policy.", code="invalid_prompt"),
        Refused,
    ),
    "Moonshot's filter": (
        400,
        error("The request was rejected because it was considered high risk", type="content_filter"),
        Refused,
    ),
    "OpenAI's thinking": (
        400,
        error(
            "Could not finish the message because max_tokens or model output limit was reached.",
            type="invalid_request_error",
        ),
        OutOfTokens,
    ),
    "Gemini a minute": (429, google("GenerateRequestsPerMinutePerProjectPerModel"), RateLimited),
    "Gemini a minute, short": (429, google("RequestsPerMinutePerProject", None), RateLimited),
    "OpenAI, no credit": (
        429,
        error("You exceeded your current quota", type="insufficient_quota", code="insufficient_quota"),
        ModelUnavailable,
    ),
    "quota in words alone": (429, error("You exceeded your current quota, please check your plan"), ModelUnavailable),
    "quota in words, limited by code": (
        429,
        error("You exceeded your current quota", code="rate_limit_exceeded"),
        RateLimited,
    ),
    "Anthropic, no credit": (
        400,
        error("Your credit balance is too low to access the API.", type="invalid_request_error"),
        ModelUnavailable,
    ),
    "DeepSeek, no credit": (402, error("Insufficient Balance", code="invalid_request_error"), ModelUnavailable),
    "OpenAI, one too large": (
        429,
        error(
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        ContextOverflow,
    ),
    "Groq, one too large": (
        413,
        error(
            "Request too large for model `x` on tokens per minute (TPM): Limit 6000",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        ContextOverflow,
    ),
    "OpenAI, too many": (
        429,
        error(
            "Rate limit reached for gpt-4o on tokens per min (TPM). Please try again in 1.2s",
            code="rate_limit_exceeded",
        ),
        RateLimited,
    ),
    "Bedrock, throttled": (
        429,
        json.dumps({"__type": "com.amazon#ThrottlingException", "message": "Too many requests"}),
        RateLimited,
    ),
    "Moonshot, no credit": (
        429,
        error("Your account is suspended, please check your plan", type="exceeded_current_quota_error"),
        ModelUnavailable,
    ),
    "an account that is closed": (403, error("Your access was terminated: it violates our policies"), ModelUnavailable),
    "a closed account in Chinese": (403, error("账号因违规被封禁"), ModelUnavailable),
    "a country": (451, error("Not available in your country"), ModelUnavailable),
    "Zhipu, no credit": (429, error("余额不足或无可用资源包", code="1113"), ModelUnavailable),
    "credit in escaped words": (400, json.dumps({"error": {"message": "账户余额不足"}}), ModelUnavailable),
    "Gemini, a wrong key": (
        400,
        error("API key not valid.", status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}]),
        ModelUnavailable,
    ),
    "xAI, a wrong key": (400, json.dumps({"error": "Incorrect API key provided: x***"}), ModelUnavailable),
    "Gemini, a wrong place": (
        400,
        error("User location is not supported for the API use.", status="FAILED_PRECONDITION"),
        ModelUnavailable,
    ),
    "http to https": (400, "The plain HTTP request was sent to HTTPS port", ModelUnavailable),
    "Groq, a model that is gone": (
        400,
        error("`x` has been decommissioned", code="model_decommissioned"),
        ModelUnavailable,
    ),
    "xAI's filter": (403, json.dumps({"error": "Content violates usage guidelines. Failed check: X"}), Refused),
    "StepFun's filter": (451, error("blocked", type="censorship_blocked"), Refused),
    "Vertex's filter": (400, error("The request violated Google's Responsible AI practices"), Refused),
    "a proxy that gave up": (499, error("client closed request"), TransientError),
    "Bedrock, a model that failed": (424, json.dumps({"message": "ModelErrorException"}), TransientError),
    "Groq, no room": (498, error("Flex tier capacity exceeded", code="capacity_exceeded"), RateLimited),
    "overloaded": (529, error("Overloaded", type="overloaded_error"), TransientError),
    "503 with odd words": (503, error("flagged for moderation; unknown model"), TransientError),
    "a setting": (
        400,
        error("temperature and top_p cannot both be specified for this model", type="invalid_request_error"),
        FieldRefused,
    ),
    "a setting, by chance": (400, error("temperature is one word of this text; so is top_p"), RequestRejected),
    "a setting, overloaded": (503, error("unsupported parameter: 'temperature'"), TransientError),
    "too deep": (400, '{"error": ' * 3000, RequestRejected),
}


@pytest.mark.parametrize("name", CASES)
def test_each_providers_words_have_their_class(name: str) -> None:
    status, text, expected = CASES[name]
    found = to_error(Failure(status, text), "model m")
    assert type(found) is expected
    assert str(found).startswith("model m: HTTP ")


@pytest.mark.parametrize(
    "name", [name for name, (_, _, kind) in CASES.items() if kind is Refused or kind is RateLimited]
)
def test_an_error_in_a_body_of_status_200_has_its_class_too(name: str) -> None:
    _, text, expected = CASES[name]
    assert type(to_error(Failure(200, f"error in the body: {text}"), "m")) is expected


@given(st.sampled_from([400, 413, 422]), st.text(st.characters(codec="ascii"), max_size=60), st.text(max_size=9))
def test_unknown_words_are_the_requests_own_failure(status: int, words: str, code: str) -> None:
    failure = Failure(status, error(words, code=code))
    if kind_of(failure) is None:
        assert type(to_error(failure, "m")) is RequestRejected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("max_tokens must be at least 1, got -800.", ContextOverflow),
        ("Range of input length should be [1, 129024]", ContextOverflow),
        ("The prompt (total length 9000) is too long to fit into the model (context length 8192).", ContextOverflow),
        ("Input length 9000 exceeds maximum allowed length 8192", ContextOverflow),
        ("Your request exceeded model token limit: 131072", ContextOverflow),
        ("input token length 9000 + max_new_tokens exceeds session_len", ContextOverflow),
        (
            "The sum of prompt length (8000) and max_tokens (1000) should not exceed max_num_tokens (8192)",
            ContextOverflow,
        ),
        ("Number of prompt tokens (9000) exceeds the limit 8192", ContextOverflow),
        ("the max input characters is 4800", ContextOverflow),
        ("Prompt 超长", ContextOverflow),
        ("输入内容涉及敏感", Refused),
        ("The content is prohibited by law", Refused),
        ("Your request was rejected as a result of our safety system.", Refused),
        ("The content you provided or machine outputted is blocked.", Refused),
        ("input new_sensitive (1026)", Refused),
        ("PROHIBITED_CONTENT", Refused),
    ],
)
def test_other_wordings_of_one_kind(words: str, expected: type[ModelCallError]) -> None:
    for status in (400, 413, 422):
        assert type(to_error(Failure(status, error(words)), "m")) is expected


def test_a_block_for_legal_reasons_is_a_refusal_whatever_it_says() -> None:
    assert type(to_error(Failure(451, error("xx")), "m")) is Refused


@pytest.mark.parametrize("words", ["total tokens per minute exceeds the limit", "Daily token limit exceeded"])
def test_a_limit_per_time_is_no_long_prompt(words: str) -> None:
    for status in (200, 400, 503):
        assert type(to_error(Failure(status, error(words)), "m")) is RateLimited


def test_waits_of_many_digits_are_read_within_a_second() -> None:
    start = time.process_time()
    retry_after_of(Failure(429, f"try again in {'1' * 10**5}", {"Retry-After": "1" * 10**5}))
    assert time.process_time() - start < 1


def test_bedrocks_throttling_is_a_limit_whatever_its_status() -> None:
    assert type(to_error(Failure(400, json.dumps({"__type": "x#ThrottlingException"})), "m")) is RateLimited


@pytest.mark.parametrize(
    ("text", "headers", "seconds"),
    [
        (google("PerMinute", "17s"), {}, 17.0),
        (google("PerMinute", "1.5s"), {}, 1.5),
        (google("PerMinute", "17s"), {"Retry-After": "3"}, 3.0),
        (error("Please try again in 20ms."), {}, 0.02),
        (error("Please try again in 1m3.5s."), {}, 63.5),
        (error("Please retry in 12.25s."), {}, 12.25),
        (error("Please try again in 6m"), {}, 360.0),
        (error("try again in 1h2m3s"), {}, 3723.0),
        (error("please try again after 1 seconds"), {}, 1.0),
        (error("Please retry after 60s"), {}, 60.0),
        (error("Please wait 2 minutes, then go on"), {}, 120.0),
        (error("Try again in 5 months"), {}, None),
        (error("slow down"), {"Retry-After": "1m"}, 60.0),
        (error("try again in a while"), {}, None),
        (google("PerMinute", "soon"), {}, None),
    ],
)
def test_the_wait_that_a_body_names_is_read(text: str, headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_of(Failure(429, text, headers)) == seconds
