"""An object store in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from raylabel.storage.filesystems import filesystem_of
from tests.s3_server import S3Server


@pytest.fixture
def bucket(tmp_path: Path) -> str:
    """The URI of an empty bucket: pyarrow's own in-memory file system, kept alive as all opened buckets are."""
    return f"mock://{tmp_path.name}"


@pytest.fixture
def stocked(bucket: str) -> str:
    """A bucket with two images."""
    filesystem, _ = filesystem_of(bucket)
    filesystem.create_dir("a b")
    for name in ("a b/ä#1.jpg", "plain.jpg"):
        with filesystem.open_output_stream(name) as out:
            out.write(b"12345")
    return bucket


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server
