"""What the texts of the book and of the project say."""

from __future__ import annotations

import re

import bookmaking


def test_how_to_read_a_number_has_400_words_at_most() -> None:
    text = (bookmaking.PROJECT / "book" / "how-to-read.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 400


def test_every_file_that_a_text_names_exists() -> None:
    root = bookmaking.PROJECT
    named = re.compile(
        r"`((?:vlmnb|benchmarks|scripts|sweeps|models|data|tests|notebooks|reports)/[\w./-]+)`"
    )
    texts = [
        root / "README.md",
        *root.glob("book/*.md"),
        *root.glob("data/*.md"),
        *root.glob("models/**/*.md"),
    ]
    gone = {
        (text.relative_to(root).as_posix(), name)
        for text in texts
        for name in named.findall(text.read_text(encoding="utf-8"))
        if not (root / name).exists()
    }
    assert gone == set()


def test_no_text_of_the_book_speaks_like_a_translation() -> None:
    words = re.compile(r"\b(told|tells|holds against|brings along|goes by|cannot be had)\b")
    folders = ("book", *(f"vlmnb/{name}/templates" for name in ("views", "book", "fit")), "vlmnb/audit")
    texts = [
        text
        for folder in folders
        for text in (bookmaking.PROJECT / folder).rglob("*")
        if text.suffix in {".j2", ".md", ".yaml"} and "generated" not in text.parts
    ]
    assert len(texts) > 40
    found = {text.name: words.findall(text.read_text(encoding="utf-8")) for text in texts}
    assert {name: said for name, said in found.items() if said} == {}


def test_no_line_of_a_page_is_taken_for_a_comment() -> None:
    """Markdown of the book drops a line that begins with a percent sign."""
    pages = list((bookmaking.PROJECT / "book").glob("*.md"))
    assert pages
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if line.lstrip().startswith("%")] == []
