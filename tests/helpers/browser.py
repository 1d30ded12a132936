"""Pages of the built book in a real browser, opened as files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
"""Contrast ratio of text to its ground, by the rule of WCAG 2.1."""


def executable() -> str | None:
    """Chromium or Chrome of this machine."""
    return shutil.which("chromium") or shutil.which("google-chrome")


needed = [
    pytest.mark.slow,
    pytest.mark.skipif(executable() is None, reason="no Chromium here; install the package chromium"),
]
"""Marks of tests that drive it."""


ABORTED = "net::ERR_ABORTED"
"""What fails because the page is left before it is there: no fault of the page."""


class Noise(NamedTuple):
    """What a page did that a reader never sees."""

    errors: list[str]
    failed: list[str]
    network: list[str]


_running: list[tuple[Any, Any]] = []
"""The Chromium of the tests of a file, with what drives it."""


@contextmanager
def started() -> Iterator[Any]:
    """Chromium, in which nothing of other tests is open; it runs on until `closed`."""
    if not _running:
        from playwright.sync_api import sync_playwright

        driver = sync_playwright().start()
        arguments = ["--no-sandbox", "--disable-gpu"]
        _running.append((driver, driver.chromium.launch(executable_path=executable(), args=arguments)))
    _, browser = _running[0]
    try:
        yield browser
    finally:
        for context in browser.contexts:
            context.close()


def closed() -> None:
    """End Chromium and what drives it, which occupies the event loop of its thread."""
    while _running:
        driver, browser = _running.pop()
        browser.close()
        driver.stop()


@contextmanager
def opened(file: Path, *, dark: bool = False, width: int = 1280) -> Iterator[tuple[Any, Noise]]:
    """A page in a browser that keeps nothing of others."""
    noise = Noise([], [], [])
    with started() as browser:
        context = browser.new_context(
            color_scheme="dark" if dark else "light", viewport={"width": width, "height": 900}
        )
        page = context.new_page()
        page.on("console", lambda m: noise.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: noise.errors.append(str(error)))
        page.on("requestfailed", lambda r: r.failure == ABORTED or noise.failed.append(r.url))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:")) else noise.network.append(r.url),
        )
        page.goto(file.as_uri(), wait_until="load")
        page.wait_for_timeout(600)
        yield page, noise
