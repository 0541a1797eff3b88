"""Anthropic's Messages API: Claude at api.anthropic.com, or a server or gateway that speaks the same protocol."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from urllib.parse import quote

import httpx2

from raylabel.clients.backend import Backend
from raylabel.clients.base import Client, Finish, Reply, Request, Sampling, SchemaForm, Usage
from raylabel.clients.bodies import count_at, list_at, object_at, parse_object, text_at, to_json
from raylabel.clients.error_bodies import read_error_body, read_error_object
from raylabel.clients.finish import NO_WORD, ONLY_REASONING, read_finish
from raylabel.clients.hosts import Proxy, host_and_port, is_host_of, proxy_for
from raylabel.clients.keys import key_for_host
from raylabel.clients.sdk_calls import answer_of
from raylabel.clients.verdicts import Endpoint, list_served_models
from raylabel.clients.waiting import quotas_of
from raylabel.errors import ClientError, ConfigError, Verdict
from raylabel.records import JsonObject
from raylabel.settings import AnthropicSettings

ANTHROPIC_HOST = "api.anthropic.com"
ANTHROPIC_URL = f"https://{ANTHROPIC_HOST}"
CHECK_TIMEOUT_S = 10.0
LEAST_THINKING = 1024
"""Tokens. Source: the SDK's ThinkingConfigEnabledParam."""


