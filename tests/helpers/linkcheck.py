"""What a built site links to, read without a network."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

SKIPPED = ("_static/webpack-macros.html", "_static/sbt-webpack-macros.html")
"""Templates of the theme that lie among its files."""

SOURCES = "script[src], img[src], iframe[src], source[src], video[src], audio[src]"
ASSETS = "link[rel~=stylesheet], link[rel~=preload], link[rel~=icon], link[rel~=preconnect]"

STATES = {"vlmnb-explore", "vlmnb-finder"}
"""What is on the pages whose address keeps the reader's choices."""


class Page(NamedTuple):
    """What a page links to, loads, shows and can be linked to; images without an alt text have None."""

    links: list[str]
    loaded: list[str]
    ids: set[str]
    alt_texts: list[str | None]
    headings: list[str]


def read_site(site: Path) -> dict[Path, Page]:
    """Every page of a site."""
    files = {path.relative_to(site).as_posix(): path for path in sorted(site.rglob("*.html"))}
    return {path: _read(path.read_text("utf-8")) for name, path in files.items() if name not in SKIPPED}


def _read(text: str) -> Page:
    page = BeautifulSoup(text, "html.parser")
    sources, assets = page.select(SOURCES), page.select(ASSETS)
    return Page(
        links=[tag["href"] for tag in page.select("a[href]")],
        loaded=[tag["src"] for tag in sources] + [tag.get("href", "") for tag in assets],
        ids={tag[name] for name in ("id", "name") for tag in page.select(f"[{name}]")},
        alt_texts=[tag.get("alt") or tag.get("aria-label") for tag in page.select("img, svg[role=img]")],
        headings=[tag.get_text() for tag in page.select("article h1")],
    )


def broken(site: Path, pages: dict[Path, Page]) -> list[str]:
    """Local links and assets that lead nowhere, anchors included."""
    found = []
    for path, page in pages.items():
        for target in (*page.links, *page.loaded):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            name = f"{path.relative_to(site)}: {target}"
            if not file.exists():
                found.append(f"{name} does not exist")
            elif site.resolve() not in file.parents:
                found.append(f"{name} leaves the site")
            elif file in pages and not _led(parts.fragment, pages[file]):
                found.append(f"{name} has no such anchor")
    return found


def _led(fragment: str, page: Page) -> bool:
    """Whether a page has an anchor; a state such as ``model=fuyu-tiny`` is for a page that keeps one."""
    return bool(STATES & page.ids) if "=" in fragment else unquote(fragment) in {"", *page.ids}


def external_assets(pages: dict[Path, Page]) -> list[str]:
    """Scripts, styles and images that a page would load from a network."""
    return [
        f"{path.name}: {target}"
        for path, page in pages.items()
        for target in page.loaded
        if target.startswith("//") or urlsplit(target).scheme in ("http", "https", "ftp")
    ]
