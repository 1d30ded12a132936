"""Hashes of files: of what is read, and kept while a file is the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vlmnb import paths
from vlmnb.files import hashing
from vlmnb.models import checkpoints


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights; a file of 100,000 bytes is large here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "LARGE", 100_000)
    made = tmp_path / "weights"
    made.mkdir()
    return made


@pytest.mark.parametrize("size", [99_999, 100_000, 3_000_000])
@pytest.mark.parametrize("place", [0, 70_001, -1])
def test_any_byte_of_the_weights_is_in_their_fingerprint(folder: Path, size: int, place: int) -> None:
    file = folder / "model.safetensors"
    content = bytearray(size)
    file.write_bytes(content)
    before, seen = checkpoints.fingerprint(folder), file.stat()
    assert checkpoints.fingerprint(folder) == before
    content[place] = 1
    file.write_bytes(content)
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert checkpoints.fingerprint(folder) != before


def test_the_hash_of_a_large_file_is_kept_while_it_is_the_same(folder: Path) -> None:
    file = folder / "large"
    file.write_bytes(bytes(100_000))
    found, kept = hashing.of_file(file), paths.hash_of(file)
    kept.write_text(kept.read_text().replace(found, "kept"))
    hashing._of_file.cache_clear()
    assert hashing.of_file(file) == "kept"
    for damaged in ("", "5", "[5, 5]", "[]", "{}", "[[1, 2, 3], 4]"):
        kept.write_text(damaged)
        hashing._of_file.cache_clear()
        assert hashing.of_file(file) == found
    file.write_bytes(bytes(99_999))
    hashing.of_file(file)
    assert kept.read_text().count(found) == 1, "small ones are not kept"
