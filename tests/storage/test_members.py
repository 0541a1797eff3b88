"""Files inside of tar archives and Parquet files: read by their locations, in bounded memory, from several threads."""

from __future__ import annotations

import io
import random
import resource
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raylabel.images import image_file
from raylabel.storage import members
from raylabel.storage.reading import open_input, read_bytes
from raylabel.storage.stamps import is_missing, stamp, stamps


def write_tar(path: Path, content: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, images: list[bytes | None], *, flat: bool = False, rows: int = 10) -> Path:
    values = images if flat else [None if data is None else {"bytes": data, "path": None} for data in images]
    kind = pa.binary() if flat else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(values, kind)}), path, row_group_size=rows)
    return path


def test_a_member_of_an_archive_is_read_and_looked_up_like_a_file(tmp_path: Path) -> None:
    long = "d/" + "x" * 150 + " é.jpg"
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one", "./sub/2.png": b"two", long: b"three", "empty": b""})
    assert read_bytes(f"{path}/1.jpg") == b"one"
    assert read_bytes(f"{path}/sub/2.png") == b"two"
    assert read_bytes(f"file://{path}/{long.replace(' ', '%20')}") == b"three"
    assert read_bytes(f"{path}/empty") == b""
    with open_input(f"{path}/1.jpg") as stream:
        assert stream.seek(1) == 1
        assert stream.read() == b"ne"
    assert stamps([f"{path}/1.jpg", f"{path}/no.jpg"]) == [stamp(str(path)), None]
    assert is_missing(f"{path}/no.jpg")
    assert image_file(f"{path}/1.jpg") is None, "a server cannot read it as a file"
    with pytest.raises(FileNotFoundError, match=r"no such file: .*a\.tar/no\.jpg"):
        read_bytes(f"{path}/no.jpg")


def test_a_folder_that_is_called_like_an_archive_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "x.tar"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"file")
    write_tar(folder / "y.tar", {"2.jpg": b"member"})
    assert read_bytes(f"{folder}/1.jpg") == b"file"
    assert read_bytes(f"{folder}/y.tar/2.jpg") == b"member"
    assert stamp(f"{folder}/none.jpg") is None


def test_an_archive_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one"})
    assert read_bytes(f"{path}/1.jpg") == b"one"
    write_tar(path, {"0.jpg": b"zero" * 999, "1.jpg": b"another"})
    assert read_bytes(f"{path}/1.jpg") == b"another"


@pytest.mark.parametrize("content", [b"no archive at all", b""], ids=["other", "empty"])
def test_a_file_that_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(OSError, match=r"a\.tar"):
        read_bytes(f"{tmp_path}/a.tar/1.jpg")


def test_a_compressed_or_cut_archive_is_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "z.tar", {"1.jpg": b"one"}, "w:gz")
    with pytest.raises(OSError, match="compressed or damaged"):
        read_bytes(f"{path}/1.jpg")
    whole = write_tar(tmp_path / "w.tar", {"1.jpg": bytes(5000)}).read_bytes()
    (tmp_path / "c.tar").write_bytes(whole[:2000])
    with pytest.raises(OSError, match=r"c\.tar"):
        read_bytes(f"{tmp_path}/c.tar/1.jpg")


@pytest.mark.parametrize("flat", [False, True], ids=["struct", "binary"])
def test_a_row_of_a_column_is_an_image(tmp_path: Path, flat: bool) -> None:
    images: list[bytes | None] = [bytes([n]) * (n + 1) for n in range(35)]
    images[7] = None
    path = write_parquet(tmp_path / "t.parquet", images, flat=flat)
    order = list(range(35))
    random.Random(1).shuffle(order)
    for row in [*range(35), *order]:
        if row == 7:
            with pytest.raises(OSError, match="row 7 of column 'image' holds no bytes"):
                read_bytes(f"{path}/image/7")
            continue
        assert read_bytes(f"{path}/image/{row}.jpg") == images[row]
    with ThreadPoolExecutor(4) as pool:
        rows = [n for n in order if n != 7]
        assert list(pool.map(lambda n: read_bytes(f"{path}/image/{n}"), rows)) == [images[n] for n in rows]
    assert stamp(f"{path}/image/34.jpg") == stamp(str(path))
    for name in ("image/35", "image/x", "34"):
        assert stamp(f"{path}/{name}") is None
    with pytest.raises(OSError, match="no column of images 'none'"):
        read_bytes(f"{path}/none/1")


@pytest.mark.skipif(sys.platform != "linux", reason="measured in kilobytes")
def test_a_large_column_is_read_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 MB in one row group: neither the group nor the file is held."""
    monkeypatch.setattr(members, "KEPT_BYTES", 8 << 20)
    path = tmp_path / "large.parquet"
    size, rows = 1 << 20, 400
    noise = random.Random(0).randbytes(size)
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(path, schema, compression="none", write_batch_size=4, use_dictionary=False) as writer:
        batch = pa.table({"image": pa.array([noise] * rows, pa.binary())}, schema)
        writer.write_table(batch, row_group_size=rows)
    del batch
    assert pq.ParquetFile(path).metadata.num_row_groups == 1
    pa.default_memory_pool().release_unused()
    before = pa.total_allocated_bytes()
    most = 0
    for row in range(rows):
        assert len(read_bytes(f"{path}/image/{row}")) == size
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 100 << 20, f"{most >> 20} MB, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB in all"
