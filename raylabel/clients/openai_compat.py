"""Anything that speaks the OpenAI chat-completions protocol: api.openai.com, vLLM, NIM, gateways."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from raylabel.clients.backend import Backend
from raylabel.clients.base import Client, Finish, Reply, Request, Sampling, SchemaForm, ServedModel, Usage
from raylabel.clients.bodies import count_at, list_at, object_at, parse_object, text_at, to_json
from raylabel.clients.error_bodies import read_error_body, read_error_object
from raylabel.clients.finish import NO_WORD, ONLY_REASONING, decisive_finish, read_finish
from raylabel.clients.hosts import Proxy, host_and_port, is_host_of, proxy_for
from raylabel.clients.keys import key_for_host
from raylabel.clients.sdk_calls import answer_of
from raylabel.clients.verdicts import Endpoint, list_served_models
from raylabel.clients.waiting import quotas_of
from raylabel.errors import ClientError, ConfigError, Verdict
from raylabel.records import JsonObject
from raylabel.settings import EndpointSettings, OpenAISettings, mask_urls

OPENAI_HOST = "api.openai.com"
OPENAI_URL = f"https://{OPENAI_HOST}/v1"
CHECK_TIMEOUT_S = 10.0


class OpenAIClient(Backend[OpenAISettings]):
    """One endpoint of the OpenAI protocol, with the SDK's retries, redirects and environment variables off.

    The request body holds, beyond model, messages and temperature:

    * ``max_tokens``, or ``max_completion_tokens`` at OpenAI itself, whose newer models reject the former; a limit named
      in ``extra_body`` takes the place of both;
    * the reply's JSON schema, if there is one: in ``response_format``, or in vLLM's ``structured_outputs`` (0.11 and
      later; older ones and other servers ignore that field);
    * ``thinking_token_budget`` for a thinking budget: vLLM's name (0.32 answers 400 where it was not started with
      ``--reasoning-parser``). Other servers have other names, or ``reasoning_effort`` or ``chat_template_kwargs``
      instead: write those into ``extra_body``;
    * ``extra_body``, verbatim; it wins over everything above.

    Args:
        api_key: sent to this endpoint alone; None sends ``EMPTY``, which servers without a key ignore.
        base_url: for example ``http://localhost:8000/v1``; empty: OpenAI's own.
        proxy: what requests go through.

    Raises:
        ConfigError: the proxy cannot be used.
    """

    name = "openai"
    schema_forms = (SchemaForm.NATIVE, SchemaForm.STRUCTURED_OUTPUTS)

    def __init__(self, api_key: str | None, base_url: str = "", proxy: Proxy | None = None) -> None:
        import openai

        from raylabel.clients.transport import build_http_client

        url = base_url or OPENAI_URL
        self._url = url.rstrip("/")
        self._chat_url = f"{self._url}/chat/completions"
        self._at_openai = is_host_of(url, OPENAI_HOST)
        self._endpoint = Endpoint(
            host_and_port(url),
            api_key,
            key_settings=f"vlm.openai.api_key, or {'OPENAI_API_KEY' if self._at_openai else 'vlm.openai.api_key_env'}",
            url_setting="vlm.openai.base_url",
            proxy=str(proxy or ""),
        )
        self._clue: asyncio.Task[_Clue] | None = None
        self._has_answered = False
        key = api_key or "EMPTY"
        self._http = build_http_client(
            {"Authorization": f"Bearer {key}"},
            also_let_pass=("openai-organization", "openai-project") if self._at_openai else (),
            proxy=proxy,
        )
        self._sdk = openai.AsyncOpenAI(
            api_key=key,
            admin_api_key="",  # None would read OPENAI_ADMIN_KEY
            base_url=url,
            max_retries=0,
            http_client=self._http,
        )
        self._headers = self._sdk.default_headers

    @classmethod
    def from_settings(cls, settings: OpenAISettings, env: Mapping[str, str]) -> Client:
        url = settings.first_url
        return cls(cls.find_key(settings, env), url, proxy_for(url or OPENAI_URL, env))

    @classmethod
    def sampling_of(cls, settings: OpenAISettings) -> Sampling:
        return Sampling(
            model=settings.model_name,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            timeout_s=settings.timeout,
            thinking_budget=settings.thinking_budget,
            extra_body=settings.extra_body,
        )

    @classmethod
    def check_sampling(cls, settings: OpenAISettings, sampling: Sampling) -> None:
        at_openai = any(is_host_of(each.url or OPENAI_URL, OPENAI_HOST) for each in settings.endpoints)
        if sampling.thinking_budget is not None and at_openai:
            raise ConfigError(
                f"thinking_budget: {OPENAI_HOST} takes no number of tokens (found {sampling.thinking_budget}); "
                "write extra_body: {reasoning_effort: low} instead"
            )

    @classmethod
    def find_key(cls, settings: OpenAISettings, env: Mapping[str, str]) -> str | None:
        """``OPENAI_API_KEY`` is for OpenAI's own host; see ``key_for_host``. Of several endpoints, the first one's."""
        first, *_ = [cls._key_of(settings, endpoint, env) for endpoint in settings.endpoints]
        return first

    @classmethod
    def _key_of(cls, settings: OpenAISettings, endpoint: EndpointSettings, env: Mapping[str, str]) -> str | None:
        own = endpoint if endpoint.has_key else settings
        written = own.api_key, own.api_key_env, endpoint.url
        return key_for_host("vlm.openai", *written, env, variable="OPENAI_API_KEY", host=OPENAI_HOST)

    @classmethod
    def with_key(cls, settings: OpenAISettings, key: str | None) -> OpenAISettings:
        return settings.model_copy(update={"api_key": key or "", "api_key_env": ""})

    @classmethod
    def with_keys(cls, settings: OpenAISettings, env: Mapping[str, str]) -> OpenAISettings:
        if isinstance(settings.base_url, str):
            return super().with_keys(settings, env)
        entries = [
            endpoint.model_copy(update={"api_key": cls._key_of(settings, endpoint, env) or "", "api_key_env": ""})
            for endpoint in settings.base_url
        ]
        return cls.with_key(settings, None).model_copy(update={"base_url": entries})

    @classmethod
    def endpoint_of(cls, settings: OpenAISettings) -> str:
        return host_and_port(settings.first_url or OPENAI_URL)

    @classmethod
    def members_of(cls, settings: OpenAISettings) -> tuple[tuple[OpenAISettings, float, int], ...]:
        members = []
        for endpoint in settings.endpoints:
            alone = settings.model_copy(update={"base_url": endpoint.url})
            if endpoint.has_key:
                alone.api_key, alone.api_key_env = endpoint.api_key, endpoint.api_key_env
            members.append((alone, endpoint.weight, endpoint.max_in_flight))
        return tuple(members)

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
            call = self._http.post_parts(self._chat_url, self._headers, self.to_body(request), sampling.timeout_s)
            response = await self._response_of(call, sampling.timeout_s, had_schema)
            body, choice, (finish, word) = self._first_choice(response, had_schema)
        except ClientError as error:
            if error.verdict is Verdict.REFUSED:
                return self._endpoint.refusal_reply(error, sampling.model, time.monotonic() - started_s)
            explained = await self._explain(error, sampling.model)
            if explained is error:
                raise
            raise explained from error
        self._has_answered = True
        latency_s = time.monotonic() - started_s
        message = object_at(choice, "message")
        text, refusal = _read_content(message)
        if not text and not refusal and _has_reasoning(message):
            word = f"{word or NO_WORD}, {ONLY_REASONING}"
        return Reply(
            text=text,
            finish=Finish.REFUSED if refusal else finish,
            finish_detail=f"refusal: {refusal}" if refusal else word,
            usage=_read_usage(object_at(body, "usage")),
            model=text_at(body, "model") or sampling.model,
            latency_s=latency_s,
            with_schema=had_schema,
            quotas=quotas_of(response),
        )

    def to_body(self, request: Request) -> tuple[bytes, ...]:
        """The JSON body of a request, in parts: the picture's base64 between two that are rendered around it."""
        fields = self._fields(request)
        if "messages" in fields:  # the user's own, from extra_body
            return (to_json(fields),)
        preamble = b'{"type":"text","text":%b},' % to_json(request.preamble) if request.preamble else b""
        head = b'{"messages":[{"role":"user","content":[%b{"type":"image_url","image_url":{"url":' % preamble
        tail = b'}},{"type":"text","text":%b}]}],%b' % (to_json(request.question), to_json(fields)[1:])
        picture = request.picture
        if picture.url:
            return (head + to_json(picture.url) + tail,)
        return head + b'"data:%b;base64,' % picture.media_type.encode(), picture.encoded, b'"' + tail

    def _fields(self, request: Request) -> JsonObject:
        """All of the body but the messages, unless those are in ``extra_body``."""
        sampling = request.sampling
        fields: JsonObject = {"model": sampling.model, "temperature": sampling.temperature}
        if not {"max_tokens", "max_completion_tokens"} & set(sampling.extra_body):
            fields["max_completion_tokens" if self._at_openai else "max_tokens"] = sampling.max_tokens
        if request.schema is not None and request.schema_form is SchemaForm.NATIVE:
            fields["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": request.schema},
            }
        if sampling.thinking_budget is not None:
            fields["thinking_token_budget"] = sampling.thinking_budget
        if request.schema is not None and request.schema_form is SchemaForm.STRUCTURED_OUTPUTS:
            fields["structured_outputs"] = {"json": request.schema}
        return {**fields, **sampling.extra_body}

    async def check(self) -> None:
        """List the models, which costs nothing.

        Raises:
            ClientError: STOP_RUN for a rejected key, RETRY where nobody answers; whatever else is said passes.
        """
        await self._list_models()

    async def served_names(self, model: str) -> tuple[str, ...]:
        """What the list of models says of one: vLLM's ``root`` (path or hub name), its id, and a LoRA's base model.

        A server that lists one model and answers to any name (llama.cpp) serves that one.

        Raises:
            ClientError: as ``check``.
        """
        entries = {text_at(entry, "id"): entry for entry in list_at(await self._list_models(), "data")}
        entries.pop("", None)
        entry = next(iter(entries.values())) if len(entries) == 1 else entries.get(model)
        base = text_at(entry, "parent")
        names = (text_at(entry, "root"), text_at(entry, "id"), model, text_at(entries.get(base), "root"), base)
        return tuple(dict.fromkeys(name for name in names if name))

    async def served_model(self, model: str) -> ServedModel:
        """What the list of models says of one. A server that lists one model and answers to any name serves that one.

        Raises:
            ClientError: as ``check``.
        """
        entries = list_at(await self._list_models(), "data")
        found = next((entry for entry in entries if text_at(entry, "id") == model), None)
        if found is None and entries:
            found = entries[0]
        return ServedModel(text_at(found, "id"), text_at(found, "root"))

    async def close(self) -> None:
        """Give back connections."""
        await self._sdk.close()

    async def _list_models(self) -> JsonObject | None:
        """The list of models; None where the server gives none that can be read."""
        try:
            call = self._sdk.get("/models", cast_to=httpx2.Response, options={"timeout": CHECK_TIMEOUT_S})
            return parse_object((await self._response_of(call, CHECK_TIMEOUT_S)).content)
        except ClientError as error:
            # OpenAI has keys that may ask but not list: 403, "Missing scopes: api.model.read".
            rejected = error.status == 401 or (error.status == 403 and not self._at_openai)
            if rejected or error.status is None:
                raise
            return None

    async def _response_of(
        self, call: Awaitable[httpx2.Response], timeout_s: float, had_schema: bool = False
    ) -> httpx2.Response:
        """The outcome of a call, its errors as ours."""
        import openai

        response = await answer_of(call, openai, self._endpoint, timeout_s)
        if response.is_success:
            return response
        said = read_error_body(response.content)
        raise self._endpoint.status_error(response.status_code, said, response.headers, had_schema=had_schema)

    def _first_choice(
        self, response: httpx2.Response, had_schema: bool
    ) -> tuple[JsonObject, JsonObject, tuple[Finish, str]]:
        """The body of a success, its first choice, and how that ended.

        Raises:
            ClientError: it is none: an error of a server further on in a 200, a page, nothing, an answer broken off.
        """
        body = parse_object(response.content) or {}
        choices = list_at(body, "choices")
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        named = body.get("error") or (not choices and (body.get("message") or body.get("detail")))
        said = read_error_object(body) if named else None
        if said is None and choice.get("error"):
            said = read_error_object(choice)
        if said is not None:
            raise self._endpoint.error_in_success(said, response.headers, had_schema=had_schema)
        if not choice:
            raise self._endpoint.unreadable_body(response.status_code, response.content)
        end = _read_end(choice)
        if end[0] is Finish.BROKEN:
            raise self._endpoint.broken_off(end[1])
        return body, choice, end

    async def _explain(self, error: ClientError, model: str) -> ClientError:
        """The error; with what the list of models adds where the address or the model's name may be wrong."""
        unknown = error.verdict is Verdict.STOP_RUN and error.status in (400, 404, 405)
        if not unknown and not (error.verdict is Verdict.RETRY and error.status == 200):
            return error
        if self._clue is None:
            self._clue = asyncio.ensure_future(self._find_clue())
        clue = await asyncio.shield(self._clue)
        if clue.better_url and not self._has_answered:
            said = error.message.removesuffix(f"; {self._endpoint.not_found_advice}")
            message = f"{said}; {self._endpoint.url_setting}: write {clue.better_url}, where models are listed"
            return ClientError(Verdict.STOP_RUN, message, status=error.status)
        if unknown and clue.names and model not in clue.names:
            message = f"{error.message}; {list_served_models(clue.names, model)}"
            return ClientError(error.verdict, message, status=error.status)
        return error

    async def _find_clue(self) -> _Clue:
        """What is served at the base URL; where nothing is, whether it is with the usual ``/v1``."""
        if (names := await self._models_at(self._url)) is not None:
            return _Clue(names)
        parts = urlsplit(self._url)
        beneath = () if re.search(r"/v\d+\w*$", parts.path) else (f"{self._url}/v1",)
        for url in dict.fromkeys((*beneath, f"{parts.scheme}://{parts.netloc}/v1")):
            if url != self._url and await self._models_at(url) is not None:
                return _Clue((), mask_urls(url))
        return _Clue(())

    async def _models_at(self, url: str) -> tuple[str, ...] | None:
        """The models listed under an address; None where there is no such list."""
        try:
            answer = await self._http.get(f"{url}/models", timeout=CHECK_TIMEOUT_S)
        except httpx2.HTTPError:
            return None
        body = parse_object(answer.content)
        if answer.status_code != 200 or body is None or not isinstance(body.get("data"), list):
            return None
        return tuple(name for entry in body["data"] if (name := text_at(entry, "id")))


