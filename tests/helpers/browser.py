"""Pages of the built book in a real browser, opened as files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
"""Contrast ratio of text to its ground, by the rule of WCAG 2.1."""


def executable() -> str | None:
    """Chromium or Chrome of this machine."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Noise(NamedTuple):
    """What a page did that a reader never sees."""

    errors: list[str]
    failed: list[str]
    network: list[str]


@contextmanager
def started() -> Iterator[Any]:
    """Chromium, which closes at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(), args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(file: Path, *, dark: bool = False, width: int = 1280) -> Iterator[tuple[Any, Noise]]:
    """A page in a browser of its own."""
    noise = Noise([], [], [])
    with started() as browser:
        context = browser.new_context(
            color_scheme="dark" if dark else "light", viewport={"width": width, "height": 900}
        )
        page = context.new_page()
        page.on("console", lambda m: noise.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: noise.errors.append(str(error)))
        page.on("requestfailed", lambda request: noise.failed.append(request.url))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:")) else noise.network.append(r.url),
        )
        page.goto(file.as_uri(), wait_until="load")
        page.wait_for_timeout(600)
        yield page, noise
