"""The weights of a model, found and checked before anything is loaded.

A Hub model is looked for in this order: a folder of the user's below ``VLMNB_CHECKPOINTS``, the local cache
of the Hub at the pinned revision, the Hub itself. Checks read only parts of the files: the architecture must
be right, the weights in safetensors and complete, and no code of the checkpoint's own is accepted.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vlmnb import paths
from vlmnb.errors import UserError, one_line
from vlmnb.models import folders, geometry
from vlmnb.models.entry import ModelEntry

FOLDERS = "VLMNB_CHECKPOINTS"
"""Environment variable: a folder of checkpoints, each in it as ``<model>/`` or ``<owner>/<repository>/``."""

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
IMAGE_PROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""Files that may describe the image processor, the newer layout first."""
WANTED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
"""What is downloaded of a repository; never pickles, never code."""

LOCAL = "local "
"""First word of the revision of a folder of the user's."""

REACH_S = 5.0
"""Seconds within which the Hub must take a connection, so that a missing network is reported at once."""

_IDENTIFYING = ("*config.json", "tokenizer*", "*.safetensors", "*.jinja")
_BLOCKS, _BLOCK_BYTES = 1024, 1 << 16
"""Most blocks of a file in its fingerprint: the whole file up to 64 MiB."""


def revision(entry: ModelEntry) -> str:
    """Identify the pretrained weights that would be loaded on this machine, without network.

    Raises:
        UserError: The files in a folder of the user's cannot be read.
    """
    if entry.bundled:
        return fingerprint(paths.bundled_model(entry.name))
    local = local_folder(entry)
    return f"{LOCAL}{fingerprint(local)}" if local else f"{entry.source}@{folders.commit(entry)}"


def local_folder(entry: ModelEntry) -> Path | None:
    """Return the user's folder for a model below ``VLMNB_CHECKPOINTS``, if there is one."""
    return folders.local(entry)


def processor_folder(entry: ModelEntry) -> Path | None:
    """Return the folder with the model's own tokenizer for random weights: bundled or in the Hub's cache.

    None if there is none. A folder of the user's may have another vocabulary, so only its own weights use it.
    """
    folder = folders.anywhere(entry) if entry.named or entry.bundled else folders.snapshot(entry)
    if not (folder / "tokenizer.json").exists():
        return None
    return folder if any((folder / name).exists() for name in IMAGE_PROCESSORS) else None


