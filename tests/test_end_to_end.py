"""The whole path on real input: a small sweep, its records, the book, and its pages in a browser."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import browser
import linkcheck
import pytest
from fakes import vlmnb

from vlmnb.records import record_file

pytestmark = pytest.mark.slow

SWEEP = """
title: Small
models: [llava-tiny, fuyu-tiny]
parameters: {samples: 12, max_new_tokens: 8}
axes:
  batch_size: {batch_sizes: [2, 4]}
  image_size: {datasets: [textvqa-mini], image_sizes: [32, 64], batch_size: 2}
"""


@pytest.fixture(scope="module")
def root(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own in which a small sweep has been run and its book built."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("models", "data", "notebooks"):
        (root / name).symlink_to(project / name)
    ignored = shutil.ignore_patterns("generated", "runs")
    shutil.copytree(project / "book", root / "book", ignore=ignored)
    for name in ("_config.yml", "CITATION.cff"):
        shutil.copy(project / name, root)
    (root / "small.yaml").write_text(SWEEP)
    for command in (["sweep", "small.yaml"], ["book"], ["export", "-o", "all.csv"]):
        done = vlmnb(root, *command, VLMNB_ROOT=str(root))
        assert done.returncode == 0, done.stdout + done.stderr
    return root


def test_pages_exist_have_valid_links_and_load_nothing_remote(root: Path) -> None:
    site = root / "_build" / "html"
    pages = linkcheck.read_site(site)
    assert (site / "index.html").exists()
    assert linkcheck.broken(site, pages) == []
    assert linkcheck.external_assets(pages) == []
    names = {str(page.relative_to(site)) for page in pages}
    for model in ("llava-tiny", "fuyu-tiny"):
        for axis in ("batch_size", "image_size"):
            assert f"book/runs/{model}/{axis}.html" in names


def test_a_page_shows_the_numbers_of_records_and_export(root: Path) -> None:
    records, problems = record_file.read_all(root / "results", model="fuyu-tiny")
    assert problems == []
    with (root / "all.csv").open(newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    page = root / "_build" / "html" / "book" / "runs" / "fuyu-tiny" / "batch_size.html"
    with browser.opened(page) as (tab, noise):
        for made in (r for r in records if r.cell.dataset == "textvqa-mini" and r.cell.image_size == 64):
            shown = tab.locator(f'td[data-key="{made.key}"]').all_inner_texts()
            if made.cell.length == "natural":
                assert any(text.startswith(f"{made.wer:.3f}") for text in shown)
                assert float(rows[made.key]["wer"]) == pytest.approx(made.wer)
            else:
                assert rows[made.key]["wer"] == ""
            assert made.latency is not None
            assert float(rows[made.key]["latency_s"]) == pytest.approx(made.latency.median)
            assert any(text.startswith("≈") for text in shown), "modelled energy is marked"
        picture = tab.locator("svg[aria-label*='latency' i]")
        assert picture.count() >= 1
        assert picture.first.evaluate("image => image.clientWidth") > 300
    assert noise.errors == noise.failed == noise.network == []


def test_an_unmeasured_cell_is_a_dash_with_a_reason(root: Path) -> None:
    page = root / "_build" / "html" / "book" / "runs" / "llava-tiny" / "image_size.html"
    with browser.opened(page) as (tab, _):
        assert "-" in tab.locator("table.vlmnb-table").first.locator("td").all_inner_texts()
        assert "64 pixels a side and no other" in tab.locator("article").inner_text()
