"""Hashes of JSON-able values."""

from __future__ import annotations

import hashlib
import json


def digest(value: object, length: int = 16) -> str:
    """Hash of a JSON-able value, independent of key order."""
    return digest_of(canonical(value), length)


def digest_of(text: str, length: int = 16) -> str:
    """Hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""A JSON-able value as text, independent of key order."""
