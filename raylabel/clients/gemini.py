"""Gemini through google-genai: the Gemini API of Google AI Studio, or a proxy that speaks its protocol."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import httpx2

from raylabel.clients.backend import Backend
from raylabel.clients.base import Client, Finish, Reply, Request, Sampling, SchemaForm, Usage
from raylabel.clients.bodies import count_at, list_at, object_at, parse_object, text_at
from raylabel.clients.error_bodies import ErrorBody, read_error_body, read_error_object
from raylabel.clients.finish import NO_WORD, ONLY_REASONING, read_finish
from raylabel.clients.hosts import Proxy, host_and_port, proxy_for
from raylabel.clients.keys import usable_key
from raylabel.clients.openapi_schema import to_openapi_schema
from raylabel.clients.verdicts import Endpoint, list_served_models
from raylabel.clients.waiting import read_quotas
from raylabel.errors import ClientError, ConfigError, Verdict
from raylabel.records import JsonObject
from raylabel.settings import GeminiSettings

if TYPE_CHECKING:
    from google.genai import types

GEMINI_URL = "https://generativelanguage.googleapis.com"
# Preview models and responseJsonSchema are served under v1beta; the SDK's default (v1) is also steered by a variable.
API_VERSION = "v1beta"
CHECK_TIMEOUT_S = 10.0

_ACCOUNT_BLOCKED = "PUP_LIMITED_DISABLED"

T = TypeVar("T")


class GeminiClient(Backend[GeminiSettings]):
    """One Gemini endpoint, with the SDK's retries, continuation, redirects and environment variables off.

    ``Sampling.media_resolution`` goes into ``generationConfig``, where it holds for the picture and is understood by
    every multimodal model (the per-part form by some only); ``thinking_budget`` into ``thinkingConfig``;
    ``extra_body`` is merged into the request body, nested objects too, and wins over everything else.

    Args:
        api_key: sent in ``x-goog-api-key``, to this endpoint alone; None sends ``EMPTY``.
        model: the one that ``check`` looks up.
        base_url: without the API version, for example ``http://localhost:8000``; empty: Google's own.
        proxy: what requests go through.

    Raises:
        ConfigError: the proxy cannot be used.
    """

    name = "gemini"
    schema_forms = (SchemaForm.NATIVE, SchemaForm.RESPONSE_SCHEMA)

    def __init__(self, api_key: str | None, model: str, base_url: str = "", proxy: Proxy | None = None) -> None:
        from google import genai
        from google.genai import types

        from raylabel.clients.transport import build_http_client, shared_ssl_context

        url = base_url or GEMINI_URL
        self._model = model
        self._api_url = f"{url.rstrip('/')}/{API_VERSION}"
        self._key = api_key or "EMPTY"
        self._endpoint = Endpoint(
            host_and_port(url),
            api_key,
            key_settings="vlm.gemini.api_key, or GOOGLE_API_KEY",
            url_setting="vlm.gemini.base_url",
            proxy=str(proxy or ""),
        )
        self._http = build_http_client(proxy=proxy, raises_errors=True)
        self._sdk = genai.Client(
            vertexai=False,  # None would read GOOGLE_GENAI_USE_VERTEXAI and GOOGLE_GENAI_USE_ENTERPRISE
            api_key=self._key,  # None would read GOOGLE_API_KEY and GEMINI_API_KEY
            # With a client of ours the SDK leaves aiohttp alone, which it would use wherever Ray brings it, and whose
            # lost connections it tries again by itself, whatever the retry options.
            http_options=types.HttpOptions(
                base_url=url,
                api_version=API_VERSION,
                httpx_async_client=self._http,
                client_args={"verify": shared_ssl_context(), "trust_env": False},
                async_client_args={"ssl": shared_ssl_context()},
            ),
        )
        # The SDK takes a picture as bytes alone, makes base64 of it for each request, and copies its contents from type
        # to type (half of the CPU of a request). What stands in extra_body it puts in their place as it is.
        self._replaced = types.Content(role="user", parts=[types.Part(text="")])

    @classmethod
    def from_settings(cls, settings: GeminiSettings, env: Mapping[str, str]) -> Client:
        proxy = proxy_for(settings.base_url or GEMINI_URL, env)
        return cls(cls.find_key(settings, env), settings.model, settings.base_url, proxy)

    @classmethod
    def sampling_of(cls, settings: GeminiSettings) -> Sampling:
        return Sampling(
            model=settings.model,
            temperature=settings.temperature,
            max_tokens=settings.max_output_tokens,
            timeout_s=settings.timeout,
            thinking_budget=settings.thinking_budget,
            media_resolution=settings.media_resolution,
            extra_body=settings.extra_body,
        )

    @classmethod
    def find_key(cls, settings: GeminiSettings, env: Mapping[str, str]) -> str | None:
        """The key written in the settings, or that of ``GOOGLE_API_KEY``; another ``base_url`` may do without."""
        if key := usable_key(settings.api_key, "vlm.gemini.api_key"):
            return key
        if key := usable_key(env.get("GOOGLE_API_KEY", ""), "GOOGLE_API_KEY"):
            return key
        if settings.base_url:
            return None
        raise ConfigError(
            "vlm.gemini.api_key: no API key; set the environment variable GOOGLE_API_KEY, or write it here"
        )

    @classmethod
    def with_key(cls, settings: GeminiSettings, key: str | None) -> GeminiSettings:
        return settings.model_copy(update={"api_key": key or ""})

    @classmethod
    def endpoint_of(cls, settings: GeminiSettings) -> str:
        return host_and_port(settings.base_url or GEMINI_URL)

    async def ask(self, request: Request) -> Reply:
        """Send one request once.

        Raises:
            ClientError: with the verdict on what to do.
        """
        sampling = request.sampling
        had_schema = request.schema is not None and request.schema_form in self.schema_forms
        self._endpoint.check_encodable(request.preamble, request.question)
        call = self._sdk.aio.models.generate_content(
            model=sampling.model,
            contents=self._replaced,
            config=_config(request),
        )
        started_s = time.monotonic()
        try:
            response = await self._response_of(call, sampling.timeout_s, had_schema)
            body = self._whole_body(response, had_schema)
        except ClientError as error:
            if error.verdict is Verdict.REFUSED:
                return self._endpoint.refusal_reply(error, sampling.model, time.monotonic() - started_s)
            raise
        latency_s, http = time.monotonic() - started_s, response.sdk_http_response
        text, finish, finish_word = _read_candidate(body)
        return Reply(
            text=text,
            finish=finish,
            finish_detail=finish_word,
            usage=_read_usage(object_at(body, "usageMetadata")),
            model=text_at(body, "modelVersion") or sampling.model,
            latency_s=latency_s,
            with_schema=had_schema,
            quotas=read_quotas((http and http.headers) or {}),
        )

    def _whole_body(self, response: types.GenerateContentResponse, had_schema: bool) -> JsonObject:
        """The body of an answer.

        Raises:
            ClientError: it is none: an error of a server further on in a 200, a page, nothing, an answer broken off.
        """
        http = response.sdk_http_response
        raw = (http.body or "" if http else "").encode()
        body = parse_object(raw) or {}
        candidates, blocked = list_at(body, "candidates"), object_at(body, "promptFeedback").get("blockReason")
        said = read_error_object(body) if body.get("error") else None
        if said is not None:
            raise self._endpoint.error_in_success(said, (http and http.headers) or {}, had_schema=had_schema)
        if not blocked and not (candidates and isinstance(candidates[0], dict)):
            raise self._endpoint.unreadable_body(200, raw)
        if candidates:
            finish, word = _read_end(candidates[0])
            if word == _ACCOUNT_BLOCKED:
                raise ClientError(
                    Verdict.STOP_RUN, f"{self._endpoint.host}: the account is limited or disabled ({word})"
                )
            if finish is Finish.BROKEN:
                raise self._endpoint.broken_off(word, _end_message(candidates[0]))
        return body

    async def check(self) -> None:
        """Look the model up, which costs nothing.

        Raises:
            ClientError: STOP_RUN for a rejected key or an unknown model, RETRY where nobody answers; whatever else is
                said passes.
        """
        await self._look_up(self._model)

    async def served_names(self, model: str) -> tuple[str, ...]:
        """What Google says of a model: its name, its base model with the version, and that of a tuned one.

        Raises:
            ClientError: as ``check``.
        """
        said = await self._look_up(model)
        base, version = text_at(said, "baseModelId"), text_at(said, "version")
        names = (text_at(said, "name"), f"{base}-{version}" if base and version else base, text_at(said, "baseModel"))
        return tuple(dict.fromkeys(name for name in names if name)) or (model,)

    async def close(self) -> None:
        """Give back connections."""
        self._sdk.close()
        await self._http.aclose()

    async def _look_up(self, model: str) -> JsonObject | None:
        """The model resource; None where the server gives none that can be read.

        Asked without the SDK, whose ``models.get`` leaves out fields and takes an odd body for an error.
        """
        path = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        response = await self._get(quote(path))
        if response.status_code == 200:
            return parse_object(response.content)
        said = read_error_body(response.content)
        failed = self._endpoint.status_error(response.status_code, said, response.headers)
        # A 404 in other words than Google's comes from a proxy that cannot look models up.
        if response.status_code == 404 and "NOT_FOUND" in said.codes:
            raise await self._with_served_models(failed, model)
        if failed.verdict is Verdict.STOP_RUN and response.status_code in (400, 401, 403):
            raise failed
        return None

    async def _with_served_models(self, unknown: ClientError, model: str) -> ClientError:
        """The error about a model that is not served, with the names of those that are."""
        try:
            listed = parse_object((await self._get("models?pageSize=1000")).content)
        except ClientError:
            return unknown
        found = list_at(listed, "models")
        names = [text_at(m, "name").removeprefix("models/") for m in found if "generateContent" in _actions(m)]
        if not any(names):
            return unknown
        message = f"{unknown.message}; {list_served_models([name for name in names if name], model)}"
        return ClientError(unknown.verdict, message, status=unknown.status)

    async def _get(self, path: str) -> httpx2.Response:
        from raylabel.clients.transport import ErrorAnswered

        call = self._http.get(f"{self._api_url}/{path}", headers={"x-goog-api-key": self._key}, timeout=CHECK_TIMEOUT_S)
        try:
            return await call
        except ErrorAnswered as error:
            return error.response
        except httpx2.TimeoutException as error:
            raise self._endpoint.timed_out(CHECK_TIMEOUT_S) from error
        except httpx2.RequestError as error:
            raise self._endpoint.connection_lost(error) from error

    async def _response_of(self, call: Awaitable[T], timeout_s: float, had_schema: bool) -> T:
        """The outcome of a call, its errors as ours."""
        from google.genai import errors

        from raylabel.clients.transport import ErrorAnswered

        try:
            return await call
        except ErrorAnswered as error:
            response = error.response
            said = read_error_body(response.content)
            raise self._endpoint.status_error(
                response.status_code, said, response.headers, had_schema=had_schema
            ) from error
        except errors.APIError as error:  # of the SDK itself: it sees no answer with an error status
            said = ErrorBody(error.message or "")
            raise self._endpoint.status_error(error.code, said, {}, had_schema=had_schema) from None
        except httpx2.TimeoutException as error:
            raise self._endpoint.timed_out(timeout_s) from error
        except httpx2.RequestError as error:
            raise self._endpoint.connection_lost(error) from error


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))


def _contents(request: Request) -> list[JsonObject]:
    parts: list[JsonObject] = [{"text": request.preamble}] if request.preamble else []
    picture = {"mime_type": request.picture.media_type, "data": request.picture.encoded.decode("ascii")}
    return [{"role": "user", "parts": [*parts, {"inlineData": picture}, {"text": request.question}]}]


def _config(request: Request) -> types.GenerateContentConfig:
    from google.genai import types

    sampling = request.sampling
    has_schema = request.schema is not None and request.schema_form in GeminiClient.schema_forms
    return types.GenerateContentConfig(
        temperature=sampling.temperature,
        max_output_tokens=sampling.max_tokens,
        media_resolution=None
        if sampling.media_resolution is None
        else types.MediaResolution(sampling.media_resolution),
        thinking_config=None
        if sampling.thinking_budget is None
        else types.ThinkingConfig(thinking_budget=sampling.thinking_budget),
        response_mime_type="application/json" if has_schema else None,
        response_json_schema=request.schema if request.schema_form is SchemaForm.NATIVE else None,
        # Both would send further, paid requests inside one call.
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
        # The body as it came: the SDK's types refuse fields they do not know and warn of words they do not know.
        should_return_http_response=True,
        http_options=types.HttpOptions(
            timeout=_milliseconds(sampling.timeout_s),
            extra_body={"contents": _contents(request), **_extra_body(request)},
        ),
    )


def _extra_body(request: Request) -> JsonObject:
    """The user's fields, under them the schema as Google's own type: the SDK's ``response_schema`` would rewrite it."""
    fields = dict(request.sampling.extra_body)
    if request.schema is None or request.schema_form is not SchemaForm.RESPONSE_SCHEMA:
        return fields
    name = "generation_config" if "generation_config" in fields else "generationConfig"
    own = fields.get(name)
    schema = {"responseSchema": to_openapi_schema(request.schema)}
    return {**fields, name: {**schema, **(own if isinstance(own, Mapping) else {})}}


