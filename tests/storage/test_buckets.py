"""Files in a bucket of a real S3 server, which fails now and then: nothing is lost, and nothing is there in part."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from raylabel.storage.folders import Folder
from raylabel.storage.reading import open_input, read_bytes
from raylabel.storage.writing import WholeFile
from tests.bucket_server import (
    FAILS,
    FAILS_AFTERWARDS,
    FINE,
    HANGS,
    BucketServer,
    Proxy,
    Request,
    at_random,
    bucket_server,
)
from tests.waiting import wait_until

PARTS = os.urandom(1 << 20) * 25
"""Larger than what is sent in one piece (10 MiB)."""


@pytest.fixture(scope="module")
def server() -> Iterator[BucketServer]:
    with bucket_server() as server:
        yield server


def test_a_server_that_fails_one_request_in_four_loses_nothing(server: BucketServer) -> None:
    names = [f"{n} ä#?.json" for n in range(12)]
    with Proxy(server, at_random(1, fails=0.15, fails_afterwards=0.1)) as proxy:
        folder = Folder(proxy.uri("faulty"))
        for name in names:
            folder.publish(name, name.encode())
        assert sorted(folder.sizes()) == sorted(names)
        assert [folder.read(name) for name in names] == [name.encode() for name in names]
        for name in names[:6]:
            folder.delete(name)
        for name in names[6:]:
            folder.move(name, "moved")
        assert not folder.sizes()
        assert sorted((folder / "moved").sizes()) == sorted(names[6:])
        assert proxy.faults[FAILS] > 3
        assert proxy.faults[FAILS_AFTERWARDS] > 1


@pytest.mark.parametrize(
    ("method", "query", "fault"),
    [
        ("POST", "?uploads", FAILS),
        ("PUT", "?partNumber=2", FAILS),
        ("PUT", "?partNumber=2", HANGS),
        ("POST", "?uploadId", FAILS),
        ("POST", "?uploadId", FAILS_AFTERWARDS),
    ],
)
def test_an_upload_in_parts_gets_over_a_failure_at_any_point(
    server: BucketServer, method: str, query: str, fault: str
) -> None:
    failed: list[Request] = []

    def once(request: Request) -> str:
        if failed or request.method != method or query not in request.path:
            return FINE
        failed.append(request)
        return fault

    with Proxy(server, once) as proxy, WholeFile(proxy.uri("large")) as out:
        out.write(PARTS)
    assert failed
    assert server.get("large") == PARTS


def test_a_small_file_is_read_though_the_error_is_longer_than_the_file(server: BucketServer) -> None:
    server.put("small", b"1")
    failed: list[Request] = []

    def once(request: Request) -> str:
        if failed or request.method != "GET":
            return FINE
        failed.append(request)
        return FAILS

    with Proxy(server, once) as proxy:
        assert read_bytes(proxy.uri("small")) == b"1"
        assert failed
        failed.clear()
        with open_input(proxy.uri("small")) as stream:
            assert stream.read() == b"1"
            assert stream.seek(0) == 0
            assert stream.read(5) == b"1"
        assert failed


WRITE = f"""
import sys
from raylabel.storage.writing import WholeFile
with WholeFile(sys.argv[1]) as out:
    out.write(bytes({len(PARTS)}))
"""


def test_of_an_upload_that_is_killed_nothing_is_seen(server: BucketServer) -> None:
    server.put("killed/annotations.jsonl", b"as it was")
    sent: list[Request] = []

    def ending_hangs(request: Request) -> str:
        sent.append(request)
        return HANGS if request.method == "POST" and "uploadId" in request.path else FINE

    with Proxy(server, ending_hangs) as proxy:
        for name in ("annotations.jsonl", "new.jsonl"):
            sent.clear()
            writing = subprocess.Popen([sys.executable, "-c", WRITE, proxy.uri(f"killed/{name}")])
            wait_until(lambda: any("uploadId" in request.path and request.method == "POST" for request in sent))
            writing.kill()
            writing.wait()
            assert sum(request.size for request in sent) >= len(PARTS)
    assert server.get("killed/annotations.jsonl") == b"as it was"
    assert Folder(server.uri("killed")).sizes() == {"annotations.jsonl": len(b"as it was")}
