"""How a page is cited: its line and its BibTeX, also with a DOI."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vlmnb import paths
from vlmnb.book import citation


def test_a_page_has_one_citation_also_after_it_is_built_again() -> None:
    bare = '<p>text</p>\n<footer class="bd-footer-content"></footer>'
    once = citation.cited(bare, "A: T & U.")
    assert "T &amp; U" in once
    assert citation.cited(once, "A: T & U.") == once
    assert citation.cited(once, "B.").count("<details") == 1
    line, bibtex = citation.text()
    assert "vlmnb" in line
    assert bibtex.startswith("@misc{vlmnb,\n  author = {{The vlmnb project}},")
    assert citation.cited(bare, line, bibtex).count("<pre>@misc{") == 1
    today = datetime.now(UTC).date().isoformat()
    for text in (line, bibtex):
        assert all(part in text for part in ("0.1.0", today, "Apache-2.0"))
        assert "doi" not in text


def test_a_doi_of_a_release_is_in_every_citation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = (paths.root() / "CITATION.cff").read_text(encoding="utf-8")
    (tmp_path / "CITATION.cff").write_text(f"{own}doi: 10.5281/zenodo.7\n", encoding="utf-8")
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    line, bibtex = citation.text()
    assert "https://doi.org/10.5281/zenodo.7" in line
    assert "doi = {10.5281/zenodo.7}" in bibtex
