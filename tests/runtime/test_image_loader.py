"""The pictures that requests show."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

from raylabel.errors import ImageError
from raylabel.geometry import Resize
from raylabel.images import inspect, readable_folder
from raylabel.records import IMAGE_GROUNDING, Record
from raylabel.runtime.image_loader import ImageLoader
from raylabel.runtime.spec import Transport
from raylabel.settings import ImageSettings
from raylabel.storage.folders import Folder
from raylabel.store.results import Results
from tests.waiting import until


def test_the_steps_of_a_worker_share_one_picture_in_the_form_that_requests_carry(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 40), "red").save(path)
    limits = ImageSettings()
    facts = inspect(path.read_bytes(), limits)
    record = Record("0" * 32, 0, 0, "a", str(path), IMAGE_GROUNDING, image=facts)

    async def twice():
        loader = ImageLoader(limits, Results(Folder(str(tmp_path / "results"))).images(), [Resize()])
        return await loader.picture(record, Resize()), await loader.picture(record, Resize())

    first, second = asyncio.run(twice())
    assert first is second
    assert first.data == path.read_bytes()
    assert first.media_type == "image/png"


def opened(tmp_path, size=(60, 40), **limits):
    """Settings, and the record of an image file."""
    path = tmp_path / "a.png"
    Image.new("RGB", size, "red").save(path)
    settings = ImageSettings(**limits)
    facts = inspect(path.read_bytes(), settings)
    return settings, Record("0" * 32, 0, 0, "a", str(path), IMAGE_GROUNDING, image=facts)


def pictures(tmp_path, settings, record, transport, *by_file):
    """What the loader shows, one after the other, and what of its folder is left then."""

    async def several():
        known = Results(Folder(str(tmp_path / "results"))).images()
        resize = Resize(max_pixels=settings.max_pixels)
        loader = ImageLoader(settings, known, [resize], transport)
        await loader.open(record)
        shown = [await loader.picture(record, resize, by_file=each) for each in by_file]
        read = [Path(unquote(urlsplit(p.url).path)).read_bytes() if p.url else p.data for p in shown]
        loader.close()
        return shown, read

    return asyncio.run(several())


def test_a_server_that_reads_files_is_shown_one_copy_whatever_asks_for_it(tmp_path):
    settings, record = opened(tmp_path)
    (first, second, sent), read = pictures(tmp_path, settings, record, Transport.COPIES, True, True, False)
    assert first is second
    assert first.encoded == b""
    assert first.url.startswith(readable_folder().as_uri())
    assert read == [Path(record.image_path).read_bytes()] * 3
    assert not sent.url
    assert not Path(urlsplit(first.url).path).exists(), "they go with the loader"


def test_a_picture_that_had_to_be_made_is_a_file_too(tmp_path):
    settings, record = opened(tmp_path, (600, 400), max_pixels=60_000)
    (shown,), (read,) = pictures(tmp_path, settings, record, Transport.COPIES, True)
    assert shown.url.startswith(readable_folder().as_uri())
    assert Image.open(io.BytesIO(read)).size == (300, 200)


def test_a_server_of_others_is_shown_the_image_itself_where_nothing_had_to_be_made(tmp_path):
    settings, record = opened(tmp_path)
    (shown, again), _ = pictures(tmp_path, settings, record, Transport.FILES, True, True)
    assert shown is again
    assert shown.url == Path(record.image_path).as_uri()
    settings, record = opened(tmp_path, (600, 400), max_pixels=60_000)
    (shown,), (read,) = pictures(tmp_path, settings, record, Transport.FILES, True)
    assert not shown.url
    assert Image.open(io.BytesIO(read)).size == (300, 200)


@pytest.mark.parametrize("transport", [Transport.COPIES, Transport.FILES])
def test_a_file_that_is_gone_or_another_one_is_not_shown(tmp_path, transport):
    settings, record = opened(tmp_path)

    async def gone():
        loader = ImageLoader(settings, Results(Folder(str(tmp_path / "results"))).images(), [Resize()], transport)
        first = await loader.picture(record, Resize(), by_file=True)
        shown = Path(urlsplit(first.url).path)
        shown.write_bytes(b"another one")
        try:
            return shown, await loader.picture(record, Resize(), by_file=True)
        finally:
            loader.close()

    if transport is Transport.COPIES:
        shown, second = asyncio.run(gone())
        assert second.url != shown.as_uri()
    else:
        with pytest.raises(ImageError, match="the file changed during the run"):
            asyncio.run(gone())


def test_files_are_kept_up_to_a_bound_and_as_long_as_a_request_shows_them(tmp_path, monkeypatch):
    monkeypatch.setattr("raylabel.runtime.image_loader.KEPT_BYTES", 5000)
    settings, records = ImageSettings(), []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.effect_noise((40, 40), 90).convert("RGB").save(path)  # some 2 KB
        facts = inspect(path.read_bytes(), settings)
        records.append(Record(f"{number:032}", 0, number, "a", str(path), IMAGE_GROUNDING, image=facts))

    async def all_of_them():
        known = Results(Folder(str(tmp_path / "results"))).images()
        loader = ImageLoader(settings, known, [Resize()], Transport.COPIES)
        in_flight = await loader.picture(records[0], Resize(), by_file=True)
        for record in records[1:]:
            await loader.picture(record, Resize(), by_file=True)
        shown = Path(urlsplit(in_flight.url).path)
        most = 5000 + Path(records[0].image_path).stat().st_size
        try:  # a thread that wrote a file may know it for a moment longer
            await until(lambda: sum(path.stat().st_size for path in shown.parent.glob("*.png")) <= most)
            return shown.exists()
        finally:
            loader.close()

    assert asyncio.run(all_of_them())
