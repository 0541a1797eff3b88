"""Ports for servers, so that two that start at the same time do not get one."""

from __future__ import annotations

import socket

from raylabel.errors import StartError

_TRIES = 50


class ReservedPort:
    """A port that no other raylabel on this machine gives a server, until ``close()`` or the end of this process.

    The server itself has to bind it, so the port is free for whoever comes first; those of other programs are seen
    before a start only. What keeps other raylabels away is a UDP socket of the same number.
    """

    def __init__(self, port: int, sign: socket.socket) -> None:
        self.port = port
        self._sign = sign

    def close(self) -> None:
        """Let others have it."""
        self._sign.close()


def reserve_port(host: str, wanted: int | None = None) -> ReservedPort:
    """Reserve a port that is free on an address of this machine.

    Args:
        wanted: this one; None: any.

    Raises:
        StartError: the wanted one is taken, or there is none.
    """
    for _ in range(1 if wanted else _TRIES):
        if (port := _bindable(host, wanted or 0)) and (sign := _sign(host, port)):
            return ReservedPort(port, sign)
    if wanted:
        raise StartError(f"serve.port: {wanted} is taken on {host}; leave it at auto, or choose another.")
    raise StartError(f"serve.port: no free port was found on {host}.")


def _bindable(host: str, port: int) -> int:
    """The number of a port that a server could listen on; 0: it is taken."""
    with socket.socket() as tcp:
        # As servers do: connections that ended a minute ago are not in their way.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind((host, port))
        except OSError:
            return 0
        number: int = tcp.getsockname()[1]
        return number


def _sign(host: str, port: int) -> socket.socket | None:
    udp = socket.socket(type=socket.SOCK_DGRAM)
    try:
        udp.bind((host, port))
    except OSError:
        udp.close()
        return None
    return udp
