"""Which edits of the package change the content key, outdate pages and make the index read records again."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlmnb import paths
from vlmnb.book import report_pages
from vlmnb.files import code_fingerprint
from vlmnb.records import content_key, store

FOLDERS = {
    "key": content_key.MEASURING,
    "index": store.READING,
    "pages": content_key.SHOWING,
    "cards": content_key.CARD,
    "report pages": report_pages.DRAWN_BY,
}
READ = {"index", "pages", "report pages"}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the definitions of the package: only what a test edits is parsed again."""
    folder = tmp_path_factory.mktemp("definitions")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(paths, "parsed_code", lambda: folder)
        code_fingerprint._known.__wrapped__(code_fingerprint.PACKAGE)
    return folder


@pytest.fixture(autouse=True)
def _parsed_once(monkeypatch: pytest.MonkeyPatch, parsed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(parsed, tmp_path / "parsed"))
    monkeypatch.setattr(paths, "parsed_code", lambda: folder)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package."""
    only_code = shutil.ignore_patterns("__pycache__", "*.json")
    return Path(
        shutil.copytree(code_fingerprint.PACKAGE, tmp_path_factory.mktemp("copy") / "vlmnb", ignore=only_code)
    )


def texts(folder: Path) -> dict[Path, str]:
    return {file: file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def originals(copied: Path) -> dict[Path, str]:
    """The files of the copy before any test edits them."""
    return texts(copied)


@pytest.fixture
def package(copied: Path, originals: dict[Path, str], tmp_path: Path) -> Iterator[Path]:
    """A copy of the package that a test may edit, under a path of its own."""
    (tmp_path / "vlmnb").symlink_to(copied)
    yield tmp_path / "vlmnb"
    after = texts(copied)
    for file in after.keys() - originals.keys():
        file.unlink()
    for file, text in originals.items():
        if after.get(file) != text:
            file.write_text(text)


def changed(package: Path) -> set[str]:
    """Fingerprints of an edited copy that differ from those of the package."""
    return {
        name
        for name, folders in FOLDERS.items()
        if code_fingerprint.of(folders, package) != code_fingerprint.of(folders)
    }


def edit(folder: Path, name: str) -> None:
    """Change a constant's value or add a statement to a function, in the one module that defines it."""
    owner, _, own = name.rpartition(".")
    pattern = rf"^{own} = |^ *def {own}\("
    (file,) = [
        file
        for file in folder.rglob("*.py")
        if re.search(pattern, file.read_text(), re.M) and f"class {owner}" * bool(owner) in file.read_text()
    ]
    text = file.read_text()
    if name.isupper():
        file.write_text(re.sub(pattern + r"(.*)$", rf"{name} = 2 * \1", text, flags=re.M))
        return
    tree: ast.AST = ast.parse(text)
    for part in name.split("."):
        tree = next(node for node in ast.walk(tree) if getattr(node, "name", "") == part)
    assert isinstance(tree, ast.FunctionDef)
    lines, last = text.splitlines(), tree.body[-1]
    lines.insert(last.lineno - 1, " " * last.col_offset + "assert True")
    file.write_text("\n".join(lines))


def test_a_copy_of_the_package_has_the_same_fingerprints(package: Path) -> None:
    assert changed(package) == set()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("device", "HIGH_LOAD"),
        ("device", "is_high"),
        ("stats", "FEWEST_SAMPLES"),
        ("stats", "NOISY_HALF_WIDTH"),
        ("stats", "verdict"),
        ("stats", "batch_values"),
        ("measure", "SETTLED"),
        ("spec/optimizations", "base_dtype"),
        ("data", "letter_of"),
    ],
)
def test_what_decides_a_measured_number_changes_the_key(package: Path, folder: str, name: str) -> None:
    edit(package / folder, name)
    assert "key" in changed(package)


@pytest.mark.parametrize(
    ("folder", "name", "outdated"),
    [
        ("quality", "corpus_wer", READ),
        ("quality", "bleu", READ),
        ("meters", "headline", READ),
        ("records", "Record.energy_j_per_batch", READ | {"cards"}),
        ("records", "Record.wer", READ | {"cards"}),
        ("records", "Reported.value", READ | {"cards"}),
        ("flops", "Parts.total", READ | {"cards"}),
    ],
)
def test_what_derives_a_shown_number_outdates_pages_and_index(
    package: Path, folder: str, name: str, outdated: set[str]
) -> None:
    edit(package / folder, name)
    assert changed(package) - {"key"} == outdated