@dataclass(frozen=True, slots=True)
class _Clue:
    """What may be wrong: the models that are served, or an address that has some where this one has none."""

    names: tuple[str, ...]
    better_url: str = ""


def _read_content(message: JsonObject) -> tuple[str, str]:
    """Answer and refusal of a message; its content is text, a list of typed parts, or null.

    Reasoning stands in fields (``reasoning``, ``reasoning_content``) and parts of its own and is no answer.
    """
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [p if isinstance(p, str) else text_at(p, "text") for p in parts if isinstance(p, str) or _is_text(p)]
    refusals = [text_at(message, "refusal"), *(text_at(p, "refusal") for p in parts)]
    return "".join(texts), "".join(refusals)


def _read_end(choice: JsonObject) -> tuple[Finish, str]:
    """What ended an answer: the gateway's word, held against that of the server behind it (OpenRouter); in the place of
    both, what Azure's older servers say."""
    word = choice.get("finish_reason") or choice.get("finish_details")
    return decisive_finish(read_finish(word), read_finish(choice.get("native_finish_reason")))


def _has_reasoning(message: JsonObject) -> bool:
    kinds = {text_at(part, "type") for part in list_at(message, "content")}
    return any(message.get(name) for name in ("reasoning_content", "reasoning", "reasoning_details")) or bool(
        kinds & {"thinking", "reasoning"}
    )


def _is_text(part: Any) -> bool:
    return text_at(part, "type") in ("text", "output_text")


def _read_usage(usage: JsonObject) -> Usage:
    """Tokens; ``completion_tokens`` includes the reasoning tokens, which ``Usage.output`` does not."""
    thought = count_at(object_at(usage, "completion_tokens_details"), "reasoning_tokens")
    output = count_at(usage, "completion_tokens")
    if output is not None and thought is not None and thought <= output:
        output -= thought
    return Usage(
        input=count_at(usage, "prompt_tokens"),
        cached=count_at(object_at(usage, "prompt_tokens_details"), "cached_tokens"),
        thought=thought,
        output=output,
    )
