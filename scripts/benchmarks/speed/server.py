"""A model server that costs next to nothing: the OpenAI protocol, answers made from the question, no model.

It never parses a body: of each it keeps the first and the last kilobytes, where the question stands. A picture that is
a file's address is read. A reply leaves
after a latency that depends on the question alone, so every client meets the same. ``GET /log`` gives when each request
was whole and when its reply left. Run: ``python -m speed.server --latency-ms 300 --sigma 0.6``; prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import math
import socket
import time
from array import array
from hashlib import blake2b
from pathlib import Path
from statistics import NormalDist
from urllib.parse import unquote

from speed.answers import answer, task_of

MODEL = "bench-vlm"
_HEAD, _TAIL = 1 << 11, 1 << 14
"""Bytes kept of a body's two ends; the longest question is 6 KB."""
_SCRATCH = bytearray(1 << 20)
"""What all connections read into; with one thread only one of them reads at a time."""
_VIEW = memoryview(_SCRATCH)
_NORMAL = NormalDist()
_FILE_URL = b'{"url":"file://'


class Latency:
    """Seconds a reply takes: constant, or lognormal with a median, drawn by the question's digest."""

    def __init__(self, median_s: float, sigma: float, at_once: int = 0) -> None:
        self._median_s, self._sigma = median_s, sigma
        self._free_at_s = [0.0] * at_once

    def from_now_s(self, question: str) -> float:
        """Until the reply leaves; where the server works on so many at a time, the others wait for their turn."""
        if not self._free_at_s:
            return self.of(question)
        now_s = time.monotonic()
        ends_s = max(now_s, heapq.heappop(self._free_at_s)) + self.of(question)
        heapq.heappush(self._free_at_s, ends_s)
        return ends_s - now_s

    def of(self, question: str) -> float:
        if not self._median_s or not self._sigma:
            return self._median_s
        drawn = int.from_bytes(blake2b(question.encode(), digest_size=6).digest(), "big")
        return self._median_s * math.exp(self._sigma * _NORMAL.inv_cdf((drawn + 0.5) / (1 << 48)))


class Log:
    """Requests in the order in which their replies left."""

    def __init__(self) -> None:
        self._tasks, self._arrived_ns, self._left_ns, self._bodies = array("b"), array("q"), array("q"), array("Q")
        self._body_bytes = self._read_bytes = 0
        self._cpu_before_s = time.process_time()

    def receive(self, body_bytes: int, read_bytes: int) -> None:
        self._body_bytes += body_bytes
        self._read_bytes += read_bytes

    def add(self, task: int, arrived_ns: int, body: int) -> None:
        self._tasks.append(task)
        self._arrived_ns.append(arrived_ns)
        self._left_ns.append(time.monotonic_ns())
        self._bodies.append(body)

    def as_json(self) -> bytes:
        columns = {
            "tasks": self._tasks.tolist(),
            "arrived_ns": self._arrived_ns.tolist(),
            "left_ns": self._left_ns.tolist(),
            "bodies": self._bodies.tolist(),
            "cpu_s": time.process_time() - self._cpu_before_s,
            "body_bytes": self._body_bytes,
            "read_bytes": self._read_bytes,
        }
        return json.dumps(columns).encode()


class Connection(asyncio.BufferedProtocol):
    """One client connection; requests on it come one after the other."""

    def __init__(self, latency: Latency, log: Log) -> None:
        self._latency, self._log = latency, log
        self._header = b""
        self._size = -1  # of the body; -1 while its header is not whole
        self._received = 0
        self._head = self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return _SCRATCH

    def buffer_updated(self, nbytes: int) -> None:
        start = 0
        if self._size < 0:
            self._header += bytes(_VIEW[:nbytes])
            end = self._header.find(b"\r\n\r\n")
            if end < 0:
                return
            start = nbytes - (len(self._header) - end - 4)
            self._size, self._received = _content_length(self._header[:end]), 0
            self._head = self._tail = b""
        self._received += nbytes - start
        if len(self._head) < _HEAD:
            self._head += bytes(_VIEW[start : min(nbytes, start + _HEAD - len(self._head))])
        if self._size - self._received < _TAIL:
            self._tail = (self._tail + bytes(_VIEW[max(start, nbytes - _TAIL) : nbytes]))[-_TAIL:]
        if self._received >= self._size:
            self._answer()
            self._header, self._size = b"", -1

    def _answer(self) -> None:
        if self._header.startswith(b"POST "):
            self._reply()
        elif self._header.startswith(b"GET /log "):
            self._send(self._log.as_json())
        else:
            self._send(json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode())

    def _reply(self) -> None:
        arrived_ns = time.monotonic_ns()
        question = _question(self._tail) or _question(self._head)
        task = task_of(question)
        if task is None:
            error = {"error": {"message": f"no step asks this: {question[:200]!r}", "type": "invalid_request_error"}}
            self._send(json.dumps(error).encode(), b"400 Bad Request")
            return
        self._log.receive(self._size, _read_picture(self._head))
        body = int.from_bytes(blake2b(self._head + self._tail, digest_size=8).digest(), "big")
        content = _completion(answer(task, question), self._size)
        delay_s = self._latency.from_now_s(question)
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._finish, content, task, arrived_ns, body)
        else:
            self._finish(content, task, arrived_ns, body)

    def _finish(self, content: bytes, task: int, arrived_ns: int, body: int) -> None:
        self._log.add(task, arrived_ns, body)
        self._send(content)

    def _send(self, content: bytes, status: bytes = b"200 OK") -> None:
        if not self._transport.is_closing():
            head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(head % (status, len(content)) + content)


def _content_length(header: bytes) -> int:
    for line in header.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _read_picture(head: bytes) -> int:
    """The bytes of the file that a question shows; 0 where the picture is in its body."""
    begin = head.find(_FILE_URL)
    if begin < 0:
        return 0
    begin += len(_FILE_URL)
    return len(Path(unquote(head[begin : head.index(b'"', begin)].decode())).read_bytes())


def _question(part: bytes) -> str:
    """The JSON string that begins with a task, in a part of a body; empty where there is none."""
    begin = part.find(b'"Task: ')
    if begin < 0:
        return ""
    try:
        question: str = json.JSONDecoder().raw_decode(part[begin:].decode(errors="replace"))[0]
    except ValueError:  # the other end of the string is not in this part
        return ""
    return question


def _completion(text: str, body_size: int) -> bytes:
    usage = {"prompt_tokens": 1200 + body_size // 1000, "completion_tokens": len(text) // 4}
    return json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {**usage, "total_tokens": sum(usage.values())},
        }
    ).encode()


async def serve(latency: Latency) -> None:
    """Serve on a free port of this machine, which is printed, until the process is ended."""
    log, listener = Log(), socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(latency, log), sock=listener)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="median")
    parser.add_argument("--sigma", type=float, default=0.0, help="of the logarithm; 0: constant latency")
    parser.add_argument("--at-once", type=int, default=0, help="requests it works on at a time (0: all)")
    options = parser.parse_args()
    asyncio.run(serve(Latency(options.latency_ms / 1000, options.sigma, options.at_once)))


if __name__ == "__main__":
    main()