class AnthropicClient(Backend[AnthropicSettings]):
    """One endpoint of the Messages API, with the SDK's retries, redirects, traces and environment variables off.

    The request body holds, beyond model, messages and ``max_tokens``:

    * ``temperature``, if there is one: the SDK has no such parameter any more, other servers of the protocol take it;
    * ``thinking``: ``disabled`` for a budget of 0, ``adaptive`` for -1, else ``enabled`` with the budget;
    * the reply's JSON schema, if there is one, in ``output_config.format``;
    * ``extra_body``, verbatim; it wins over everything above, in ``output_config`` field by field.

    Args:
        api_key: sent to this endpoint alone; None sends ``EMPTY``.
        model: the one that ``check`` looks up; empty: none.
        base_url: for example ``http://localhost:8000``, with ``/v1`` or without; empty: Anthropic's own.
        proxy: what requests go through.

    Raises:
        ConfigError: the proxy cannot be used.
    """

    name = "anthropic"
    schema_forms = (SchemaForm.NATIVE,)
    extra = "anthropic"

    def __init__(self, api_key: str | None, model: str, base_url: str = "", proxy: Proxy | None = None) -> None:
        import anthropic

        from raylabel.clients.transport import build_http_client

        url = (base_url or ANTHROPIC_URL).rstrip("/").removesuffix("/v1")
        at_anthropic = is_host_of(url, ANTHROPIC_HOST)
        self._model = model
        self._messages_url = f"{url}/v1/messages"
        self._endpoint = Endpoint(
            host_and_port(url),
            api_key,
            key_settings="vlm.anthropic.api_key, or "
            + ("ANTHROPIC_API_KEY" if at_anthropic else "vlm.anthropic.api_key_env"),
            url_setting="vlm.anthropic.base_url",
            proxy=str(proxy or ""),
        )
        key = api_key or "EMPTY"
        self._http = build_http_client(
            {"Authorization": f"Bearer {key}"}, also_let_pass=("anthropic-version",), proxy=proxy
        )
        self._sdk = anthropic.AsyncAnthropic(
            api_key=key,  # None would read variables and the profiles of Anthropic's command line
            webhook_key="",
            base_url=url,
            max_retries=0,
            open_telemetry=False,
            http_client=self._http,
        )
        self._headers = self._sdk.default_headers

    @classmethod
    def from_settings(cls, settings: AnthropicSettings, env: Mapping[str, str]) -> Client:
        proxy = proxy_for(settings.base_url or ANTHROPIC_URL, env)
        return cls(cls.find_key(settings, env), settings.model, settings.base_url, proxy)

    @classmethod
    def sampling_of(cls, settings: AnthropicSettings) -> Sampling:
        return Sampling(
            model=settings.model,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            timeout_s=settings.timeout,
            thinking_budget=settings.thinking_budget,
            extra_body=settings.extra_body,
        )

    @classmethod
    def check_sampling(cls, settings: AnthropicSettings, sampling: Sampling) -> None:
        budget = sampling.thinking_budget
        if budget is not None and 0 < budget < LEAST_THINKING:
            raise ConfigError(
                f"thinking_budget: found {budget}, allowed with backend anthropic: {LEAST_THINKING} or more tokens, "
                "0 for none, -1 for as many as the model likes"
            )
        if budget is not None and budget >= sampling.max_tokens:
            raise ConfigError(
                f"thinking_budget: found {budget}, allowed with backend anthropic: less than max_tokens "
                f"({sampling.max_tokens}), which holds the thoughts too"
            )

    @classmethod
    def find_key(cls, settings: AnthropicSettings, env: Mapping[str, str]) -> str | None:
        """``ANTHROPIC_API_KEY`` is for Anthropic's own host; see ``key_for_host``."""
        written = settings.api_key, settings.api_key_env, settings.base_url
        return key_for_host("vlm.anthropic", *written, env, variable="ANTHROPIC_API_KEY", host=ANTHROPIC_HOST)

    @classmethod
    def with_key(cls, settings: AnthropicSettings, key: str | None) -> AnthropicSettings:
        return settings.model_copy(update={"api_key": key or "", "api_key_env": ""})

    @classmethod
    def endpoint_of(cls, settings: AnthropicSettings) -> str:
        return host_and_port(settings.base_url or ANTHROPIC_URL)

    async def ask(self, request: Request) -> Reply:
        """Send one request once.

        Raises:
            ClientError: with the verdict on what to do.
        """
        sampling = request.sampling
        had_schema = request.schema is not None and request.schema_form in self.schema_forms
        self._endpoint.check_encodable(request.preamble, request.question)
        started_s = time.monotonic()
        try:
            call = self._http.post_parts(self._messages_url, self._headers, to_body(request), sampling.timeout_s)
            response = await self._response_of(call, sampling.timeout_s, had_schema)
            body, finish, word = self._read(response, had_schema)
        except ClientError as error:
            if error.verdict is Verdict.REFUSED:
                return self._endpoint.refusal_reply(error, sampling.model, time.monotonic() - started_s)
            raise
        latency_s = time.monotonic() - started_s
        blocks = [block for block in list_at(body, "content") if isinstance(block, dict)]
        text = "".join(text_at(block, "text") for block in blocks if block.get("type") == "text")
        if not text and any(block.get("type") in ("thinking", "redacted_thinking") for block in blocks):
            word = f"{word or NO_WORD}, {ONLY_REASONING}"
        if finish is Finish.REFUSED and (why := _why_refused(object_at(body, "stop_details"))):
            word = f"{word}, {why}"
        return Reply(
            text=text,
            finish=finish,
            finish_detail=word,
            usage=_read_usage(object_at(body, "usage")),
            model=text_at(body, "model") or sampling.model,
            latency_s=latency_s,
            with_schema=had_schema,
            quotas=quotas_of(response),
        )

    async def check(self) -> None:
        """Look the model up, which costs nothing.

        Raises:
            ClientError: STOP_RUN for a rejected key or an unknown model, RETRY where nobody answers; whatever else is
                said passes.
        """
        await self._look_up(self._model)

    async def served_names(self, model: str) -> tuple[str, ...]:
        """The model's full name, which tells the version behind an alias, and the configured one.

        Raises:
            ClientError: as ``check``.
        """
        names = (text_at(await self._look_up(model), "id"), model)
        return tuple(dict.fromkeys(name for name in names if name))

    async def close(self) -> None:
        """Give back connections."""
        await self._sdk.close()

    def _read(self, response: httpx2.Response, had_schema: bool) -> tuple[JsonObject, Finish, str]:
        """The body of a success, and how the answer in it ended.

        Raises:
            ClientError: it is none: an error of a server further on in a 200, a page, nothing, an answer broken off.
        """
        body = parse_object(response.content) or {}
        said = read_error_object(body) if body.get("error") else None
        if said is not None:
            raise self._endpoint.error_in_success(said, response.headers, had_schema=had_schema)
        if not isinstance(body.get("content"), list):
            raise self._endpoint.unreadable_body(response.status_code, response.content)
        finish, word = read_finish(body.get("stop_reason"))
        if finish is Finish.BROKEN:
            raise self._endpoint.broken_off(word)
        return body, finish, word

    async def _look_up(self, model: str) -> JsonObject | None:
        """The model's entry; None where the server gives none that can be read."""
        path = f"/v1/models/{quote(model, safe='')}" if model else "/v1/models?limit=1"
        response = await self._get(path)
        if response.status_code == 200:
            return parse_object(response.content)
        said = read_error_body(response.content)
        failed = self._endpoint.status_error(response.status_code, said, response.headers)
        # A 404 in other words than Anthropic's comes from a server that cannot look models up.
        if response.status_code == 404 and model and "not_found_error" in said.codes:
            raise await self._with_served_models(failed, model)
        if failed.verdict is Verdict.STOP_RUN and response.status_code in (401, 403):
            raise failed
        return None

    async def _with_served_models(self, unknown: ClientError, model: str) -> ClientError:
        """The error about a model that is not served, with the names of those that are."""
        try:
            listed = parse_object((await self._get("/v1/models?limit=1000")).content)
        except ClientError:
            return unknown
        names = [name for entry in list_at(listed, "data") if (name := text_at(entry, "id"))]
        if not names:
            return unknown
        message = f"{unknown.message}; {list_served_models(names, model)}"
        return ClientError(unknown.verdict, message, status=unknown.status)

    async def _get(self, path: str) -> httpx2.Response:
        """The answer to a question about models, whatever its status."""
        import anthropic

        call = self._sdk.get(path, cast_to=httpx2.Response, options={"timeout": CHECK_TIMEOUT_S})
        return await answer_of(call, anthropic, self._endpoint, CHECK_TIMEOUT_S)

    async def _response_of(
        self, call: Awaitable[httpx2.Response], timeout_s: float, had_schema: bool
    ) -> httpx2.Response:
        """The outcome of a call, its errors as ours."""
        import anthropic

        response = await answer_of(call, anthropic, self._endpoint, timeout_s)
        if response.is_success:
            return response
        said = read_error_body(response.content)
        raise self._endpoint.status_error(response.status_code, said, response.headers, had_schema=had_schema)


