"""The contents of the built site for programs: ``llms.txt`` and ``sitemap.xml``."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from vlmnb import paths
from vlmnb.files import plain_yaml

SUMMARY = (
    "What vision-language models cost to run: latency, energy, FLOPs, memory and answer quality by device, "
    "batch size, image size, prompt length and optimization. Every measured number comes from a record."
)


def files(site: Path) -> dict[str, str]:
    """Return the files that list the pages of a built site.

    The addresses begin with ``html.baseurl`` of ``_config.yml``; without one they are relative to the site.
    """
    settings = plain_yaml.load(paths.root() / "_config.yml")
    base = str((settings.get("html") or {}).get("baseurl") or "").rstrip("/")
    pages = [(f"{base}/{name}" if base else name, title) for name, title in _pages(site)]
    listed = "\n".join(f"- [{title}]({address})" for address, title in pages)
    data = "\n".join(
        f"- [{title}]({base and base + '/'}{name})"
        for name, title in {
            "downloads/records.csv": "All records, one row each",
            "book/generated/dictionary.html": "What the columns mean, with units",
        }.items()
    )
    places = "".join(f"<url><loc>{escape(address)}</loc></url>" for address, _ in pages)
    return {
        "llms.txt": f"# {settings['title']}\n\n> {SUMMARY}\n\n## Data\n\n{data}\n\n## Pages\n\n{listed}\n",
        "sitemap.xml": '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{places}</urlset>\n',
    }


def _pages(site: Path) -> Iterator[tuple[str, str]]:
    """Yield address and heading of each page, the first page first."""
    found = sorted((site / "book").rglob("*.html"), key=lambda page: (page.name != "index.html", page))
    for page in found:
        title = re.search(r"<h1>(.*?)<", page.read_text(encoding="utf-8"), re.DOTALL)
        if title:
            yield page.relative_to(site).as_posix(), html.unescape(title[1]).strip()
