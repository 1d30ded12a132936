"""The file of a record: JSON that ends with a digest of the text before it.

The digest shows that a file was edited by hand. It is of the text, not of the content, so that checking it
takes no parsing.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import itertools
import json
import math
import operator
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from vlmnb import paths
from vlmnb.errors import Damaged
from vlmnb.records.record import SCHEMA_VERSION, Record

_DIGEST, _CLOSE = b',\n "digest": "', b'"\n}\n'

NOT_FINITE = "no finite numbers, so left out"
"""Begins the note that names numbers which were NaN or infinite."""


def write(record: Record, results: Path) -> Path:
    """Write a record to its place in one step, and return that place.

    A file there that is no record is kept beside it, see :func:`keep_damaged`. Numbers that are not finite
    are left out, see :func:`finite`.
    """
    path = paths.record(results, record.hardware, record.cell.model, record.key)
    keep_damaged(path)
    paths.write_atomic(path, text(finite(record).model_dump(mode="json")))
    return path


def finite(record: Record) -> Record:
    """Return a record without numbers that are NaN or infinite, and with a note that names them.

    JSON has no such numbers, and no statistic. Where null cannot stand for one, the smallest part of the
    record that can be left out goes with it.
    """
    places: list[str] = []
    fields = _without_infinite(record.model_dump(), (), places)
    if not places:
        return record
    named = ", ".join(dict.fromkeys(places)).replace("probe.", "logits.")
    fields["notes"] += [f"{NOT_FINITE}: {named}"]
    while True:
        try:
            return Record.model_validate(fields)
        except ValidationError as error:
            *above, holder, _ = error.errors()[0]["loc"]
            part = functools.reduce(operator.getitem, above, fields)
            if isinstance(part, list):
                del part[int(holder)]
            else:
                part[holder] = None


def _without_infinite(value: Any, place: tuple[str, ...], places: list[str]) -> Any:
    """Copy a value with null for floats that are not finite, whose places are added to ``places``."""
    if isinstance(value, float) and not math.isfinite(value):
        places.append(f"{'.'.join(place)} ({value})")
        return None
    if isinstance(value, dict):
        return {key: _without_infinite(each, (*place, str(key)), places) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinite(each, place, places) for each in value]
    return value


def text(content: dict[str, object]) -> str:
    """Return the text of a record file: the content as JSON with its digest as the last member."""
    body = json.dumps(content, indent=1, ensure_ascii=False).encode().removesuffix(b"\n}")
    return (body + _end(body)).decode()


def keep_damaged(path: Path) -> Path | None:
    """Move what lies in a record's place and is no record to a name beside it, and return that name."""
    try:
        if os.path.lexists(path):
            read(path)
        return None
    except Damaged:
        kept = paths.damaged(path)
        if os.path.lexists(kept):  # an earlier one gets a number
            numbered = (kept.with_name(f"{kept.name}.{number}") for number in itertools.count(1))
            kept.replace(next(each for each in numbered if not os.path.lexists(each)))
        return path.replace(kept)


def read(path: Path) -> Record:
    """Read one record.

    Raises:
        Damaged: The file is no record of this schema; the message names the file and the field.
    """
    return parse(path, content(path))


def content(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        Damaged: It cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # faster than the path's own
            return file.readall()
    except OSError as error:
        raise Damaged.unreadable(path, error) from None


def parse(path: Path, content: bytes) -> Record:
    """Return the record that a file's content holds.

    Raises:
        Damaged: It is no record of this schema, was edited by hand, or is another file's record.
    """
    whole, _ = as_written(content)
    if whole and b"NaN" not in content and b"Infinity" not in content:
        # Parsed and checked in one step. What is wrong with any other file is said below.
        with contextlib.suppress(ValidationError):
            record = Record.model_validate_json(whole)
            if path.name == f"{record.key}.json":
                return record
    try:
        fields = from_json(content, allow_inf_nan=False)
        version = fields["schema_version"]
    except KeyError:
        raise Damaged(path, "is no record: it has no schema_version") from None
    except (ValueError, TypeError) as error:
        raise Damaged(path, f"is no record: {error}") from None
    if version != SCHEMA_VERSION:
        advice = "; update the project" if isinstance(version, int) and version > SCHEMA_VERSION else ""
        raise Damaged(path, f"has record schema {version!r}, this code reads {SCHEMA_VERSION}{advice}")
    fields.pop("digest", None)
    try:
        record = Record.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise Damaged(path, f"is no record: {place}: {problem['msg']}") from None
    if not whole or path.name != f"{record.key}.json":
        raise Damaged(path, "was edited by hand")
    return record


def as_written(content: bytes) -> tuple[bytes, str]:
    """Return the JSON in a file without its digest, and a digest of the file.

    The first is empty if the digest in the file is not that of the text before it.
    """
    body, found, end = content.rpartition(_DIGEST)
    hashed = hashlib.sha256(body)
    whole = end == hashed.hexdigest()[:16].encode() + _CLOSE
    hashed.update(found + end)
    return body + b"\n}" if whole else b"", hashed.hexdigest()[:16]


def read_all(results: Path, model: str = "*", hardware: str = "*") -> tuple[list[Record], list[Damaged]]:
    """Return all records below a folder, in path order, and what is wrong with each file that is none."""
    records, damaged = [], []
    for path in all_paths(results, model, hardware):
        try:
            records.append(read(path))
        except Damaged as problem:
            damaged.append(problem)
    return records, damaged


def all_paths(results: Path, model: str = "*", hardware: str = "*") -> list[Path]:
    """Return the paths of the record files below a folder, in order."""
    pattern = f"{hardware}/{paths.model_folder(model)}/*.json"
    return sorted(results / name for name in glob.iglob(pattern, root_dir=results))


def _end(body: bytes) -> bytes:
    return _DIGEST + hashlib.sha256(body).hexdigest()[:16].encode() + _CLOSE
