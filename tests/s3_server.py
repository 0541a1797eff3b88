"""An S3 server on this machine: as much as pyarrow's client asks for. Keeps objects in memory, notes requests."""

from __future__ import annotations

import io
import re
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Asked(NamedTuple):
    """A request: its method, the object or bucket, the bytes asked for or sent."""

    method: str
    key: str
    size: int


class S3Server:
    """Serves buckets that exist as soon as somebody asks. Use as a context manager."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.asked: list[Asked] = []
        self.users: set[str] = set()
        self.uploads: dict[str, dict[int, bytes]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.s3 = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> S3Server:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def uri(self, path: str) -> str:
        """The location of an object or folder, with the options that lead here."""
        return f"s3://key:secret@{path}?scheme=http&region=here&endpoint_override=127.0.0.1:{self._server.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: apart, each answer would wait 40 ms for the client
    disable_nagle_algorithm = True

    @property
    def _s3(self) -> S3Server:
        return self.server.s3  # type: ignore[attr-defined,no-any-return]

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()  # before the client sends the body
        return True

    def _handle(self) -> None:
        if user := re.search(r"Credential=([^/]+)/", self.headers.get("Authorization") or ""):
            self._s3.users.add(user[1])
        parts = urlsplit(self.path)
        key, options = unquote(parts.path).strip("/"), parse_qs(parts.query, keep_blank_values=True)
        body = self._body()
        if self.command == "PUT":
            status, answer = self._put(key, options, body)
        elif self.command == "POST":
            status, answer = self._upload(key, options)
        elif self.command == "DELETE":
            self._s3.objects.pop(key, None)
            status, answer = 204, b""
        elif "/" not in key:
            status, answer = 200, self._listing(key, options) if self.command == "GET" else b""
        else:
            self._get(key)
            return
        self._s3.asked.append(Asked(self.command, key, len(body)))
        self._answer(status, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None, length: int = -1) -> None:
        self.send_response(status)
        for name, value in (headers or {"ETag": '"1"'}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length < 0 else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = _without_chunks(self.rfile)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # Signed or with a checksum behind it, a body is in chunks of its own.
        inner = "aws-chunked" in (self.headers.get("Content-Encoding") or "")
        return _without_chunks(io.BytesIO(body)) if inner else body

    def _put(self, key: str, options: dict[str, list[str]], body: bytes) -> tuple[int, bytes]:
        if "partNumber" in options:
            self._s3.uploads[options["uploadId"][0]][int(options["partNumber"][0])] = body
        elif "/" in key:
            self._s3.objects[key] = (body, time.time())
        return 200, b""

    def _upload(self, key: str, options: dict[str, list[str]]) -> tuple[int, bytes]:
        if "uploads" in options:
            upload = str(len(self._s3.uploads))
            self._s3.uploads[upload] = {}
            name = "InitiateMultipartUploadResult"
            return 200, f"<{name}><UploadId>{upload}</UploadId></{name}>".encode()
        parts = self._s3.uploads.pop(options["uploadId"][0])
        self._s3.objects[key] = (b"".join(parts[n] for n in sorted(parts)), time.time())
        return 200, b'<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>'

    def _get(self, key: str) -> None:
        if key not in self._s3.objects:
            self._s3.asked.append(Asked(self.command, key, 0))
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>" if self.command == "GET" else b"")
            return
        data, changed_at = self._s3.objects[key]
        headers = {"ETag": '"1"', "Last-Modified": formatdate(changed_at, usegmt=True)}
        size, status = len(data), 200
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            data, status = data[int(first) : int(last) + 1], 206
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(data) - 1}/{size}"
        self._s3.asked.append(Asked(self.command, key, len(data) if self.command == "GET" else 0))
        self._answer(status, data, headers, length=len(data))

    def _listing(self, bucket: str, options: dict[str, list[str]]) -> bytes:
        prefix, delimiter = options.get("prefix", [""])[0], options.get("delimiter", [""])[0]
        keys = [k.removeprefix(f"{bucket}/") for k in sorted(self._s3.objects) if k.startswith(f"{bucket}/{prefix}")]

        def folder(key: str) -> str:
            inner, found, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
            return prefix + inner + found if found else ""

        entries = []
        for name, members in groupby(keys, folder):
            if name:
                entries.append(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>")
                continue
            for key in members:
                data, changed_at = self._s3.objects[f"{bucket}/{key}"]
                when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(changed_at))
                entries.append(
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size>"
                    f"<LastModified>{when}</LastModified><ETag>1</ETag></Contents>"
                )
        count = f"<KeyCount>{len(entries)}</KeyCount><IsTruncated>false</IsTruncated>"
        return f"<ListBucketResult>{count}{''.join(entries)}</ListBucketResult>".encode()

    def log_message(self, format: str, *args: object) -> None:
        pass


def _without_chunks(stream: io.BufferedIOBase) -> bytes:
    """A body that comes in chunks, each behind its size; what is said behind the last one is left out."""
    whole = b""
    while size := int(stream.readline().split(b";")[0], 16):
        whole += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass
    return whole
