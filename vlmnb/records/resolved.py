"""Resolve a cell: look up, once, everything that its names stand for on this machine."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmnb import models, paths
from vlmnb.data import catalogue
from vlmnb.data.catalogue import Dataset
from vlmnb.device import machine, slots
from vlmnb.files import hashing
from vlmnb.models import checkpoints, folders, geometry
from vlmnb.models.entry import ModelEntry
from vlmnb.models.family import Family
from vlmnb.records import content_key
from vlmnb.records.content_key import Revisions
from vlmnb.records.parts import Provenance
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import Optimization
from vlmnb.types import Status, Weights


@dataclass(frozen=True, slots=True)
class Resolved:
    """A cell with what its names stand for.

    Attributes:
        entry: Registry entry of its model; ``dataset``: catalogue entry of its data set.
        revisions: Which weights, processor and data are there now.
        config: The ``config.json`` of random weights; empty for pretrained ones, which have their own.
        folder: Where the checkpoint lies or will lie, for random weights the processor; None for a stand-in.
        key: Content key of the cell on this machine.
        path: Where its record lies, or will lie.
    """

    cell: Cell
    entry: ModelEntry
    family: Family
    optimization: Optimization
    dataset: Dataset
    revisions: Revisions
    config: dict[str, Any]
    folder: Path | None
    key: str
    path: Path


def resolve(cells: Iterable[Cell], results: Path) -> dict[Cell, Resolved]:
    """Resolve cells, looking at the weights of each model once per call: they may change meanwhile.

    Raises:
        UserError: A model, data set or optimization is unknown, or the files of a checkpoint cannot be read.
    """
    slug = machine.describe().slug
    made, surroundings = functools.cache(_weights), functools.cache(content_key.surroundings)
    of_data = functools.cache(lambda name: catalogue.get(name).revision())
    found: dict[Cell, Resolved] = {}
    for cell in cells:
        entry = models.get(cell.model)
        weights, processor, config, folder = made(entry, cell.weights, cell.seed)
        revisions = Revisions(weights, processor, of_data(cell.dataset))
        optimization = optimizations.of(cell)
        key = content_key.of(cell, surroundings(revisions), optimization.tools())
        found[cell] = Resolved(
            cell=cell,
            entry=entry,
            family=models.family_of(entry),
            optimization=optimization,
            dataset=catalogue.get(cell.dataset),
            revisions=revisions,
            config=config,
            folder=folder,
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
            tools=resolved.optimization.tools(),
            machine=here.model_dump(mode="json"),
            started_at=started_at,
        ),
    )


def changes_since(found: Record, revisions: Revisions | None = None) -> str:
    """Describe what has changed since a record of this machine was measured; empty if nothing has.

    ``revisions`` are those of its cell now, where they are known: to look takes milliseconds.
    """
    was, now = found.provenance, content_key.packages() | optimizations.of(found.cell).tools()
    then = was.packages | was.tools
    revisions = revisions or resolve_cell(found.cell).revisions
    changed = ["the measuring code"] if was.code != content_key.measuring_code() else []
    changed += [
        f"{name} {then.get(name, 'absent')} to {now.get(name, 'absent')}"
        for name in dict.fromkeys((*content_key.PACKAGES, *then, *now))
        if then.get(name) != now.get(name)
    ]
    changed += ["the weights"] if was.weights != revisions.weights else []
    changed += ["the data set"] if was.data != revisions.data else []
    return ", ".join(changed + other_settings(found))


def other_settings(found: Record) -> list[str]:
    """Return what the environment or a sweep sets of threads otherwise than when a record was measured."""
    was, own = found.provenance, slots.tuning()
    changed = []
    if was.threads not in (None, slots.threads()):
        changed.append(f"threads {was.threads} to {slots.threads()}")
    return changed + [
        f"{name} {was.tuning.get(name, 'absent')} to {own.get(name, 'absent')}"
        for name in sorted(was.tuning.keys() | own.keys())
        if was.tuning and was.tuning.get(name) != own.get(name)
    ]


def _weights(entry: ModelEntry, weights: Weights, seed: int) -> tuple[str, str, dict[str, Any], Path | None]:
    """Return what identifies the weights and the processor, and what random weights are made of.

    A processor that comes with the weights has an empty revision. Random weights use the model's own
    processor if it is on this machine, and otherwise a stand-in. The prompts differ, so the records of one
    must not answer for the other.
    """
    if weights == "pretrained":
        return checkpoints.revision(entry), "", {}, folders.anywhere(entry)
    folder, config = checkpoints.processor_folder(entry), geometry.document(entry)
    processor = checkpoints.fingerprint(folder) if folder else "stand-in"
    return f"random {hashing.digest(config)} seed {seed}", processor, config, folder
