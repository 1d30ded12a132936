"""Content keys: which record answers for a cell on this machine, as it is now.

The key hashes everything that can move a number: the cell, the weights, the data, the measuring code, the
versions of the packages that compute, the machine and the number of threads. A record of the same cell,
weights and data under another key is *stale*: worth showing, not worth trusting blindly.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

from vlmnb.device import machine, slots
from vlmnb.files import code_fingerprint, hashing
from vlmnb.records.record import SCHEMA_VERSION, Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell

PACKAGES = ("torch", "transformers", "tokenizers", "pillow", "codecarbon", "fvcore", "jiwer",
            *optimizations.packages())  # fmt: skip
"""Packages whose version can move a number."""

MEASURING = (
    "device", "stats", "models", "data", "spec/optimizations", "meters", "flops", "quality", "measure"
)  # fmt: skip
"""Folders whose code can move a measured number: part of every key."""

SHOWING = (
    "analysis", "views", "records", "quality", "stats", "flops", "meters", "spec", "data", "experiment"
)  # fmt: skip
"""Folders that turn records into the tables, figures and sentences of a page."""

CARD = ("fit", "models", "flops", "stats", "records", "views", "experiment")
"""Folders that make a model card page."""


class Revisions(NamedTuple):
    """What identifies the inputs of a cell on this machine.

    Attributes:
        weights: Hash of a folder, repository and commit, or geometry and seed of random weights.
        processor: Hash of the tokenizer's folder, or ``stand-in``; empty if it comes with the weights.
        data: Hash of the bundled file, version of the package, or commit on the Hub.
    """

    weights: str
    processor: str
    data: str


def of(cell: Cell, surroundings: str, tools: Mapping[str, str]) -> str:
    """Return the content key of a cell, 16 hexadecimal digits; ``tools`` are those of its optimization."""
    own = {"cell": cell.model_dump()} | ({"cell_tools": tools} if tools else {})
    # The digest of the whole dictionary: these two sort before everything in the surroundings.
    return hashing.digest_of(f"{hashing.canonical(own)[:-1]},{surroundings[1:]}")


def surroundings(revisions: Revisions) -> str:
    """Return what a key hashes apart from the cell, as JSON: the same for many cells."""
    here = machine.describe().fingerprint
    on = (measuring_code(), packages(), here, slots.threads(), slots.tuning())
    return _surroundings(revisions, SCHEMA_VERSION, *on)


def of_record(found: Record) -> str | None:
    """Return the key that a measured record must have by its own provenance; None if that is incomplete.

    The content of a key cannot change without a new ``SCHEMA_VERSION``: the audit computes every key again.
    A record with random weights and the model's own processor does not keep that processor's revision.
    """
    was, pretrained = found.provenance, found.cell.weights == "pretrained"
    fingerprint = was.machine.get("fingerprint")
    if was.threads is None or not fingerprint or not (pretrained or was.processor == "stand-in"):
        return None
    revisions = Revisions(was.weights, "" if pretrained else was.processor, was.data)
    on = (was.code, was.packages, fingerprint, was.threads, was.tuning)
    return of(found.cell, _surroundings(revisions, found.schema_version, *on), was.tools)


def _surroundings(
    revisions: Revisions, schema: int, code: str, packages: dict[str, str], machine: str, threads: int,
    tuning: dict[str, str],
) -> str:  # fmt: skip
    made_with = {"schema": schema, "code": code, "packages": packages, "machine": machine, "threads": threads}
    noted = {"tuning": tuning} if tuning else {}  # older records have no note of it
    return hashing.canonical(revisions._asdict() | made_with | noted)


@functools.cache
def packages() -> dict[str, str]:
    """Return the versions of ``PACKAGES``; one that is not installed is left out."""
    return machine.versions(*PACKAGES)


def measuring_code() -> str:
    """Return the hash of the code that measures."""
    return code_fingerprint.of(MEASURING)
