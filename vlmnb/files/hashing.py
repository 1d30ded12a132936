"""Hashes of JSON-able values and of files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from pathlib import Path

from vlmnb import paths
from vlmnb.files import changes

LARGE = 1 << 26
"""Bytes from which on the hash of a file is kept in the user's cache: weights take seconds to minutes."""


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
    large = signature is not None and signature[1] >= LARGE
    if large:
        with contextlib.suppress(OSError, ValueError, TypeError):
            was, found = json.loads(paths.hash_of(path).read_text(encoding="utf-8"))
            if signature == tuple(was):
                return str(found)
    with path.open("rb") as file:
        made = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    if large:
        with contextlib.suppress(OSError):  # a cache that cannot be written is no error
            paths.write_atomic(paths.hash_of(path), json.dumps([signature, made]))
    return made


canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""A JSON-able value as text, independent of key order."""
