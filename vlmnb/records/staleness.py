"""Find stale records: measured on this machine with other code, packages, weights or threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlmnb.device import machine, slots
from vlmnb.records import content_key
from vlmnb.records.resolved import resolve_cell

if TYPE_CHECKING:
    from vlmnb.records.record import Record
    from vlmnb.records.store import Index


def newest_paths(index: Index) -> dict[str, str]:
    """Return the path of this machine's newest record of each cell, by the digest of the cell.

    If a cell has no record under its present key, this one is *stale*. A record of other hardware is neither
    exact nor stale: it answers another question.
    """
    here = machine.describe()
    return index.newest(here.slug, here.fingerprint)


def changes(found: Record) -> str:
    """Describe what has changed since a record of this machine was measured; empty if nothing has."""
    was, now = found.provenance, content_key.packages()
    revisions = resolve_cell(found.cell).revisions
    changed = ["the measuring code"] if was.code != content_key.measuring_code() else []
    changed += [
        f"{name} {was.packages.get(name, 'absent')} to {now.get(name, 'absent')}"
        for name in content_key.PACKAGES
        if was.packages.get(name) != now.get(name)
    ]
    changed += ["the weights"] if was.weights != revisions.weights else []
    changed += ["the data set"] if was.data != revisions.data else []
    if was.threads not in (None, slots.threads()):
        changed.append(f"threads {was.threads} to {slots.threads()}")
    return ", ".join(changed)
