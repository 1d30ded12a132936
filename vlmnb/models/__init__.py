"""The models: registry, families, configurations, checkpoints and processors.

Imports the folders above it in ARCHITECTURE.md; torch and transformers within functions and in
``processors``. Read ``family.py`` first: what a family must know. A new family is one file in ``families/``.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable

from vlmnb.errors import UserError, nearest
from vlmnb.models import named
from vlmnb.models.entry import BUNDLED, ModelEntry
from vlmnb.models.family import Family


@functools.cache
def by_family() -> dict[str, Family]:
    """Return the families by name, in the order of lists: the object ``FAMILY`` of every file found."""
    from vlmnb.models import families

    found = [
        importlib.import_module(f"{families.__name__}.{info.name}").FAMILY
        for info in pkgutil.iter_modules(families.__path__)
    ]
    ordered = sorted(found, key=lambda family: (family.rank, family.name))
    return {family.name: family for family in ordered}


@functools.cache
def registry() -> dict[str, ModelEntry]:
    """Return all models by name: those of the Hub in the order of their families, then the bundled ones."""
    entries = [*(entry for family in by_family().values() for entry in family.entries), *BUNDLED]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.bundled)}


def ordered(names: Iterable[str]) -> list[str]:
    """Return names of models in the registry's order, then by name those that it does not have."""
    place = {name: number for number, name in enumerate(registry())}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def default() -> ModelEntry:
    """Return the model that is used if none is named: the first that needs no download."""
    return next(entry for entry in registry().values() if entry.bundled)


def get(name: str) -> ModelEntry:
    """Return the entry of a model.

    Raises:
        UserError: There is no such model; the message names the nearest. Or a file is named, not its folder.
    """
    found = registry().get(name) or named.entry(name, registry().values())
    if found is None:
        near = nearest(name, registry())
        raise UserError(
            f"unknown model {name!r}; {near}, or name a Hub repository OWNER/NAME or a folder ./PATH"
        )
    return found


def family_of(entry: ModelEntry) -> Family:
    """Return the family of an entry; a model measured by its name may have one that serves its type."""
    if not entry.generic:
        return by_family()[entry.family]
    generic = importlib.import_module("vlmnb.models.generic.family")  # by name, like every family
    made: Family = generic.of(entry, by_family())
    return made
