"""The book: what is assembled around the executed notebooks, and the site built of both."""

from __future__ import annotations

import os
import re
from importlib.metadata import version
from pathlib import Path

import bookmaking
import linkcheck
import loaded
import pytest
import yaml
from bookmaking import Small
from factory import but, cell, changed, record, timed

from vlmnb.analysis.base_configuration import Setup
from vlmnb.book import build, kept, report_pages
from vlmnb.book.content import Content, Failure, Page
from vlmnb.book.pages import axis, comparison, first, machine, run, status
from vlmnb.errors import UserError
from vlmnb.records import export_columns, record_file
from vlmnb.records.record import Record
from vlmnb.spec import axes, planning
from vlmnb.views import cost_figure, templates


def test_the_committed_table_of_contents_is_the_generated_one(project: Path) -> None:
    measured = [axis for axis in axes.AXES if axis != "repeat"]
    asked = (
        ((*bookmaking.MODELS, "smolvlm-tiny"), measured, {}),
        (bookmaking.REPORTED, report_pages.AXES, {"source": "reports"}),
        (bookmaking.REPORTED, ["card"], {}),
    )
    pages = [
        Page(m, axis, "", given, ())
        for models, names, given in asked for m in models for axis in names
        if (m, axis) != ("llava-1.5-7b", "image_size")  # its report has no such figure
    ]  # fmt: skip
    committed = (project / "_toc.yml").read_text(encoding="utf-8")
    made = build.table_of_contents(Content(pages=tuple(pages)))
    assert yaml.safe_load(committed) == yaml.safe_load(made)


def test_the_rerun_line_names_what_was_changed_and_no_path_of_this_machine() -> None:
    given = {"model": "fuyu-tiny", "samples": 8, "batch_sizes": [1, 2], "device": "", "results": "/home/me"}
    line = run.rerun_command(Page("fuyu-tiny", "batch_size", "", given, ()))
    assert line == (
        "papermill notebooks/batch_size.ipynb out.ipynb -p model fuyu-tiny -p samples 8 "
        "-y '{batch_sizes: [1, 2]}'"
    )


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    made = bookmaking.small(tmp_path)
    monkeypatch.setenv("VLMNB_ROOT", str(made.root))
    return made


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_assembling_twice_gives_the_same_bytes(small: Small) -> None:
    assert small.assemble() == []
    first = snapshot(small.root / "book")
    small.assemble()
    assert snapshot(small.root / "book") == first
    assert "runs/llava-tiny/image_size.ipynb" in first
    for page in ("comparison", "headline", "llava-tiny"):
        assert b">Latency, s per batch</th>" in first[f"generated/{page}.md"]


