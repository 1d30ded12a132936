"""What a built site links to, read with the standard library's parser and no network."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
SKIPPED = ("_static/webpack-macros.html", "_static/sbt-webpack-macros.html")
"""Templates of the theme that lie among its files."""


class Image(NamedTuple):
    """An image with its alt text, which is None where there is none."""

    source: str
    alt: str | None


class PageReader(HTMLParser):
    """Collects what a page links to, loads, shows and can be linked to."""

    def __init__(self, text: str) -> None:
        """Read a whole page."""
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.images: list[Image] = []
        self.headings: list[str] = []
        self._in_article = self._in_heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, assets, anchors and headings."""
        found = dict(attrs)
        self.ids |= {value for name, value in attrs if name in ("id", "name") and value}
        if tag == "a" and found.get("href") is not None:
            self.links.append(found["href"] or "")
        if tag == "link" and {"stylesheet", "preload", "icon", "preconnect"} & set(
            (found.get("rel") or "").split()
        ):
            self.loaded.append(found.get("href") or "")
        if tag in LOADING and found.get(LOADING[tag]):
            self.loaded.append(found[LOADING[tag]] or "")
        if tag == "img":
            self.images.append(Image(found.get("src") or "", found.get("alt")))
        self._in_article |= tag == "article"
        if tag == "h1" and self._in_article:  # the theme repeats it outside, for printing
            self.headings.append("")
            self._in_heading = True

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a heading."""
        self._in_heading &= tag != "h1"
        self._in_article &= tag != "article"

    def handle_data(self, data: str) -> None:
        """Collect a heading's text."""
        if self._in_heading:
            self.headings[-1] += data


def read_site(site: Path) -> dict[Path, PageReader]:
    """Every page of a site."""
    return {
        path: PageReader(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if path.relative_to(site).as_posix() not in SKIPPED
    }


def broken(site: Path, pages: dict[Path, PageReader]) -> list[str]:
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
            elif parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].ids:
                found.append(f"{name} has no such anchor")
    return found


def external_assets(pages: dict[Path, PageReader]) -> list[str]:
    """Scripts, styles and images that a page would load from a network."""
    return [
        f"{path.name}: {target}"
        for path, page in pages.items()
        for target in page.loaded
        if target.startswith("//") or urlsplit(target).scheme in ("http", "https", "ftp")
    ]
