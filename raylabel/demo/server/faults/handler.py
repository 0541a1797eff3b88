"""How a fault is sent over HTTP."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raylabel.demo.server.faults.deciding import Decision
from raylabel.demo.server.faults.plan import Fault
from raylabel.demo.server.http_server import Handler, Question, Refused, to_bytes
from raylabel.demo.server.model import Answer

if TYPE_CHECKING:
    from raylabel.demo.server.faults.server import FaultyServer

NO_STATUS = 0
"""In the journal: the client gets no answer."""

GARBAGE = b'\x89\xff\x00{"choices": [{"mess\xc3\x28age": NaN,,'
PAGE = b"<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body><h1>Please sign in</h1></body></html>\n"
DECLINES = "I'm sorry, but I can't help with that."
_RESET = struct.pack("ii", 1, 0)
"""Linger for 0 s: closing sends a reset."""


class FaultyHandler(Handler):
    """Answers as the demo server does, or fails as the plan says."""

    server: FaultyServer

    def do_POST(self) -> None:
        self._decision: Decision | None = None
        super().do_POST()

    def _answer(self, question: Question) -> Answer:
        decision = self._decision = self.server.faults.decide(question)
        if decision.refusal is not None:
            raise Refused(decision.refusal.status, decision.refusal.message)
        fault = decision.fault
        if fault is None:
            return self._whole(question, decision)
        if fault.kind == "slow":
            time.sleep(fault.seconds)
            return self._whole(question, decision)
        if fault.kind == "hang":
            select.select([self.connection], [], [], fault.seconds)  # readable: the client has given up
        if fault.kind in ("hang", "reset", "disconnect"):
            raise Refused(NO_STATUS, fault.kind)
        if fault.kind == "error-inside":
            raise Refused(500, "The server had an error while processing your request.")
        if fault.kind.isdecimal() or fault.kind in ("redirect", "html"):
            raise Refused(fault.status, f"Fault on demand: {fault.kind}.")
        answer = super()._answer(question)
        if fault.kind == "empty":
            return replace(answer, text="", output_tokens=0, cut=False)
        if fault.kind == "cut":
            return replace(answer, text=answer.text[: len(answer.text) // 2], cut=True)
        return replace(answer, text=DECLINES, cut=False) if fault.kind == "declines" else answer

    def _whole(self, question: Question, decision: Decision) -> Answer:
        answer = super()._answer(question)
        self.server.faults.answered(decision.digest)
        return answer

    def _send(self, status: int, body: dict[str, Any]) -> None:
        decision = self._decision if self.command == "POST" else None
        if decision is None:
            super()._send(status, body)
        elif decision.refusal is not None:
            data = to_bytes(body if decision.refusal.body is None else decision.refusal.body)
            self._send_bytes(status, data, headers=decision.headers)
        elif decision.fault is None:
            self._send_bytes(status, to_bytes(body), headers=decision.headers)
        else:
            self._send_fault(decision.fault, status, to_bytes(body), decision.headers)

    def _send_fault(self, fault: Fault, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        if fault.kind in _WAYS:
            _WAYS[fault.kind](self, fault, data, headers)
            return
        if fault.retry_after is not None:
            headers = {**headers, "retry-after": f"{fault.retry_after:g}"}
        self._send_bytes(status, data, headers=headers)

    def _reset(self, *_: Any) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._disconnect()

    def _disconnect(self, *_: Any) -> None:
        self.close_connection = True
        self.server.drop(self.connection)

    def _truncated(self, _: Fault, data: bytes, headers: Mapping[str, str]) -> None:
        self.close_connection = True
        self._send_bytes(200, data[: len(data) // 2], headers={**headers, "Content-Length": str(len(data))})

    def _garbage(self, _: Fault, __: bytes, headers: Mapping[str, str]) -> None:
        self._send_bytes(200, GARBAGE, headers=headers)

    def _html(self, fault: Fault, _: bytes, headers: Mapping[str, str]) -> None:
        self._send_bytes(fault.status, PAGE, "text/html; charset=utf-8", headers)

    def _redirect(self, fault: Fault, data: bytes, headers: Mapping[str, str]) -> None:
        self._send_bytes(fault.status, data, headers={**headers, "Location": f"{self.server.url}/moved{self.path}"})

    def _error_inside(self, _: Fault, data: bytes, headers: Mapping[str, str]) -> None:
        self._send_bytes(200, data, headers=headers)


_WAYS: dict[str, Callable[[FaultyHandler, Fault, bytes, Mapping[str, str]], None]] = {
    "reset": FaultyHandler._reset,
    "disconnect": FaultyHandler._disconnect,
    "hang": FaultyHandler._disconnect,
    "truncated": FaultyHandler._truncated,
    "garbage": FaultyHandler._garbage,
    "html": FaultyHandler._html,
    "redirect": FaultyHandler._redirect,
    "error-inside": FaultyHandler._error_inside,
}
