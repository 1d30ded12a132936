"""The weights of a model, found and checked before anything is loaded.

A Hub model is looked for in this order: a folder of the user's below ``VLMNB_CHECKPOINTS``, the local cache
of the Hub at the pinned revision, the Hub itself. ``soundness.py`` says what is refused.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from pathlib import Path

from vlmnb import paths
from vlmnb.errors import UserError
from vlmnb.files import changes, hashing
from vlmnb.models import folders, named, soundness
from vlmnb.models.entry import ModelEntry

KINDS = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
"""What is downloaded of a repository, and what of a folder makes its fingerprint: no pickles, no code."""
NOT_READ = frozenset({"scores.json", "training.json", "trainer_state.json"})
"""Files of these kinds that are no part of a model."""

LOCAL = "local "
"""First word of the revision of a folder of the user's."""


def revision(entry: ModelEntry) -> str:
    """Identify the pretrained weights that would be loaded on this machine, without network.

    Raises:
        UserError: The files in a folder of the user's cannot be read.
    """
    if entry.bundled:
        return fingerprint(paths.bundled_model(entry.name))
    local = folders.local(entry)
    return f"{LOCAL}{fingerprint(local)}" if local else f"{entry.source}@{folders.commit(entry)}"


def processor_folder(entry: ModelEntry) -> Path | None:
    """Return the folder with the model's own tokenizer for random weights: bundled or in the Hub's cache.

    None if there is none. A folder of the user's may have another vocabulary, so only its own weights use it.
    """
    folder = folders.anywhere(entry) if entry.generic or entry.bundled else folders.snapshot(entry)
    if not (folder / "tokenizer.json").exists():
        return None
    return folder if any((folder / name).exists() for name in soundness.IMAGE_PROCESSORS) else None


def find(entry: ModelEntry) -> Path:
    """Return the folder of a model's checkpoint, checked; it is downloaded if necessary and possible.

    Raises:
        UserError: There is none, or it cannot be used.
    """
    if entry.generic:
        named.document(entry)  # a model that cannot be measured is refused before its weights are downloaded
    folder = paths.bundled_model(entry.name) if entry.bundled else folders.local(entry) or _snapshot(entry)
    soundness.check(entry, folder)
    return folder


def _snapshot(entry: ModelEntry) -> Path:
    """Return the pinned snapshot in the cache, after downloading what is missing."""
    from huggingface_hub import constants

    folder = folders.snapshot(entry)
    wanted = soundness.lacking_file(entry, folder)
    if not wanted:
        return folder
    places = [os.environ.get(folders.FOLDERS), str(folder if folder.is_dir() else constants.HF_HUB_CACHE)]
    missing = (
        f"{entry.name} has no weights on this machine: looked for {wanted} of {entry.source} in "
        f"{' and '.join(filter(None, places))}{_other_revisions(entry)}"
    )
    found = folders.fetch(entry, missing, KINDS)
    if lacking := soundness.lacking_file(entry, found):
        others = ", ".join(folders.on_the_hub(entry, soundness.ALL_WEIGHTS)[:3])
        beside = f"; of weights it has {others}, and only safetensors are read" if others else ""
        raise UserError(f"{entry.name}: {entry.source} on the Hub has no {lacking}{beside}")
    return found


def _other_revisions(entry: ModelEntry) -> str:
    """Name the other revisions of a model in the cache."""
    snapshots, wanted = folders.snapshots(entry), folders.commit(entry)
    found = sorted(path.name for path in snapshots.iterdir()) if snapshots.is_dir() else []
    others = ", ".join(name for name in found if name != wanted)
    return f"; {snapshots.parent} has revision {others}, wanted is {wanted}" if others else ""


def fingerprint(folder: Path) -> str:
    """Return a hash of a folder's configuration and weights, 16 digits.

    A snapshot folder of the Hub is identified by its commit, which is its name.
    """
    if folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name):
        return folder.name
    kinds = (*KINDS, "additional_chat_templates/*.jinja")
    found = sorted(file for kind in kinds for file in folder.glob(kind) if file.is_file())
    read = tuple((file, changes.signature(file)) for file in found if file.name not in NOT_READ)
    try:
        return _hash(folder, read)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None


@functools.lru_cache(maxsize=64)
def _hash(folder: Path, files: tuple[tuple[Path, changes.Signature | None], ...]) -> str:
    """Hash files whole; of a large one its kept hash."""
    seen = hashlib.sha256()
    for file, _ in files:
        size = file.stat().st_size
        seen.update(f"{file.relative_to(folder)} {size}\n".encode())
        seen.update(file.read_bytes() if size < hashing.LARGE else hashing.of_file(file).encode())
    return seen.hexdigest()[:16]
