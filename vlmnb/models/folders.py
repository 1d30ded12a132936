"""Where a model's files lie on this machine: a folder of the user's, or the Hub's local cache."""

from __future__ import annotations

import os
from pathlib import Path

from vlmnb import paths
from vlmnb.models.entry import ModelEntry

FOLDERS = "VLMNB_CHECKPOINTS"
"""Environment variable: a folder of checkpoints, each in it as ``<model>/`` or ``<owner>/<repository>/``."""


def local(entry: ModelEntry) -> Path | None:
    """Return the user's folder for a model: the one it is named by, or one below ``VLMNB_CHECKPOINTS``."""
    if entry.source.startswith("/"):
        return Path(entry.source)
    base = os.environ.get(FOLDERS)
    if not base or entry.bundled:
        return None
    candidates = [Path(base).expanduser() / entry.name, Path(base).expanduser() / entry.source]
    return next((folder for folder in candidates if folder.is_dir()), None)


def snapshots(entry: ModelEntry) -> Path:
    """Return the folder of all revisions of a model in the Hub's local cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{entry.source.replace('/', '--')}" / "snapshots"


def commit(entry: ModelEntry) -> str:
    """Return the pinned commit; without one, that of ``main`` as last downloaded, else ``main``."""
    if entry.revision:
        return entry.revision
    main = snapshots(entry).parent / "refs" / "main"
    return main.read_text(encoding="utf-8").strip() if main.is_file() else "main"


def snapshot(entry: ModelEntry) -> Path:
    """Return the folder of the wanted revision in the Hub's local cache, which need not exist."""
    return snapshots(entry) / commit(entry)


def anywhere(entry: ModelEntry) -> Path:
    """Return the folder that has a model's files, or would have them after a download."""
    return paths.bundled_model(entry.name) if entry.bundled else local(entry) or snapshot(entry)


def ways_out(entry: ModelEntry) -> str:
    """Say how to get a model's weights."""
    if entry.bundled:
        return f"restore it with: git checkout -- {paths.bundled_model(entry.name)}"
    if entry.source.startswith("/"):
        return "put the whole checkpoint there, or measure speed alone with weights: random"
    places = " or ".join(dict.fromkeys((f"{entry.name}/", f"{entry.source}/")))
    revision = f" --revision {entry.revision}" if entry.revision else ""
    return (
        f"download it with `hf download {entry.source}{revision}`, or set {FOLDERS} to a folder that "
        f"has it as {places}, or measure speed alone with weights: random"
    )
