"""A server that sends requests on to another host: neither texts nor keys follow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiohttp import web
from support.backends import CANARY, MakeBackend, ask, request, spec_for
from support.scripted_server import ScriptedServer

from personalrm.llm.backends.litellm_backend import LiteLLMBackend
from personalrm.llm.limits.faults import Failure, ModelUnavailable, to_error
from personalrm.llm.types import ModelSpec


class Redirecting(ScriptedServer):
    """Answers each request with a redirect to another server."""

    target = ""
    status = 307

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/{path:.*}", self._elsewhere)

    async def _elsewhere(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        return web.Response(status=self.status, headers={"Location": self.target})


@pytest.fixture(params=[301, 307, 308])
def servers(request: pytest.FixtureRequest) -> Callable[[], tuple[Redirecting, ScriptedServer]]:
    def made() -> tuple[Redirecting, ScriptedServer]:
        first, other = Redirecting(), ScriptedServer(lambda _: "stolen")
        first.status = request.param
        return first, other

    return made


def test_redirects_are_not_followed_and_named(
    make: MakeBackend, canary: str, servers: Callable[[], tuple[Redirecting, ScriptedServer]]
) -> None:
    first, other = servers()
    with first, other:
        first.target = f"http://me:pw@localhost:{other.port}/v1/chat/completions?key={CANARY}"
        with pytest.raises(
            ModelUnavailable, match=r"redirects to http://localhost:\d+/v1/chat/completions, which"
        ) as caught:
            ask(make, spec_for(first, api_key_env="SCRIPTED_API_KEY"), request())
        assert (first.count, other.count) == (1, 0)
    assert canary not in str(caught.value)


@pytest.mark.usefixtures("warm_litellm", "canary")
@pytest.mark.parametrize(
    "model",
    [
        "anthropic/claude-3-5-haiku-latest",
        "gemini/gemini-2.0-flash",
        "together_ai/a/b",
        "oobabooga/a",
        "aiohttp_openai/a",
    ],
)
def test_providers_of_litellm_follow_none_either(model: str) -> None:
    with Redirecting() as first, ScriptedServer(lambda _: "stolen") as other:
        first.target = f"http://localhost:{other.port}/v1/chat/completions"
        spec = ModelSpec("m", "litellm", model, api_base=first.url, api_key_env="SCRIPTED_API_KEY", timeout_s=20)
        with pytest.raises(ModelUnavailable, match="redirects"):
            ask(LiteLLMBackend, spec, request())
        assert (first.count, other.count) == (1, 0)


def test_a_redirect_within_the_server_and_one_to_nowhere() -> None:
    assert "redirects to another path" in str(to_error(Failure(308, "", {"location": "/v2/chat"}), "m"))
    assert "redirects to //other.org/v2" in str(to_error(Failure(307, "", {"Location": "//me:pw@other.org/v2"}), "m"))
    assert "redirects to an address that it lacks" in str(to_error(Failure(302, ""), "m"))


def test_a_key_in_the_path_of_a_redirect_is_not_shown(canary: str) -> None:
    error = to_error(Failure(302, "", {"location": f"https://other.org/{canary}/v1"}), "m", "SCRIPTED_API_KEY")
    assert "redirects to https://other.org/***/v1" in str(error)
