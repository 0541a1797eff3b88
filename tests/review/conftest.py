"""One headless browser for all tests of the gallery."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(autouse=True, scope="session")
def _own_surroundings() -> Iterator[None]:
    """Servers of this machine are asked directly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="module")  # the loop of playwright runs in this thread for as long
def browser() -> Iterator[Browser]:
    path = os.environ.get("RAYLABEL_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium here: apt install chromium, or name one with RAYLABEL_BROWSER")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Sheet:
    """A page on disk in the browser, and what went wrong on it."""

    page: Page
    troubles: list[str] = field(default_factory=list)

    def open(self, path: Path, fragment: str = "") -> None:
        self.page.goto("about:blank")  # another fragment alone would load nothing
        self.page.goto(f"{path.as_uri()}{fragment}")
        if path.name == "index.html":
            self.page.wait_for_selector("html[data-ready]")

    def names(self) -> list[str]:
        """The image_ids of the tiles, in order."""
        return self.page.locator("#grid li .name").all_inner_texts()

    def open_record(self, name: str) -> None:
        self.page.locator("#grid a", has_text=name).first.click()
        self.page.wait_for_selector("#record h2")

    def colors(self, x: float, y: float) -> set[tuple[int, ...]]:
        """The colors in a circle of some three pixels around a point, given in pixels of the picture."""
        image = self.page.locator("#picture img")
        image.evaluate("image => image.decode()")
        place, width = image.bounding_box(), image.evaluate("image => image.naturalWidth")
        assert place is not None
        scale = place["width"] / width
        left, top = place["x"] + x * scale - 2, place["y"] + y * scale - 2
        shot = self.page.screenshot(clip={"x": left, "y": top, "width": 5, "height": 5})
        with Image.open(io.BytesIO(shot)) as points:
            found = points.convert("RGB").getcolors()
        return {color for _, color in found or () if isinstance(color, tuple)}


@pytest.fixture
def sheet(browser: Browser) -> Iterator[Sheet]:
    """A new page, of which nothing may go wrong and which may ask no network."""
    context: BrowserContext = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    sheet = Sheet(page)
    page.on("pageerror", lambda error: sheet.troubles.append(str(error)))
    page.on("console", lambda said: sheet.troubles.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: sheet.troubles.append(dialog.message))
    local = ("file:", "blob:", "data:", "about:")
    page.on("request", lambda asked: None if asked.url.startswith(local) else sheet.troubles.append(asked.url))
    yield sheet
    context.close()
    assert sheet.troubles == []
