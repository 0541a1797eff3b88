"""A demo server with faults: it can be gone for a while, and its connections with it."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress
from typing import Any

from raylabel.demo.server.faults.deciding import Faults
from raylabel.demo.server.faults.handler import FaultyHandler
from raylabel.demo.server.faults.plan import Plan
from raylabel.demo.server.http_server import DemoServer, ServerOptions
from raylabel.demo.server.ledger import Ledger


class FaultyServer(DemoServer):
    """Serves by a plan.

    While it is away, its socket is bound and nobody listens: connections are refused, and no other program can take
    the port. Connections that were open end, and with them the answers under way, as they do when a process dies.
    """

    def __init__(self, port: int, options: ServerOptions, ledger: Ledger, plan: Plan) -> None:
        self.faults = Faults(plan)
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._ended = threading.Event()
        self._is_away = False
        super().__init__(port, options, ledger, FaultyHandler)

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), **self.faults.stats()}

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Answer until ``shutdown``, with the absences of the plan."""
        while not self._ended.is_set():
            try:
                super().serve_forever(poll_interval)
            except _GoneAway:
                self._stay_away(min(poll_interval, 0.1))

    def shutdown(self) -> None:
        self._ended.set()
        super().shutdown()

    def service_actions(self) -> None:
        """Look whether it is time to go."""
        super().service_actions()
        absence = self.faults.absence()
        if absence is None or self._ended.is_set():
            self._is_away = False
        elif not absence.closes:
            raise _GoneAway
        elif not self._is_away:
            self._is_away = True
            self._drop_all()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is taken; one that is not is closed."""
        return self.faults.absence() is None

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def drop(self, connection: socket.socket) -> None:
        """End a connection now, as its socket is set to."""
        with self._open_lock:
            self._open.discard(connection)
        connection.close()

    def _stay_away(self, step_s: float) -> None:
        self.socket.close()
        self.socket = socket.socket(self.address_family, self.socket_type)
        # Not HTTPServer's own, which asks for the name of this machine.
        socketserver.TCPServer.server_bind(self)
        self._drop_all()
        while self.faults.absence() is not None and not self._ended.wait(step_s):
            pass
        self.server_activate()

    def _drop_all(self) -> None:
        with self._open_lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _GoneAway(Exception):
    """The server goes."""
