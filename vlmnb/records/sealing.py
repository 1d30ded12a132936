"""The digest at the end of a record's file, which tells when the file is edited by hand.

It is of the text before it, so that checking it takes no parsing: reading many records is most of the first
``status`` and ``export`` after they were copied in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

_MEMBER = b',\n "digest": "'


def sealed(content: Mapping[str, object]) -> str:
    """The text of a file: an object as JSON, its digest as the last member."""
    body = json.dumps(content, indent=1, ensure_ascii=False).encode().removesuffix(b"\n}")
    return (body + _seal(body)).decode()


def unsealed(text: bytes) -> bytes | None:
    """The JSON without its digest; None where the text is not as :func:`sealed` gave it."""
    body, found, _ = text.rpartition(_MEMBER)
    return body + b"\n}" if found and text[len(body) :] == _seal(body) else None


def _seal(body: bytes) -> bytes:
    return _MEMBER + hashlib.sha256(body).hexdigest()[:16].encode() + b'"\n}\n'
