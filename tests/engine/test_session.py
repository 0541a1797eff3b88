"""Which Ray a run works on, and what is said where none answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress

import grpc
import pytest

from raylabel.engine import session
from raylabel.engine.session import check_cluster, cluster_address
from raylabel.errors import ConfigError
from raylabel.settings import RaySettings

HOST = "127.0.0.2"  # Ray replaces 127.0.0.1 by the machine's outward address


def says(reply: bytes) -> Callable[[socket.socket], None]:
    def answer(link: socket.socket) -> None:
        link.recv(1000)
        link.sendall(reply)

    return answer


def stays_silent(link: socket.socket) -> None:
    while link.recv(1000):
        pass


@contextmanager
def listening(answer: Callable[[socket.socket], None] | None) -> Iterator[str]:
    """The address of a port that answers so; of one where nobody listens for None."""
    with socket.create_server((HOST, 0)) as server:
        address = f"{HOST}:{server.getsockname()[1]}"
        if answer is None:
            server.close()
            yield address
            return

        def serve() -> None:
            with suppress(OSError):
                while True:
                    link, _ = server.accept()
                    with link, suppress(OSError):
                        answer(link)

        threading.Thread(target=serve, daemon=True).start()
        yield address
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def grpc_server() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    yield f"{HOST}:{port}"
    server.stop(0).wait()


WEB = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("place", "found"),
    [
        pytest.param(lambda: listening(None), "refused", id="nobody"),
        pytest.param(lambda: listening(says(WEB)), "something else", id="a-web-server"),
        pytest.param(lambda: listening(says(b"-ERR unknown command\r\n")), "something else", id="a-redis"),
        pytest.param(lambda: listening(says(b"")), "something else", id="one-that-hangs-up"),
        pytest.param(lambda: listening(stays_silent), "timed out", id="one-that-is-silent"),
        pytest.param(grpc_server, "not the cluster's head", id="another-part-of-a-cluster"),
    ],
)
@pytest.mark.parametrize("named_by", ["RAY_ADDRESS", "ray.address"])
def test_an_address_without_a_cluster_is_told_in_one_sentence(
    place: Callable[[], AbstractContextManager[str]], found: str, named_by: str, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    if found == "timed out":
        monkeypatch.setattr(session, "PATIENCE_S", 0.3)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with place() as address:
        if named_by == "RAY_ADDRESS":
            monkeypatch.setenv("RAY_ADDRESS", address)
        settings = RaySettings(address="" if named_by == "RAY_ADDRESS" else address)
        with pytest.raises(ConfigError, match=f"^{named_by}: no Ray cluster answers at {address}: .*{found}") as caught:
            check_cluster(settings)
    assert "\n" not in str(caught.value)
    assert "ray.address=local" in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "address",
    [
        "head",
        "head:",
        ":6379",
        "head:port",
        "he ad:6379",
        "ray://head:10001",
        "http://head:8265",
        "head:6379/",
        "a:b:1",
    ],
)
def test_an_address_that_can_be_none_is_told_before_anybody_is_asked(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=r"^RAY_ADDRESS: found .*, expected auto or HOST:PORT") as caught:
        check_cluster(RaySettings())
    assert f'"{address}"' in str(caught.value)


@pytest.mark.parametrize("address", ["no-such-host.invalid:6379", f"{HOST}:1", f"{'a' * 80}.invalid:6379"])
def test_a_host_that_is_not_there_is_told(address: str) -> None:
    with pytest.raises(ConfigError, match=rf"^ray\.address: no Ray cluster answers at {address}: "):
        check_cluster(RaySettings(address=address))


@pytest.mark.parametrize(
    ("configured", "surrounding", "address"),
    [
        pytest.param("", None, "", id="nothing-said"),
        pytest.param("", "", "", id="an-empty-variable"),
        pytest.param("", "head:6379", "head:6379", id="a-submitted-job"),
        pytest.param("auto", "head:6379", "head:6379", id="auto-in-a-submitted-job"),
        pytest.param("auto", None, "auto", id="auto"),
        pytest.param("other:6379", "head:6379", "other:6379", id="the-configuration-counts-before-the-surroundings"),
        pytest.param("local", "head:6379", "", id="local-in-spite-of-the-surroundings"),
        pytest.param("", "local", "", id="local-surroundings"),
    ],
)
def test_the_configuration_names_the_cluster_and_else_the_surroundings(
    configured: str, surrounding: str | None, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if surrounding is not None:
        monkeypatch.setenv("RAY_ADDRESS", surrounding)
    assert cluster_address(RaySettings(address=configured)) == address
    if not address:
        check_cluster(RaySettings(address=configured))  # nobody is to be asked