def test_a_figure_is_drawn_again_when_what_it_shows_has_changed(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, titles = tmp_path / "_build", {"llava-tiny": "LLaVA tiny"}
    plain = cost_figure.figure({"llava-tiny": [record()]}, titles)
    other = cost_figure.figure({"llava-tiny": [record(latencies=(0.6, 0.5))]}, titles)
    asked: list[str] = []
    for shown in (plain, plain, other):
        own = shown._replace(svg=lambda of=shown: asked.append("") or of.svg())
        monkeypatch.setattr(first, "page", lambda content, own=own: ("# Title\n", {"figures/one.svg": own}))
        build.assemble(small.results, small.runs, output=output)
        svg = (small.root / "book" / "generated" / "figures" / "one.svg").read_text(encoding="utf-8")
        assert svg == shown.svg()
    assert len(asked) == 2


def test_every_record_of_a_page_can_be_downloaded(small: Small) -> None:
    small.assemble()
    downloads = small.root / "book" / "generated" / "extra" / "downloads"
    on_disk = record_file.read_all(small.results)[0]
    for found in on_disk:
        copy_of = downloads / "records" / found.hardware / "llava-tiny" / f"{found.key}.json"
        assert record_file.read(copy_of) == found
    lines = (downloads / "llava-tiny-image_size.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(export_columns.EXPORT_COLUMNS)
    assert len(lines) == 1 + len(planning.plan("image_size", bookmaking.parameters("llava-tiny")).cells)
    assert len((downloads / "records.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(on_disk)
    assert (downloads / "llava-tiny-image_size.ipynb").exists()


def test_a_chapter_shows_size_card_and_failed_runs_and_what_is_refused_is_told(small: Small) -> None:
    command = "papermill notebooks/seq_len.ipynb out.ipynb"
    for name in ("seq_len", "batch_size"):
        bookmaking.fail(small.runs, "llava-tiny", name, stderr_tail="Traceback", command=command)
    bookmaking.executed(small.runs, "llava-tiny", "device", end_time=None)
    (line,) = small.assemble()
    assert "llava-tiny/device.ipynb" in line
    assert line.endswith("a sweep makes it again")
    assert not (small.root / "book" / "runs" / "llava-tiny" / "device.ipynb").exists()
    card = ("2 100 001", "\n## Model card\n\nA LLaVA model.", "\n### Scores\n", "\n# usage\n")
    chapter = (*card, "Prompt length (no page yet)", "**The run failed**: boom", "for the same reason")
    for page, parts in (("llava-tiny", chapter), ("status", ("boom", command, "did not finish"))):
        text = small.read(f"generated/{page}.md")
        assert [part for part in parts if part not in text] == []
    assert "Optimization (no page yet)" not in small.read("generated/llava-tiny.md"), "nobody asked for it"


@pytest.mark.parametrize(("at", "marked"), [("2026-02-01T00:00:00", True), ("2025-12-01T00:00:00", False)])
def test_a_page_older_than_a_failed_rerun_is_marked(small: Small, at: str, marked: bool) -> None:
    bookmaking.fail(small.runs, "llava-tiny", "device", at=at)
    small.assemble()
    page = small.read("runs/llava-tiny/device.ipynb")
    assert ("The latest attempt to run it again failed" in page) == marked


def test_broken_files_are_reported_and_pages_that_are_gone_leave_the_book(small: Small) -> None:
    broken = small.results / "test-cpu-2c" / "llava-tiny" / "half.json"
    broken.write_text('{"schema_version"', encoding="utf-8")
    bookmaking.fail(small.runs, "llava-tiny", "device").write_text("[]", encoding="utf-8")
    half, device = small.assemble()
    assert "half.json" in half
    assert "device.json" in device
    (small.runs / "llava-tiny" / "device.ipynb").unlink()
    small.assemble()
    assert not (small.root / "book" / "runs" / "llava-tiny" / "device.ipynb").exists()
    assert "device" not in small.read("generated/_toc.yml")


def test_a_model_measured_by_its_name_has_its_chapter_pages_and_downloads(small: Small) -> None:
    name, folder = "lab/eye", "lab--eye"
    for found in record_file.read_all(small.results)[0]:
        cell = found.cell.model_copy(update={"model": name})
        record_file.write(found.model_copy(update={"cell": cell}), small.results)
    page = bookmaking.executed(small.runs, "llava-tiny", "device")
    (small.runs / folder).mkdir()
    text = page.read_text(encoding="utf-8").replace('"model": "llava-tiny"', f'"model": "{name}"')
    (small.runs / folder / "device.ipynb").write_text(text, encoding="utf-8")
    assert small.assemble() == []
    parts = yaml.safe_load(small.read("generated/_toc.yml"))["parts"]
    (contents,) = (part["chapters"] for part in parts if part["caption"] == "Other models")
    assert {
        "file": f"book/generated/{folder}",
        "sections": [{"file": f"book/runs/{folder}/device"}],
    } in contents
    assert contents[-1] == {"file": "book/generated/tried"}
    chapter = small.read(f"generated/{folder}.md")
    assert chapter.startswith(f"# {name}\n")
    assert f"(/book/runs/{folder}/device.ipynb)" in chapter
    assert f'"../runs/{folder}/device.html"' in small.read("generated/status.md")
    records = re.findall(
        rf"downloads/(records/[^\"]*/{folder}/\w+\.json)", small.read(f"runs/{folder}/device.ipynb")
    )
    downloads = small.root / "book" / "generated" / "extra" / "downloads"
    assert records
    assert all((downloads / file).is_file() for file in records)
    assert (downloads / f"{folder}-device.csv").is_file()


def test_a_book_of_nothing_says_so() -> None:
    for page in (comparison.page, machine.page, status.page):
        assert "Nothing has been measured here yet" in page(Content())
    assert "Nothing has been measured here yet" in first.page(Content())[0]


def test_the_first_page_takes_the_originals_of_the_machine_that_ran_most_full_size_models() -> None:
    def at(machine: str, model: str, latency_s: float, optimization: str = "bf16") -> Record:
        of = cell(model=model, weights="random", optimization=optimization, batch_size=1)
        return but(timed((latency_s,), of=of), hardware=machine)

    made = (
        at("one-machine", "fuyu-8b", 11.0),
        at("other-machine", "qwen2.5-vl-3b", 22.0),
        at("other-machine", "llava-1.5-7b", 44.0),
        at("other-machine", "llava-1.5-7b", 33.0, "visual_tokens-50%-grid"),
    )
    (text,) = first._findings(Content(made), {}, {}, {})
    fixed = tuple(changed(one, "cell", length="fixed") for one in made)
    (exact,) = first._findings(Content(fixed), {}, {}, {})
    assert ("answers of exactly" in exact, "answers of exactly" in text) == (True, False)
    assert ["11.0 s" in text, "22.0 s" in text, "44.0 s" in text, "33.0 s" in text] == [
        False,
        True,
        True,
        False,
    ]


def test_the_stand_ins_save_by_batches_what_is_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup("measured", "this-machine", "cpu")
    found = {
        name: [timed((s,) * 8, of=cell(batch_size=size, samples=64)) for s, size in ((1.0, 1), (many, 8))]
        for name, many in (("a", 2.0), ("b", 4.0), ("c", 7.9))
    }
    monkeypatch.setattr(axis, "found", lambda content, name: {setup: found})
    less, size = first._saved_by_batches(Content(), setup)
    assert (less, size) == ([0.75, 0.5], 8), "7.9 for 8 may be noise"
    assert first._saved_by_batches(Content(), setup._replace(device="cuda")) == ([], 0)


def test_foreign_text_is_not_read_as_markup() -> None:
    assert templates.plain("a *b* <c> `d` [e](f)\n# g") == r"a \*b\* \<c\> \`d\` \[e\](f) \# g"
    assert templates.fence("x\n```\ny").startswith("````")
    failure = Failure(model="llava-tiny", axis="device", error="<script>x</script>")
    assert "<script>" not in status.page(Content(failures=(failure,)))


def test_version_2_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert version("jupyter-book").startswith("1.")
    monkeypatch.setattr(build, "version", lambda name: "2.1.7")
    with pytest.raises(UserError, match="pip install"):
        build.build(tmp_path, tmp_path, tmp_path / "out")


def test_the_reading_side_loads_no_torch(project: Path) -> None:
    heavy = ("torch", "transformers", "papermill")
    assert loaded.by_code("import vlmnb.book.build", cwd=project, among=heavy) == set()


@pytest.mark.slow
class TestBuiltSite:
    """The whole way to HTML, once."""

    @pytest.fixture(scope="class")
    def pages(self, site: Path) -> dict[Path, linkcheck.Page]:
        return linkcheck.read_site(site)

    def test_links_lead_somewhere_and_nothing_is_loaded_from_a_network(
        self, site: Path, pages: dict[Path, linkcheck.Page]
    ) -> None:
        assert len(pages) > 20
        assert linkcheck.broken(site, pages) == []
        assert linkcheck.external_assets(pages) == []

    def test_every_point_of_a_figure_leads_to_its_record(self, site: Path) -> None:
        for page in (
            "book/index.html",
            "book/generated/comparison.html",
            "book/runs/fuyu-tiny/batch_size.html",
            "book/reports/fuyu-8b/batch_size.html",
        ):
            text = (site / page).read_text(encoding="utf-8")
            tables = re.findall(r'<details class="vlmnb-points">.*?</details>', text, re.DOTALL)
            assert len(tables) == text.count("<figure") > 0, page
            for table in tables:
                rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]
                links = [re.findall(r'href="([^"]*records/[^"]*\.json)"', row) for row in rows]
                assert rows
                assert all(len(set(row)) == 1 for row in links), page
                assert all((site / page).parent.joinpath(row[0]).is_file() for row in links)

    def test_no_table_of_a_notebook_is_lost_on_its_page(self, site: Path) -> None:
        pages = list((site / "book").glob("r*/*/*.html"))
        assert len(pages) > 20
        for page in pages:
            *_, folder, model, _ = page.parts
            prefix = "reports-" if folder == "reports" else ""
            notebook = site / f"downloads/{prefix}{model}-{page.stem}.ipynb"
            shown, displayed = (file.read_text("utf-8").count("data-key") for file in (page, notebook))
            assert shown >= displayed, page

    def test_images_have_alt_texts_pages_have_titles_and_are_small(
        self, site: Path, pages: dict[Path, linkcheck.Page]
    ) -> None:
        book = {path: page for path, page in pages.items() if site / "book" in path.parents}
        assert [path for path in book if path.stat().st_size > 450_000] == [], "figures included"
        alt_texts = [alt for page in book.values() for alt in page.alt_texts]
        assert len(alt_texts) > 10
        assert [alt for alt in alt_texts if not (alt or "").strip()] == []
        assert [path for path, page in book.items() if len(page.headings) != 1] == []
        assert len({page.headings[0] for page in book.values()}) == len(book), "no two titles are the same"

    def test_what_a_build_executes_makes_no_other_build_due(self, small: Small) -> None:
        before = kept.given(small.results, small.runs)
        for name, changes in (("reports/fuyu-8b/device.ipynb", False), ("llava-tiny/new.ipynb", True)):
            (small.runs / name).parent.mkdir(parents=True, exist_ok=True)
            (small.runs / name).write_text("{}", encoding="utf-8")
            assert (kept.given(small.results, small.runs) != before) is changes

    def test_a_second_build_is_skipped_and_a_change_is_noticed(self, small: Small, tmp_path: Path) -> None:
        root, results, runs = small
        output = tmp_path / "_build"
        index = build.build(results, runs, output)
        built = index.stat().st_mtime_ns
        assert build.build(results, runs, output).stat().st_mtime_ns == built
        (root / "book" / "data.md").write_text("# Data\n\n[](gone.md)\n", encoding="utf-8")
        with pytest.raises(UserError, match=r"gone\.md"):
            build.build(results, runs, output)
        assert index.stat().st_mtime_ns == built, "a failed build must leave the last good book"
        (root / "book" / "data.md").write_text("# Data sets\n\nNew text.\n", encoding="utf-8")
        build.build(results, runs, output)
        assert "New text." in next(output.rglob("data.html")).read_text()
        assert index.stat().st_mtime_ns == built, "only the changed page is made again"
        build.build(results, runs, tmp_path / "anew")
        ours, anew = ({p.relative_to(at): p for at in [f / "html"] for p in at.rglob("*.html")}
                      for f in (output, tmp_path / "anew"))  # fmt: skip
        assert ours.keys() == anew.keys()
        assert [name for name, page in ours.items() if page.read_bytes() != anew[name].read_bytes()] == []
        before = kept.frame()
        (root / "book" / "data.md").write_text("# Data\n", encoding="utf-8")
        assert kept.frame() != before, "the sidebar of every page has its title"

    def test_a_book_of_nothing_builds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VLMNB_ROOT", str(bookmaking.project(tmp_path / "project")))
        assert build.build(tmp_path / "none", tmp_path / "none", tmp_path / "_build").exists()


def test_pictures_of_notebooks_are_kept_for_the_next_build_with_their_time(tmp_path: Path) -> None:
    """Without them, or with a later time of change, Sphinx reads their notebooks again."""
    build, site, following = tmp_path / "build", tmp_path / "out" / "html", tmp_path / "next"
    drawn = build / "jupyter_execute" / "drawn.svg"
    for file in (drawn, build / ".doctrees" / "page.doctree", build / "html" / "index.html"):
        file.parent.mkdir(parents=True)
        file.write_text("made")
    site.mkdir(parents=True)
    os.utime(drawn, (1e9, 1e9))
    kept.keep(build, site, kept.Seen(given="g", sources="s", frame="f"))
    assert not drawn.exists()
    kept.bring(site, following)
    assert (following / "jupyter_execute" / "drawn.svg").stat().st_mtime == 1e9
    assert (following / ".doctrees" / "page.doctree").exists()
