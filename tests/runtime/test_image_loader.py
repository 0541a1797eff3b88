"""The pictures that requests show."""

from __future__ import annotations

import asyncio

from PIL import Image

from raylabel.geometry import Resize
from raylabel.images import inspect
from raylabel.records import IMAGE_GROUNDING, Record
from raylabel.runtime.image_loader import ImageLoader
from raylabel.settings import ImageSettings
from raylabel.storage.folders import Folder
from raylabel.store.results import Results


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