def test_an_edited_template_outdates_the_pages_that_show_it(package: Path) -> None:
    template = package / "views" / "templates" / "table.html.j2"
    template.write_text(template.read_text().replace("<caption>", "<caption hidden>"))
    assert changed(package) == {"pages", "cards", "report pages"}


@pytest.mark.parametrize("folder", ["sweep", "audit", "cli", "files"])
def test_code_that_launches_or_checks_outdates_nothing(package: Path, folder: str) -> None:
    for file in (package / folder).rglob("*.py"):
        file.write_text(f"{file.read_text()}\n\nADDED = 1\n")
    assert changed(package) == set()


def test_words_comments_and_the_way_of_importing_change_nothing(package: Path) -> None:
    for file in package.rglob("*.py"):
        text = re.sub(r'^( *)"""\w', r'\1"""Reworded: ', file.read_text(), flags=re.M)
        file.write_text(f"{text}\n# A comment.\n")
    comparison = package / "stats" / "comparison.py"
    text = comparison.read_text()
    for old, new in (
        ("from itertools import combinations\n", "import itertools as it\n"),
        (" combinations(", " it.combinations("),
        ("from vlmnb.stats import intervals\n", "from vlmnb.stats import intervals\n"
         "from vlmnb.stats.intervals import FEWEST_SAMPLES as F\n"),
        (" intervals.FEWEST_SAMPLES:", " F:"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    comparison.write_text(text)
    assert changed(package) == set()


def test_a_function_of_another_library_is_not_taken_for_ours(package: Path) -> None:
    comparison, ours = package / "stats" / "comparison.py", "from vlmnb.stats.intervals import combinations"
    comparison.write_text(comparison.read_text().replace("from itertools import combinations", ours))
    assert "key" in changed(package)


def test_moved_functions_and_renamed_modules_change_nothing(package: Path) -> None:
    stats = package / "stats"
    (stats / "comparison.py").rename(stats / "differences.py")
    for file in package.rglob("*.py"):
        text = file.read_text().replace("vlmnb.stats.comparison", "vlmnb.stats.differences")
        text = text.replace("stats import comparison", "stats import differences as comparison")
        file.write_text(text)
    state = package / "device" / "state.py"
    (package / "device" / "moved").mkdir()
    state.rename(package / "device" / "moved" / "state.py")
    for file in package.rglob("*.py"):
        file.write_text(file.read_text().replace("vlmnb.device.state", "vlmnb.device.moved.state"))
    assert changed(package) == set()


def test_a_function_moved_out_of_its_folders_changes_their_fingerprints(package: Path) -> None:
    (package / "stats" / "comparison.py").rename(package / "sweep" / "comparison.py")
    assert changed(package) == {"key", "cards", *READ}


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A package of two folders alone."""
    for name in ("stats", "device"):
        shutil.copytree(code_fingerprint.PACKAGE / name, tmp_path / "vlmnb" / name)
    return tmp_path / "vlmnb"


def test_a_folder_that_is_gone_is_an_error(part: Path) -> None:
    with pytest.raises(FileNotFoundError, match="meters"):
        code_fingerprint.of(("stats", "meters"), part)


def test_modules_are_parsed_once_and_again_if_the_cache_is_damaged(
    part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "definitions"
    monkeypatch.setattr(paths, "parsed_code", lambda: cache)
    parsed: list[str] = []
    definitions = code_fingerprint._definitions
    monkeypatch.setattr(
        code_fingerprint, "_definitions", lambda *given: parsed.append(given[0]) or definitions(*given)
    )

    def known() -> tuple[dict[Path, tuple[str, ...]], int]:
        """What a new process finds, and how many modules it parses for that."""
        parsed.clear()
        found = code_fingerprint._known.__wrapped__(part)
        return {file: tuple(hashes) for file, hashes in found.items()}, len(parsed)

    found, modules = known()
    assert modules == len([*part.rglob("*.py")])
    assert known() == (found, 0)
    (kept,) = cache.iterdir()
    kept.write_text("[")
    assert known() == (found, modules)
    (part / "stats" / "intervals.py").write_text("FEWEST = 1\n")
    assert known()[1] == 1
    shutil.rmtree(cache)
    cache.touch()  # nothing can be written below a file
    assert known()[1] == modules
