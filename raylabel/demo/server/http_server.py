"""HTTP/1.1: routes, keys, keep-alive. What is said is the business of the protocol files."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from raylabel.demo.server import anthropic_api, gemini_api, openai_api
from raylabel.demo.server.dialects import MAX_PIXELS, NATIVE
from raylabel.demo.server.ledger import Ledger
from raylabel.demo.server.model import Answer, Ask, BadRequest, Model
from raylabel.demo.server.slots import METRICS_TYPE, Slots
from raylabel.demo.server.structured import SCHEMA_MODES

LARGEST_BODY_BYTES = 256 * 2**20
GEMINI_CALL = re.compile(r"/v1(?:beta)?/models/(?P<model>[^/:]+):generateContent")
GEMINI_MODEL = re.compile(r"/v1beta/models/(?P<model>[^/:]+)")
OPENAI_CALL, ANTHROPIC_CALL = "/v1/chat/completions", "/v1/messages"
OPENAI_MODEL = re.compile(r"/v1/models/(?P<model>.+)")

HERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the server behaves.

    Args:
        boxes: a dialect's name, or "auto": the native one of the protocol.
        model: its own name; another name in a request is a 404 if ``strict_model``.
        api_key: empty: none is asked for.
        latency_ms: mean waiting time of an answer; each question waits its own 50 to 150 % of it.
        schemas: which structured output it takes; one of ``SCHEMA_MODES``.
        reports_model: the name it gives itself in listings and replies; empty: ``model``.
        model_root: where its weights came from, in OpenAI's listing; empty: not said.
        slots: requests that are worked on at a time, of which ``/metrics`` tells; 0: all, and it tells nothing.
        folder: in which it reads pictures by ``file://`` addresses, as vLLM does; None: nowhere.
        max_pixels, noise, thinks, reads, blind: see ``Model``.
        host: address to listen on.
    """

    boxes: str
    model: str
    strict_model: bool
    api_key: str
    latency_ms: float
    schemas: str = SCHEMA_MODES[0]
    reports_model: str = ""
    model_root: str = ""
    max_pixels: int = MAX_PIXELS
    noise: float = 0.0
    thinks: bool = False
    reads: str = ""
    blind: bool = False
    slots: int = 0
    folder: Path | None = None
    host: str = HERE

    @property
    def reported(self) -> str:
        """The name in listings and replies."""
        return self.reports_model or self.model


class Refused(Exception):
    """The request is turned away with a status before the model sees it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Question:
    """A legal request; ``model`` is the name that the reply gives."""

    protocol: str
    model: str
    ask: Ask


class DemoServer(ThreadingHTTPServer):
    """The listening server; ``options``, ``model`` and ``ledger`` are shared by its threads."""

    daemon_threads = True
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, port: int, options: ServerOptions, ledger: Ledger, handler: type[Handler] | None = None) -> None:
        super().__init__((options.host, port), handler or Handler)
        self.options = options
        self.model = Model(
            max_pixels=options.max_pixels,
            noise=options.noise,
            thinks=options.thinks,
            reads=options.reads,
            blind=options.blind,
        )
        self.ledger = ledger
        self.slots = Slots(options.slots)

    @property
    def url(self) -> str:
        return f"http://{self.options.host}:{self.server_address[1]}"

    def stats(self) -> dict[str, Any]:
        """The body of ``GET /stats``."""
        return {**self.ledger.stats(), **({"slots": self.slots.stats()} if self.slots.count else {})}

    def metrics(self) -> str:
        """The body of ``GET /metrics``."""
        tokens = self.ledger.stats()["tokens"]
        return self.slots.metrics(self.options.reported, tokens["prompt"], tokens["output"])

    def server_close(self) -> None:
        """Stop listening, and end the journal."""
        super().server_close()
        self.ledger.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of the server."""


_WRITE_ERROR = {
    "openai": openai_api.write_error,
    "gemini": gemini_api.write_error,
    "anthropic": anthropic_api.write_error,
}


_WRITE_REPLY: dict[str, Callable[[Answer, str], dict[str, Any]]] = {
    "openai": lambda answer, model: openai_api.write_reply(answer, model, int(time.time())),
    "gemini": gemini_api.write_reply,
    "anthropic": anthropic_api.write_reply,
}