def _snapshots(entry: ModelEntry) -> Path:
    """Return the folder of all revisions of a model in the Hub's local cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{entry.source.replace('/', '--')}" / "snapshots"


def find(entry: ModelEntry) -> Path:
    """Return the folder of a model's checkpoint, checked; it is downloaded if necessary and possible.

    Raises:
        UserError: There is none, or it cannot be used; the message says which file, why, and what to do.
    """
    folder = paths.bundled_model(entry.name) if entry.bundled else local_folder(entry) or _snapshot(entry)
    check(entry, folder)
    return folder


def check(entry: ModelEntry, folder: Path) -> None:
    """Refuse a folder that cannot or must not be loaded.

    Raises:
        UserError: A file is missing, truncated or no safetensors file, the architecture is wrong, or the
            checkpoint needs code of its own.
    """
    if lacking := _lacking(entry, folder):
        raise _unusable(entry, f"{folder} has no {lacking}")
    kind = _json(entry, folder / "config.json").get("model_type")
    wanted, right = geometry.document(entry)["model_type"], entry.source or entry.name
    if kind != wanted:
        raise UserError(
            f"{folder / 'config.json'} describes a model of type {kind!r}, {entry.name} is a {wanted!r}; "
            f"put the checkpoint of {right} there"
        )
    for name in ("config.json", "tokenizer_config.json", *IMAGE_PROCESSORS):
        if (folder / name).exists() and "auto_map" in _json(entry, folder / name):
            raise UserError(
                f"{folder / name} asks for code of its own (auto_map), which is never run; use a checkpoint "
                f"that transformers loads by itself, such as {right}"
            )
    for file in weight_files(entry, folder):
        _check_safetensors(entry, file)


def _lacking(entry: ModelEntry, folder: Path) -> str:
    """Name the first file that a folder lacks; empty if it is complete."""
    for names in (("config.json",), (WEIGHTS, INDEX), TOKENIZERS):
        if not any((folder / name).exists() for name in names):
            pickles = sorted(file.name for kind in PICKLES for file in folder.glob(kind))
            seen = (
                f", only {pickles[0]}, a pickle, which is never read" if WEIGHTS in names and pickles else ""
            )
            return f"{'tokenizer: ' * (names is TOKENIZERS)}{' or '.join(names)}{seen}"
    for file in weight_files(entry, folder):
        if not file.exists():
            return f"{file.name}, which {INDEX} lists"
    newer, older = IMAGE_PROCESSORS
    with contextlib.suppress(OSError, ValueError):
        if "image_processor" in json.loads((folder / newer).read_text(encoding="utf-8")):
            return ""
    return "" if (folder / older).exists() else f"image processor: {older}, or image_processor in {newer}"


def weight_files(entry: ModelEntry, folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint.

    Raises:
        UserError: The index of the files cannot be read.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    shards = _json(entry, folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise _unusable(entry, f"{folder / INDEX} lists no files")
    return [folder / name for name in sorted(set(shards.values()))]


def _unusable(entry: ModelEntry, why: str) -> UserError:
    return UserError(f"{entry.name}: {why}; {_ways_out(entry)}")


def _ways_out(entry: ModelEntry) -> str:
    if entry.bundled:
        return f"restore it with: git checkout -- {paths.bundled_model(entry.name)}"
    return (
        f"download it with `hf download {entry.source} --revision {entry.revision}`, or set {FOLDERS} to a "
        f"folder that has it as {entry.name}/ or {entry.source}/, or measure speed alone with weights: random"
    )


def _snapshot(entry: ModelEntry) -> Path:
    """Return the pinned snapshot in the cache, after downloading what is missing."""
    from huggingface_hub import constants

    folder = folders.snapshot(entry)
    wanted = _lacking(entry, folder)
    if not wanted:
        return folder
    places = [os.environ.get(FOLDERS), str(folder if folder.is_dir() else constants.HF_HUB_CACHE)]
    missing = (
        f"{entry.name} has no weights on this machine: looked for {wanted} of {entry.source} in "
        f"{' and '.join(filter(None, places))}{_other_revisions(entry)}"
    )
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{missing}, and HF_HUB_OFFLINE forbids downloads; {_ways_out(entry)}")
    if not _reachable(constants.ENDPOINT):
        raise UserError(f"{missing}, and {constants.ENDPOINT} cannot be reached; {_ways_out(entry)}")
    return _download(entry, missing)


def _other_revisions(entry: ModelEntry) -> str:
    """Name the other revisions of a model in the cache."""
    snapshots = _snapshots(entry)
    found = sorted(path.name for path in snapshots.iterdir()) if snapshots.is_dir() else []
    others = ", ".join(name for name in found if name != entry.revision)
    return f"; {snapshots.parent} has revision {others}, wanted is {entry.revision}" if others else ""


def _download(entry: ModelEntry, missing: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    file = f"vlmnb/models/families/{entry.family}.py"
    try:
        found = huggingface_hub.snapshot_download(
            entry.source, revision=entry.revision, allow_patterns=list(WANTED)
        )
    except errors.RevisionNotFoundError:
        why = f"{entry.source} has no revision {entry.revision}; correct the one of {entry.name} in {file}"
    except errors.GatedRepoError:
        why = (
            f"{entry.source} is gated: accept its terms on its page and log in with `hf auth login`, or "
            "measure speed alone with weights: random"
        )
    except errors.RepositoryNotFoundError:
        why = f"the Hub has no repository {entry.source}; correct the source of {entry.name} in {file}"
    except Exception as error:  # the client of the Hub lets through whatever its own libraries raise
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        why = f"{missing}, and downloading failed ({reason}); {_ways_out(entry)}"
    else:
        return Path(found)
    raise UserError(why)


def _reachable(endpoint: str) -> bool:
    """Return whether the Hub takes connections; with a proxy, assume so."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(endpoint)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=REACH_S).close()
    except OSError:
        return False
    return True


def _json(entry: ModelEntry, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unusable(entry, f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise _unusable(entry, f"{path} holds no JSON object")
    return content


def _check_safetensors(entry: ModelEntry, file: Path) -> None:
    """Compare a file's length with its header, which finds a download that was cut off."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy"):
            pass
    except SafetensorError as error:
        why = f"{file} is truncated, damaged or no safetensors file ({one_line(error)}), so delete it"
        raise _unusable(entry, why) from None


def fingerprint(folder: Path) -> str:
    """Return a hash of a folder's configuration and weights, 16 digits, quick for large files.

    A snapshot folder of the Hub is identified by its commit, which is its name.
    """
    if folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name):
        return folder.name
    stamps = tuple(
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted({file for pattern in _IDENTIFYING for file in folder.glob(pattern)})
    )
    return _hash(stamps)


@functools.lru_cache(maxsize=64)
def _hash(files: tuple[tuple[str, int, int], ...]) -> str:
    """Hash small files whole; of large ones the size and evenly spread blocks."""
    seen = hashlib.sha256()
    for name, size, _ in files:
        seen.update(f"{Path(name).name} {size}\n".encode())
        step = max(1, math.ceil(size / _BLOCK_BYTES / _BLOCKS)) * _BLOCK_BYTES
        with Path(name).open("rb") as stream:
            for start in range(0, size, step):
                stream.seek(start)
                seen.update(stream.read(_BLOCK_BYTES))
    return seen.hexdigest()[:16]
