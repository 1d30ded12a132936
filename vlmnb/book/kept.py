"""What a build of the book keeps for the next one: what it was made of, and what Sphinx has read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

from vlmnb import paths
from vlmnb.audit.kept import Kept
from vlmnb.audit.rule import Finding
from vlmnb.device import machine, slots
from vlmnb.files import hashing
from vlmnb.files.changes import signature
from vlmnb.types import Frozen

TOOLS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "pydata-sphinx-theme")
"""Packages whose version can change the built pages."""

NOTE = ".seen"
"""Name of the note in the site."""

LASTING = ".lasting.json"
"""Name of the file beside the site with what holds from one build to the next."""

DRAWN = ".drawn.json"
"""Name of the same file with the figures."""

READ = {".doctrees": ".doctrees", "jupyter_execute": ".jupyter_execute"}
"""Folders of a build with what Sphinx has read, and their names beside the site.

The second holds the pictures of notebooks: without them Sphinx reads every notebook again that has some.
"""

_TITLE = re.compile(r'^\s*(?:"source": \[?\s*)?"?# .*', re.MULTILINE)
"""A heading of the first level, in Markdown or in the text of a notebook."""


class Seen(Frozen):
    """What a book was made of, and what was said when it was made.

    Attributes:
        given: Digest of records, pages, code and templates, as they were before the book was assembled.
        sources: Digest of the sources that Sphinx reads, as they were after that.
        frame: Digest of what every page depends on: table of contents, configuration, versions.
    """

    given: str
    sources: str
    frame: str
    said: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class _Earlier(Frozen):
    """What a build keeps for the next one, and the digest by which it holds."""

    by: str
    findings: dict[str, tuple[Finding, ...]]
    texts: dict[str, str]


class Lasting:
    """What holds from one build to the next as long as :func:`means` is the same.

    Attributes:
        findings: Findings about single records.
    """

    def __init__(self, earlier: _Earlier | None) -> None:
        """Take what an earlier build kept."""
        self.findings = Kept(earlier.findings if earlier else None)
        self.texts: dict[str, str] = {}
        self._known = earlier.texts if earlier else {}

    def text(self, name: str, make: Callable[[], str]) -> str:
        """Return a text that depends on nothing else, made if it is not known."""
        self.texts[name] = self._known[name] if name in self._known else make()
        return self.texts[name]


@contextlib.contextmanager
def lasting(output: Path | None, name: str = LASTING) -> Iterator[Lasting]:
    """Give what a folder keeps of an earlier build in a file, and keep there what was asked for."""
    by, earlier, place = means(), None, output and output / name
    if place:
        with contextlib.suppress(OSError, ValueError):
            earlier = _Earlier.model_validate_json(place.read_bytes())
    asked = Lasting(earlier if earlier and earlier.by == by else None)
    yield asked
    if place:
        now = _Earlier(by=by, findings=asked.findings.found, texts=asked.texts)
        paths.write_atomic(place, now.model_dump_json())


def noted(site: Path) -> Seen | None:
    """Return what a site was made of; None if there is no site or it does not say."""
    try:
        return (
            Seen.model_validate_json((site / NOTE).read_bytes()) if (site / "index.html").exists() else None
        )
    except (OSError, ValueError):
        return None


def means() -> str:
    """Return a digest of what makes findings and pages of records: code, bundled models, data, packages."""
    files = [*_below(Path(__file__).parents[1], ".py", ".j2", ".yaml", ".txt", ".json")]
    for name in ("data", "models"):
        files += _below(paths.root() / name)
    installed = {
        name
        for folder in filter(os.path.isdir, sys.path)
        for name in os.listdir(folder)
        if name.endswith((".dist-info", ".egg-info"))  # with the version
    }
    seen = ([str(file), signature(file)] for file in sorted(files))
    return hashing.digest([sys.version, sorted(installed), *seen])


def given(results: Path, runs: Path) -> str:
    """Return a digest of all that pages are assembled from: of files the time of change, size and number."""
    own = runs / "reports"  # which the build itself executes
    files = [
        *results.glob("*/*/*.json"),
        *results.glob("*/*/turns/*.json"),
        *(file for file in _below(runs) if own not in file.parents),
    ]
    for name in ("notebooks", "sweeps", "reports"):
        files += _below(paths.root() / name)
    here = [machine.describe().fingerprint, slots.threads(), slots.tuning(), means()]
    return hashing.digest([here, *([str(file), signature(file)] for file in sorted(files))])


def sources() -> str:
    """Return the same digest of what Sphinx reads."""
    return hashing.digest([[str(file), signature(file)] for file in sorted(_below(paths.root() / "book"))])


def frame() -> str:
    """Return a digest of what every page depends on: its sidebar has the titles of all."""
    files = (paths.root() / "_config.yml", paths.root() / "book" / "generated" / "_toc.yml")
    contents = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    book = paths.root() / "book"
    found = [[str(file), signature(file)] for file in sorted(_below(book / "_static"))]
    for file in sorted(_below(book, ".md", ".ipynb")):
        found.append([str(file), *_TITLE.findall(file.read_text(encoding="utf-8"))[:1]])
    return hashing.digest([*contents, *map(version, TOOLS), *found])


def bring(site: Path, build: Path) -> None:
    """Copy the last site, and what Sphinx read for it, to where the next build goes on from it."""
    if (site.parent / READ[".doctrees"]).is_dir():
        # The theme adds a checksum to the address of a style sheet only if it is there already.
        shutil.copytree(site, build / "html", ignore=shutil.ignore_patterns("mystnb.*.css"))
        for name, kept in READ.items():
            if (site.parent / kept).is_dir():
                shutil.copytree(site.parent / kept, build / name)


def keep(build: Path, site: Path, seen: Seen) -> None:
    """Keep what Sphinx has read, and note in the new site what it was made of."""
    for name, kept in READ.items():
        shutil.rmtree(site.parent / kept, ignore_errors=True)
        if (build / name).is_dir():
            (build / name).rename(site.parent / kept)
    write(seen, build / "html")


def write(seen: Seen, site: Path) -> None:
    """Note in a site what it was made of."""
    (site / NOTE).write_text(seen.model_dump_json(indent=1) + "\n", encoding="utf-8")


def prune(made: Path, pages: Iterable[str]) -> None:
    """Remove what an earlier build left: downloads that are gone, and pictures that no page shows."""
    extra = paths.root() / "book" / "generated" / "extra"
    for file in _below(made / "downloads"):
        if not (extra / file.relative_to(made)).exists():
            file.unlink()
    shown = set(re.findall(r"_images/([^\"')\s?#]+)", json.dumps(list(pages))))
    for file in _below(made / "_images"):
        if file.name not in shown:
            file.unlink()


def _below(folder: Path, *endings: str) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".ipynb_checkpoints", "__pycache__")]
        yield from (Path(at, name) for name in names if not endings or name.endswith(endings))