def _actions(model: object) -> list[object]:
    return list_at(model, "supportedGenerationMethods")


def _read_candidate(body: JsonObject) -> tuple[str, Finish, str]:
    """Answer, finish and Google's word for it; thoughts are parts marked as such and no answer."""
    candidates = list_at(body, "candidates")
    if not candidates:
        return "", Finish.REFUSED, read_finish(object_at(body, "promptFeedback").get("blockReason"))[1]
    parts = [part for part in list_at(object_at(candidates[0], "content"), "parts") if isinstance(part, dict)]
    text = "".join(text_at(part, "text") for part in parts if not part.get("thought"))
    finish, word = _read_end(candidates[0])
    if not text and (parts or count_at(object_at(body, "usageMetadata"), "thoughtsTokenCount")):
        word = f"{word or NO_WORD}, {ONLY_REASONING}"
    return text, finish, word


def _read_end(candidate: JsonObject) -> tuple[Finish, str]:
    return read_finish(candidate.get("finishReason"))


def _end_message(candidate: JsonObject) -> ErrorBody | None:
    """What Google adds to some reasons: the call that could not be parsed, the language."""
    said = text_at(candidate, "finishMessage")
    return ErrorBody(said) if said else None


def _read_usage(usage: JsonObject) -> Usage:
    return Usage(
        input=count_at(usage, "promptTokenCount"),
        cached=count_at(usage, "cachedContentTokenCount"),
        thought=count_at(usage, "thoughtsTokenCount"),
        output=count_at(usage, "candidatesTokenCount"),
    )