class Handler(BaseHTTPRequestHandler):
    server: DemoServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """No request log; the journal holds what matters."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        options = self.server.options
        try:
            if url.path in ("/health", "/v1/health"):
                self._send(200, {"status": "ok"})
            elif url.path == "/stats":
                self._send(200, self.server.stats())
            elif url.path == "/metrics" and options.slots:
                self._send_bytes(200, self.server.metrics().encode(), METRICS_TYPE)
            elif found := GEMINI_MODEL.fullmatch(url.path):
                self._check_gemini_key(url.query)
                self._send(200, gemini_api.write_model(self._check_model(unquote(found["model"]))))
            elif url.path == "/v1beta/models":
                self._check_gemini_key(url.query)
                self._send(200, {"models": [gemini_api.write_model(options.reported)]})
            elif url.path == "/v1/models":
                self._check_openai_key()
                self._send(200, openai_api.write_models(options.reported, options.model_root))
            elif found := OPENAI_MODEL.fullmatch(url.path):
                self._check_openai_key()
                name = self._check_model(unquote(found["model"]))
                self._send(200, openai_api.write_model(name, options.model_root))
            else:
                raise Refused(404, f"unknown path {url.path}")
        except Refused as refusal:
            self._send(refusal.status, self._error(refusal.status, refusal.message))

    def do_POST(self) -> None:
        ledger = self.server.ledger
        arrived = time.time()
        ledger.arrived()
        answer: Answer | None = None
        status, body = 500, self._error(500, "the server failed")
        try:
            question = self._read_question()
            with self.server.slots.one() as began:
                answer = self._answer(question)
                body = _WRITE_REPLY[question.protocol](answer, question.model)
                status = 200
                self._wait(answer, began if self.server.slots.count else arrived)
        except Refused as refusal:
            status, body = refusal.status, self._error(refusal.status, refusal.message)
        except BadRequest as bad:
            status, body = bad.status, self._error(bad.status, str(bad))
        except Exception:
            # The border of a request: whatever went wrong here, the client is told and the server goes on.
            traceback.print_exc()
        finally:
            ledger.answered(
                protocol=self._protocol,
                status=status,
                arrived_unix_s=arrived,
                answered_unix_s=time.time(),
                answer=answer,
            )
        self._send(status, body)

    def _read_question(self) -> Question:
        url = urlsplit(self.path)
        body = self._read_body()
        schemas = self.server.options.schemas
        if found := GEMINI_CALL.fullmatch(url.path):
            self._check_gemini_key(url.query)
            name = self._check_model(unquote(found["model"]))
            return Question("gemini", name, gemini_api.read_request(body, self._dialect("gemini"), schemas))
        if url.path not in (OPENAI_CALL, ANTHROPIC_CALL):
            raise Refused(404, f"unknown path {url.path}")
        self._check_openai_key()
        name = self._check_model(str(body.get("model", "")))
        if url.path == ANTHROPIC_CALL:
            return Question("anthropic", name, anthropic_api.read_request(body, self._dialect("anthropic"), schemas))
        folder = self.server.options.folder
        return Question("openai", name, openai_api.read_request(body, self._dialect("openai"), schemas, folder))

    def _answer(self, question: Question) -> Answer:
        return self.server.model.answer(question.ask)

    def _dialect(self, protocol: str) -> str:
        boxes = self.server.options.boxes
        return NATIVE[protocol] if boxes == "auto" else boxes

    def _wait(self, answer: Answer, since_unix_s: float) -> None:
        """Take as long as the question deserves: its own share of the latency, so that answers overtake each other."""
        if latency_ms := self.server.options.latency_ms:
            share = 0.5 + hashlib.sha256(answer.question_digest.encode()).digest()[0] / 255
            rest_s = since_unix_s + latency_ms / 1000 * share - time.time()
            time.sleep(max(0.0, rest_s))

    def _read_body(self) -> dict[str, Any]:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self.close_connection = True
            raise Refused(411, "a Content-Length is needed") from None
        if not 0 <= length <= LARGEST_BODY_BYTES:
            self.close_connection = True
            raise Refused(413, f"the body is larger than {LARGEST_BODY_BYTES} bytes")
        raw = self.rfile.read(length)
        self.server.ledger.received(len(raw))
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise BadRequest("the body is not valid JSON") from error
        if not isinstance(body, dict):
            raise BadRequest("the body must be a JSON object")
        return body

    def _check_openai_key(self) -> None:
        if not self._same_key(self.headers.get("Authorization", "").removeprefix("Bearer ").strip()):
            raise Refused(401, "Incorrect API key provided.")

    def _check_gemini_key(self, query: str) -> None:
        given = self.headers.get("x-goog-api-key") or parse_qs(query).get("key", [""])[0]
        if self.server.options.api_key and not given:
            raise Refused(403, "Method doesn't allow unregistered callers. Please use an API key.")
        if not self._same_key(given):
            raise Refused(400, "API key not valid. Please pass a valid API key.")

    def _same_key(self, given: str) -> bool:
        wanted = self.server.options.api_key
        return not wanted or hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogateescape"))

    def _check_model(self, name: str) -> str:
        """The name the server reports, whatever alias it was called by."""
        options = self.server.options
        if options.strict_model and name.removeprefix("models/") not in (options.model, options.reported):
            raise Refused(404, f"The model `{name}` does not exist.")
        return options.reported

    @property
    def _protocol(self) -> str:
        """Models are listed under the same paths by OpenAI and Anthropic, whose SDK names its version."""
        if "generateContent" in self.path or self.path.startswith("/v1beta/"):
            return "gemini"
        is_anthropic = urlsplit(self.path).path == ANTHROPIC_CALL or "anthropic-version" in self.headers
        return "anthropic" if is_anthropic else "openai"

    def _error(self, status: int, message: str) -> dict[str, Any]:
        return _WRITE_ERROR[self._protocol](status, message)

    def _send(self, status: int, body: dict[str, Any]) -> None:
        self._send_bytes(status, to_bytes(body))

    def _send_bytes(
        self,
        status: int,
        data: bytes,
        media_type: str = "application/json; charset=utf-8",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """A whole answer; ``headers`` win over those that belong to it."""
        own = {"Content-Type": media_type, "Content-Length": str(len(data)), **(headers or {})}
        try:
            self.send_response(status)
            for name, value in own.items():
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()
        except (TimeoutError, ConnectionError):
            self.close_connection = True


def to_bytes(body: Any) -> bytes:
    """A body as JSON."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
