"""Anything that speaks the OpenAI chat-completions protocol: api.openai.com, vLLM, NIM, gateways."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

import openai

from raylabel.clients.base import Finish, Reply, Request, SchemaForm, Usage
from raylabel.clients.bodies import count_at, list_at, object_at, parse_object, text_at
from raylabel.clients.hosts import OPENAI_URL, is_openai_host, shown_host
from raylabel.clients.transport import build_http_client
from raylabel.clients.verdicts import Endpoint, read_error_body, read_error_object
from raylabel.errors import ClientError
from raylabel.records import JsonObject

CHECK_TIMEOUT_S = 10.0

_FINISHES = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "content_filter": Finish.REFUSED,
    # Words of servers that follow the protocol loosely: text-generation-inference, Together, Mistral.
    "eos_token": Finish.STOP,
    "eos": Finish.STOP,
    "model_length": Finish.LENGTH,
}

_FORMS = (SchemaForm.NATIVE, SchemaForm.STRUCTURED_OUTPUTS)

T = TypeVar("T")


class OpenAIClient:
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
    """

    def __init__(self, api_key: str | None, base_url: str = "") -> None:
        url = base_url or OPENAI_URL
        self._at_openai = is_openai_host(url)
        self._endpoint = Endpoint(shown_host(url), api_key)
        key = api_key or "EMPTY"
        self._sdk = openai.AsyncOpenAI(
            api_key=key,
            admin_api_key="",  # None would read OPENAI_ADMIN_KEY
            base_url=url,
            max_retries=0,
            http_client=build_http_client(
                {"Authorization": f"Bearer {key}"},
                also_let_pass=("openai-organization", "openai-project") if self._at_openai else (),
            ),
        )

    async def ask(self, request: Request) -> Reply:
        """Send one request once.

        Raises:
            ClientError: with the verdict on what to do.
        """
        sampling = request.sampling
        had_schema = request.schema is not None and request.schema_form in _FORMS
        self._endpoint.demand_text(request.preamble, request.question)
        call = self._sdk.chat.completions.with_raw_response.create(
            **self._fields(request), extra_body=_extra_body(request), timeout=sampling.timeout_s
        )
        started_s = time.monotonic()
        response = (await self._answered(call, sampling.timeout_s, had_schema)).http_response
        latency_s = time.monotonic() - started_s
        body = parse_object(response.content)
        choices = None if body is None else body.get("choices")
        if body is None or not isinstance(choices, list):
            raise self._no_answer(response.status_code, response.content, body, had_schema)
        message = object_at(choices[0], "message") if choices else {}
        finish_word = text_at(choices[0], "finish_reason") if choices else "no choices"
        text, refusal = _read_content(message)
        return Reply(
            text=text,
            finish=Finish.REFUSED if refusal else _FINISHES.get(finish_word, Finish.OTHER),
            finish_detail=f"refusal: {refusal}" if refusal else finish_word,
            usage=_read_usage(object_at(body, "usage")),
            model=text_at(body, "model") or sampling.model,
            latency_s=latency_s,
            with_schema=had_schema,
        )

    async def check(self) -> None:
        """List the models, which costs nothing.

        Raises:
            ClientError: STOP_RUN for a rejected key, RETRY where nobody answers; whatever else is said passes.
        """
        await self._listed()

    async def served(self, model: str) -> tuple[str, ...]:
        """What the list of models says of one: vLLM's ``root`` (path or hub name), its id, and a LoRA's base model.

        A server that lists one model and answers to any name (llama.cpp) serves that one.

        Raises:
            ClientError: as ``check``.
        """
        entries = {text_at(entry, "id"): entry for entry in list_at(await self._listed(), "data")}
        entries.pop("", None)
        entry = next(iter(entries.values())) if len(entries) == 1 else entries.get(model)
        base = text_at(entry, "parent")
        names = (text_at(entry, "root"), text_at(entry, "id"), model, text_at(entries.get(base), "root"), base)
        return tuple(dict.fromkeys(name for name in names if name))

    async def close(self) -> None:
        """Give back connections."""
        await self._sdk.close()

    async def _listed(self) -> JsonObject | None:
        """The list of models; None where the server gives none that can be read."""
        try:
            call = self._sdk.models.with_raw_response.list(timeout=CHECK_TIMEOUT_S)
            return parse_object((await self._answered(call, CHECK_TIMEOUT_S)).http_response.content)
        except ClientError as error:
            # OpenAI has keys that may ask but not list: 403, "Missing scopes: api.model.read".
            rejected = error.status == 401 or (error.status == 403 and not self._at_openai)
            if rejected or error.status is None:
                raise
            return None

    def _fields(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        picture = base64.b64encode(request.picture.data).decode("ascii")
        content: list[JsonObject] = [
            *([{"type": "text", "text": request.preamble}] if request.preamble else []),
            {"type": "image_url", "image_url": {"url": f"data:{request.picture.media_type};base64,{picture}"}},
            {"type": "text", "text": request.question},
        ]
        fields: dict[str, Any] = {
            "model": sampling.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": sampling.temperature,
        }
        if not {"max_tokens", "max_completion_tokens"} & set(sampling.extra_body):
            fields["max_completion_tokens" if self._at_openai else "max_tokens"] = sampling.max_tokens
        if request.schema is not None and request.schema_form is SchemaForm.NATIVE:
            fields["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": request.schema},
            }
        return fields

    async def _answered(self, call: Awaitable[T], timeout_s: float, had_schema: bool = False) -> T:
        """The outcome of a call, its errors as ours. The SDK's time-out counts from byte to byte; this one is total."""
        try:
            return await asyncio.wait_for(call, timeout_s)
        except (openai.APITimeoutError, asyncio.TimeoutError) as error:
            raise self._endpoint.timed_out(timeout_s) from error
        except openai.APIConnectionError as error:
            raise self._endpoint.lost(error) from error
        except openai.APIStatusError as error:
            body = read_error_body(error.response.content)
            # "from None": the SDK's own text may repeat the key, and a traceback would show it.
            raise self._endpoint.status_error(
                error.status_code, body, error.response.headers, had_schema=had_schema
            ) from None

    def _no_answer(self, status: int, raw: bytes, body: JsonObject | None, had_schema: bool) -> ClientError:
        """A 200 without choices: some gateways put the upstream's error, with its status as code, into a 200."""
        code = count_at(object_at(body, "error"), "code")
        said = None if body is None else read_error_object(body)
        if said is not None and code is not None and 400 <= code < 600:
            return self._endpoint.status_error(code, said, {}, had_schema=had_schema)
        return self._endpoint.strange_body(status, raw)


def _extra_body(request: Request) -> JsonObject:
    fields: JsonObject = {}
    if request.sampling.thinking_budget is not None:
        fields["thinking_token_budget"] = request.sampling.thinking_budget
    if request.schema is not None and request.schema_form is SchemaForm.STRUCTURED_OUTPUTS:
        fields["structured_outputs"] = {"json": request.schema}
    return {**fields, **request.sampling.extra_body}


def _read_content(message: JsonObject) -> tuple[str, str]:
    """Answer and refusal of a message; its content is text, a list of typed parts, or null.

    Reasoning stands in fields (``reasoning``, ``reasoning_content``) and parts of its own and is no answer.
    """
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [p if isinstance(p, str) else text_at(p, "text") for p in parts if isinstance(p, str) or _is_text(p)]
    refusals = [text_at(message, "refusal"), *(text_at(p, "refusal") for p in parts)]
    return "".join(texts), "".join(refusals)


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
