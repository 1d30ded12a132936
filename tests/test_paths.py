"""Writing a file in one step."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from vlmnb import paths


def test_atomic_writing_makes_a_removed_folder_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, left = tempfile.mkstemp, [tmp_path / "failures"]

    def overtaken(**given: Any) -> tuple[int, str]:
        if left:
            left.pop().rmdir()
        return make(**given)

    monkeypatch.setattr(tempfile, "mkstemp", overtaken)
    paths.write_atomic(tmp_path / "failures" / "a.json", "{}")
    assert (tmp_path / "failures" / "a.json").read_text() == "{}"


def test_atomic_writing_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    paths.write_atomic(path, "old")

    def fail_half_way() -> None:
        with paths.temporary_beside(path) as scratch:
            scratch.write_text("half")
            raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
