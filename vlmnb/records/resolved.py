"""Resolve a cell: look up, once, everything that its names stand for on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vlmnb import models, paths
from vlmnb.data import catalogue
from vlmnb.data.catalogue import Dataset
from vlmnb.device import machine
from vlmnb.files import hashing
from vlmnb.models import checkpoints, geometry
from vlmnb.models.entry import ModelEntry
from vlmnb.models.family import Family
from vlmnb.records import content_key
from vlmnb.records.content_key import Revisions
from vlmnb.records.provenance import Provenance
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import Optimization
from vlmnb.types import Status


@dataclass(frozen=True, slots=True)
class Resolved:
    """A cell with what its names stand for.

    Attributes:
        cell: The cell.
        entry: Registry entry of its model.
        family: The model's family.
        optimization: What the name of its optimization stands for.
        dataset: Catalogue entry of its data set.
        revisions: Which weights, processor and data are there now.
        key: Content key of the cell on this machine.
        path: Where its record lies, or will lie.
    """

    cell: Cell
    entry: ModelEntry
    family: Family
    optimization: Optimization
    dataset: Dataset
    revisions: Revisions
    key: str
    path: Path


def resolve(cells: Iterable[Cell], results: Path) -> dict[Cell, Resolved]:
    """Resolve cells, looking at the weights of each model once.

    Nothing is kept for the next call: weights may change while a process lives.

    Args:
        cells: What is asked for.
        results: Folder of the records.

    Raises:
        UserError: A model, data set or optimization is unknown, or the files of a checkpoint cannot be read.
    """
    slug = machine.describe().slug
    weights: dict[tuple[str, str, int], tuple[ModelEntry, str]] = {}
    shared: dict[tuple[str, str, int, str], tuple[Revisions, str]] = {}
    found: dict[Cell, Resolved] = {}
    for cell in cells:
        of_model = (cell.model, cell.weights, cell.seed)
        if of_model not in weights:
            entry = models.get(cell.model)
            weights[of_model] = (entry, _weights_revision(cell, entry))
        entry, revision = weights[of_model]
        if (*of_model, cell.dataset) not in shared:
            revisions = Revisions(revision, _processor(cell, entry), catalogue.get(cell.dataset).revision())
            shared[*of_model, cell.dataset] = (revisions, content_key.surroundings(revisions))
        revisions, surroundings = shared[*of_model, cell.dataset]
        key = content_key.of(cell, surroundings)
        found[cell] = Resolved(
            cell=cell,
            entry=entry,
            family=models.family_of(entry),
            optimization=optimizations.of(cell),
            dataset=catalogue.get(cell.dataset),
            revisions=revisions,
            key=key,
            path=paths.record(results, slug, cell.model, key),
        )
    return found


def resolve_cell(cell: Cell, results: Path = Path()) -> Resolved:
    """Resolve one cell."""
    return resolve([cell], results)[cell]


def blank_record(resolved: Resolved, started_at: str, status: Status = "ok", reason: str = "") -> Record:
    """Return the record of a cell without any number yet."""
    here = machine.describe()
    return Record(
        key=resolved.key,
        hardware=here.slug,
        cell=resolved.cell,
        status=status,
        reason=reason,
        provenance=Provenance(
            code=content_key.measuring_code(),
            weights=resolved.revisions.weights,
            data=resolved.revisions.data,
            packages=content_key.packages(),
            machine=here.model_dump(mode="json"),
            started_at=started_at,
        ),
    )


def _weights_revision(cell: Cell, entry: ModelEntry) -> str:
    """Return what identifies the weights: hash of a folder, repository and commit, or geometry and seed."""
    if cell.weights == "pretrained":
        return checkpoints.revision(entry)
    return f"random {hashing.digest(geometry.document(entry))} seed {cell.seed}"


def _processor(cell: Cell, entry: ModelEntry) -> str:
    """Return what identifies tokenizer and image processor; empty if they come with the weights.

    Random weights use the model's own processor if it is on this machine, and otherwise a stand-in. The
    prompts differ, so the records of one must not answer for the other.
    """
    if cell.weights == "pretrained":
        return ""
    folder = checkpoints.processor_folder(entry)
    return checkpoints.fingerprint(folder) if folder else "stand-in"
