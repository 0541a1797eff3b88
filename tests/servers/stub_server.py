"""A server without a model, for tests: ``stub_server.py PORT MODEL MOOD``.

MOOD is a file whose words say how it is: ``ill`` (health 503), ``deaf`` (no answer to anything but a connection),
``busy`` (two requests wait and nothing is done), ``blind`` (turns pictures away), ``mute`` (empty answers), ``mum``
(no answer to a question).
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL, MOOD = "", Path()


def mood() -> list[str]:
    return MOOD.read_text().split() if MOOD.exists() else []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "deaf" in mood():
            time.sleep(3600)
        if self.path == "/health":
            self.answer(503 if "ill" in mood() else 200, b"")
        elif self.path == "/v1/models":
            self.answer(200, json.dumps({"data": [{"id": MODEL}]}).encode())
        elif self.path == "/metrics":
            waiting = 2 if "busy" in mood() else 0
            self.answer(200, f"vllm:num_requests_running 0\nvllm:num_requests_waiting {waiting}\n".encode())
        else:
            self.answer(404, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if "mum" in mood():
            time.sleep(3600)
        if "blind" in mood():
            said = {"error": {"message": "At most 0 image(s) may be provided in one prompt.", "code": 400}}
            self.answer(400, json.dumps(said).encode())
            return
        text = "" if "mute" in mood() else "red and blue"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        self.answer(
            200, json.dumps({"id": "1", "object": "chat.completion", "model": MODEL, "choices": [choice]}).encode()
        )

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


if __name__ == "__main__":
    MODEL, MOOD = sys.argv[2], Path(sys.argv[3])
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    server.serve_forever()