def to_body(request: Request) -> tuple[bytes, ...]:
    """The JSON body of a request, in parts: the picture's base64 between two that are rendered around it."""
    fields = _fields(request)
    if "messages" in fields:  # the user's own, from extra_body
        return (to_json(fields),)
    # A text block must not be empty.
    preamble = b'{"type":"text","text":%b},' % to_json(request.preamble) if request.preamble else b""
    return (
        b'{"messages":[{"role":"user","content":[%b{"type":"image","source":{"type":"base64","media_type":"%b","data":"'
        % (preamble, request.picture.media_type.encode()),
        request.picture.encoded,
        b'"}},{"type":"text","text":%b}]}],%b' % (to_json(request.question), to_json(fields)[1:]),
    )


def _fields(request: Request) -> JsonObject:
    """All of the body but the messages, unless those are in ``extra_body``."""
    sampling = request.sampling
    fields: JsonObject = {"model": sampling.model, "max_tokens": sampling.max_tokens}
    if sampling.temperature is not None:
        fields["temperature"] = sampling.temperature
    if sampling.thinking_budget is not None:
        fields["thinking"] = _thinking(sampling.thinking_budget)
    own = dict(sampling.extra_body)
    if request.schema is not None and request.schema_form is SchemaForm.NATIVE:
        fields["output_config"] = {
            "format": {"type": "json_schema", "schema": request.schema},
            **object_at(own, "output_config"),  # effort, say
        }
        own.pop("output_config", None)
    return {**fields, **own}


def _thinking(budget: int) -> JsonObject:
    if budget > 0:
        return {"type": "enabled", "budget_tokens": budget}
    return {"type": "adaptive" if budget < 0 else "disabled"}


def _why_refused(details: JsonObject) -> str:
    """The policy that was held against a request, and what is said of it."""
    return ": ".join(part for name in ("category", "explanation") if (part := text_at(details, name)))


def _read_usage(usage: JsonObject) -> Usage:
    """Tokens; Anthropic's ``input_tokens`` leaves out those of the cache, and its ``output_tokens`` holds thoughts."""
    parts = [count_at(usage, f"{part}input_tokens") for part in ("", "cache_creation_", "cache_read_")]
    thought = count_at(object_at(usage, "output_tokens_details"), "thinking_tokens")
    output = count_at(usage, "output_tokens")
    if output is not None and thought is not None and thought <= output:
        output -= thought
    return Usage(
        input=None if parts[0] is None else sum(part or 0 for part in parts),
        cached=parts[2],
        thought=thought,
        output=output,
    )
