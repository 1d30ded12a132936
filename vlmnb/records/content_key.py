"""Content keys: which record answers for a cell here and now.

The key hashes everything that can move a number: the cell, the weights, the data, the measuring code,
the versions of the packages that compute, and the machine. A record of the same cell under another key
is *stale*: worth showing, not worth trusting blindly.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vlmnb import models, paths
from vlmnb.data import catalogue
from vlmnb.device import machine, slots
from vlmnb.files import code_fingerprint, hashing
from vlmnb.models import checkpoints, geometry
from vlmnb.records import store
from vlmnb.records.provenance import Provenance
from vlmnb.records.record import SCHEMA_VERSION, Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.types import Status

PACKAGES = ("torch", "transformers", "tokenizers", "pillow", "codecarbon", "fvcore", "jiwer",
            *optimizations.packages())  # fmt: skip
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


def key(cell: Cell) -> str:
    """Content key of a cell on this machine, 16 hexadecimal digits."""
    return _key(cell, _here(cell, weights_revision(cell)))  # weights may change while a kernel lives


def _here(cell: Cell, weights: str) -> str:
    here = machine.describe().fingerprint
    return _around(cell.model, cell.weights, weights, cell.dataset, paths.root(), here, slots.threads())


def _key(cell: Cell, around: str) -> str:
    # The digest of the whole dictionary: "cell" sorts before all that is around it.
    return hashing.digest_of(f"{hashing.canonical({'cell': cell.model_dump()})[:-1]},{around[1:]}")


def told_key(found: Record) -> str | None:
    """Key of a measured record by what it tells itself; None where it does not tell enough.

    What goes into a key cannot change without a new ``SCHEMA_VERSION``: the audit makes every key anew. With
    random weights and the model's own processor a record does not tell that processor's revision.
    """
    was, trained = found.provenance, found.cell.weights == "pretrained"
    here = was.machine.get("fingerprint")
    if was.threads is None or not here or not (trained or was.processor == "stand-in"):
        return None
    around = {
        "schema": found.schema_version,
        "weights": was.weights,
        "processor": "" if trained else was.processor,
        "data": was.data,
        "code": was.code,
        "packages": was.packages,
        "machine": here,
        "threads": was.threads,
    }
    return hashing.digest({"cell": found.cell.model_dump(), **around})


@functools.lru_cache(maxsize=1024)
def _around(
    model: str, weights: str, revision: str, dataset: str, root: Path, fingerprint: str, threads: int
) -> str:
    """What the key hashes beside the cell, looked up once and not for every cell of a sweep."""
    around = {
        "schema": SCHEMA_VERSION,
        "weights": revision,
        "processor": _processor_revision(model, weights),
        "data": catalogue.revision(dataset),
        "code": measuring_code(),
        "packages": packages(),
        "machine": fingerprint,
        "threads": threads,
    }
    return hashing.canonical(around)


def record_paths(cells: Iterable[Cell], results: Path) -> dict[Cell, Path]:
    """Where the records of cells measured here and now lie, or will lie.

    Each model's weights are looked at once: that takes longer than all else.
    """
    revisions: dict[tuple[str, str, int], str] = {}
    around: dict[tuple[str, str, int, str], str] = {}
    found: dict[Cell, Path] = {}
    slug = machine.describe().slug
    for cell in cells:
        if cell not in found:
            weights = (cell.model, cell.weights, cell.seed)
            same = (*weights, cell.dataset)
            if same not in around:
                if weights not in revisions:
                    revisions[weights] = weights_revision(cell)
                around[same] = _here(cell, revisions[weights])
            found[cell] = paths.record(results, slug, cell.model, _key(cell, around[same]))
    return found


def blank(cell: Cell, started_at: str, status: Status = "ok", reason: str = "") -> Record:
    """A record of a cell here and now, without any number yet."""
    return Record(
        key=key(cell),
        hardware=machine.describe().slug,
        cell=cell,
        status=status,
        reason=reason,
        provenance=Provenance(
            code=measuring_code(),
            weights=weights_revision(cell),
            data=catalogue.revision(cell.dataset),
            packages=packages(),
            machine=machine.describe().model_dump(mode="json"),
            started_at=started_at,
        ),
    )


def of_geometry(base: Record, geometry: str) -> Record:
    """The record, with in what the checkpoint's geometry is not that of the model it is named after."""
    known = base.provenance.model_copy(update={"geometry": geometry})
    return base.model_copy(update={"provenance": known})


def stale_paths(index: store.Index) -> dict[str, str]:
    """The newest record of each cell on this very machine, as the index names it, by the cell's digest.

    Where a cell has no record under its key of here and now, this one is *stale*: measured on the same
    machine by other code, other package versions, other weights or another number of threads. A record of
    other hardware is neither exact nor stale; it answers another question.
    """
    here = machine.describe()
    return index.newest(here.slug, here.fingerprint)


def differences(found: Record) -> str:
    """What has changed since a record of this machine was measured; empty where nothing has."""
    was, cell = found.provenance, found.cell
    changed = ["the measuring code"] if was.code != measuring_code() else []
    changed += [
        f"{name} {was.packages.get(name, 'absent')} to {packages().get(name, 'absent')}"
        for name in PACKAGES
        if was.packages.get(name) != packages().get(name)
    ]
    changed += ["the weights"] if was.weights != weights_revision(cell) else []
    changed += ["the data set"] if was.data != catalogue.revision(cell.dataset) else []
    if was.threads not in (None, slots.threads()):
        changed.append(f"threads {was.threads} to {slots.threads()}")
    return ", ".join(changed)


def weights_revision(cell: Cell) -> str:
    """What identifies the weights: hash of a folder, repository and commit, or geometry and seed."""
    if cell.weights == "pretrained":
        return checkpoints.revision(models.get(cell.model))
    return f"random {hashing.digest(geometry.document(cell.model))} seed {cell.seed}"


def _processor_revision(model: str, weights: str) -> str:
    """What identifies tokenizer and image processor where they do not come with the weights.

    Random weights use the model's own if it is on this machine, and a stand-in if not. The prompts differ,
    so the records must not answer for one another.
    """
    if weights == "pretrained":
        return ""
    folder = checkpoints.processor_folder(models.get(model))
    return checkpoints.fingerprint(folder) if folder else "stand-in"


@functools.cache
def packages() -> dict[str, str]:
    """Versions of the packages that can move a number; an absent one is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def measuring_code() -> str:
    """Return the hash of the code that measures."""
    return code_fingerprint.of(MEASURING)
