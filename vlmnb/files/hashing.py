"""Hashes of JSON-able values and of files."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

from vlmnb.files import changes


def digest(value: object, length: int = 16) -> str:
    """Hash of a JSON-able value, independent of key order."""
    return digest_of(canonical(value), length)


def digest_of(text: str, length: int = 16) -> str:
    """Hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def of_file(path: Path) -> str:
    """Hash of a file's content, kept until the file changes."""
    return _of_file(path, changes.signature(path))


@functools.lru_cache(maxsize=4096)
def _of_file(path: Path, signature: changes.Signature | None) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""A JSON-able value as text, independent of key order."""
