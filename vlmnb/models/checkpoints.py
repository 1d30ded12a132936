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
from vlmnb.errors import UserError
from vlmnb.models import geometry
from vlmnb.models.entry import ModelEntry
from vlmnb.types import Frozen

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


class Checkpoint(Frozen):
    """A folder in Hub layout.

    Attributes:
        folder: The folder on this machine.
        revision: Hash of a bundled or local folder, or repository and commit.
    """

    folder: Path
    revision: str


def revision(entry: ModelEntry) -> str:
    """Identify the pretrained weights that would be loaded on this machine, without network.

    Raises:
        UserError: The files in a folder of the user's cannot be read.
    """
    if entry.bundled:
        return fingerprint(paths.bundled_model(entry.name))
    local = local_folder(entry)
    return f"{LOCAL}{fingerprint(local)}" if local else f"{entry.source}@{entry.revision}"


def local_folder(entry: ModelEntry) -> Path | None:
    """Return the user's folder for a model below ``VLMNB_CHECKPOINTS``, if there is one."""
    base = os.environ.get(FOLDERS)
    if not base or entry.bundled:
        return None
    candidates = [Path(base).expanduser() / entry.name, Path(base).expanduser() / entry.source]
    return next((folder for folder in candidates if folder.is_dir()), None)


def cached_folder(entry: ModelEntry) -> Path | None:
    """Return the pinned revision's snapshot in the Hub's local cache, complete or not, if there is one."""
    snapshot = _snapshots(entry) / entry.revision
    return snapshot if snapshot.is_dir() else None


def _snapshots(entry: ModelEntry) -> Path:
    """Return the folder of all revisions of a model in the Hub's local cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{entry.source.replace('/', '--')}" / "snapshots"


def processor_folder(entry: ModelEntry) -> Path | None:
    """Return the folder with the model's own tokenizer for random weights: bundled or in the Hub's cache.

    None if there is none. A folder of the user's may have another vocabulary, so only its own weights use it.
    """
    folder = paths.bundled_model(entry.name) if entry.bundled else cached_folder(entry)
    if folder is None or not (folder / "tokenizer.json").exists():
        return None
    return folder if any((folder / name).exists() for name in IMAGE_PROCESSORS) else None


def find(entry: ModelEntry) -> Checkpoint:
    """Return the checkpoint of a model, checked; it is downloaded if necessary and possible.

    Raises:
        UserError: There is none, or it cannot be used; the message says which file, why, and what to do.
    """
    if entry.bundled:
        folder = paths.bundled_model(entry.name)
        if not (folder / WEIGHTS).exists():
            raise UserError(
                f"the bundled model {folder} is missing; restore it with: git checkout -- {folder}"
            )
    else:
        folder = local_folder(entry) or _snapshot(entry)
    check(entry, folder)
    return Checkpoint(folder=folder, revision=revision(entry))


def check(entry: ModelEntry, folder: Path) -> None:
    """Refuse a folder that cannot or must not be loaded.

    Raises:
        UserError: A file is missing, truncated or no safetensors file, the architecture is wrong, or the
            checkpoint needs code of its own.
    """
    kind = _json(entry, folder / "config.json").get("model_type")
    wanted = geometry.document(entry.name)["model_type"]
    if kind != wanted:
        raise UserError(
            f"{folder / 'config.json'} describes a model of type {kind!r}, {entry.name} is a {wanted!r}; "
            f"put the checkpoint of {entry.source or entry.name} there"
        )
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        if (folder / name).exists() and "auto_map" in _json(entry, folder / name):
            raise UserError(
                f"{folder / name} asks for code of its own (auto_map), which is never run; use a checkpoint "
                f"that transformers loads by itself, such as {entry.source or entry.name}"
            )
    for file in weight_files(entry, folder):
        _check_safetensors(entry, file)
    if what := _lacking(folder):
        raise UserError(f"{entry.name}: {folder} has no {what}; {_ways_out(entry)}")


def _lacking(folder: Path) -> str:
    """Name the small files beside the weights that a folder lacks; empty if none."""
    if not any((folder / name).exists() for name in TOKENIZERS):
        return f"tokenizer ({' or '.join(TOKENIZERS)})"
    newer, older = IMAGE_PROCESSORS
    with contextlib.suppress(OSError, ValueError):
        if "image_processor" in json.loads((folder / newer).read_text(encoding="utf-8")):
            return ""
    return "" if (folder / older).exists() else f"image processor ({older}, or image_processor in {newer})"


def weight_files(entry: ModelEntry, folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint, all of which exist.

    Raises:
        UserError: One is missing, or the weights are in another format.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if not (folder / INDEX).exists():
        pickles = sorted(file.name for kind in PICKLES for file in folder.glob(kind))
        seen = f", only {pickles[0]}, a pickle, which is never read" if pickles else ""
        raise UserError(f"{entry.name}: {folder} has neither {WEIGHTS} nor {INDEX}{seen}; {_ways_out(entry)}")
    shards = _json(entry, folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise UserError(f"{entry.name}: {folder / INDEX} lists no files; {_ways_out(entry)}")
    files = [folder / name for name in sorted(set(shards.values()))]
    for file in files:
        if not file.exists():
            raise UserError(f"{entry.name}: {file} is missing; {_ways_out(entry)}")
    return files


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

    folder = cached_folder(entry)
    try:
        if folder is not None and (folder / "config.json").exists():
            weight_files(entry, folder)
            if not _lacking(folder):
                return folder
    except UserError:  # a part of it: the rest is downloaded below, or asked for
        pass
    places = [os.environ[FOLDERS]] if os.environ.get(FOLDERS) else []
    places.append(str(folder or constants.HF_HUB_CACHE))
    missing = (
        f"{entry.name} has no weights on this machine: looked for {_looked_for(folder)} of {entry.source} in "
        f"{' and '.join(places)}{_other_revisions(entry)}"
    )
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{missing}, and HF_HUB_OFFLINE forbids downloads; {_ways_out(entry)}")
    if not _reachable(constants.ENDPOINT):
        raise UserError(f"{missing}, and {constants.ENDPOINT} cannot be reached; {_ways_out(entry)}")
    return _download(entry, missing)


def _other_revisions(entry: ModelEntry) -> str:
    """Name the other revisions of a model in the cache."""
    snapshots = _snapshots(entry)
    others = sorted(path.name for path in snapshots.iterdir()) if snapshots.is_dir() else []
    others = [name for name in others if name != entry.revision]
    if not others:
        return ""
    listed = ", ".join(others)
    return f"; {snapshots.parent} has revision {listed}, wanted is {entry.revision}"


def _looked_for(folder: Path | None) -> str:
    if folder is None or not (folder / "config.json").exists():
        return "config.json"
    if ((folder / WEIGHTS).exists() or (folder / INDEX).exists()) and (what := _lacking(folder)):
        return what
    return f"the files that {INDEX} lists" if (folder / INDEX).exists() else f"{WEIGHTS} or {INDEX}"


def _download(entry: ModelEntry, missing: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(
            huggingface_hub.snapshot_download(
                entry.source, revision=entry.revision, allow_patterns=list(WANTED)
            )
        )
    except errors.RevisionNotFoundError:
        raise UserError(
            f"{entry.source} has no revision {entry.revision}; correct the revision of {entry.name} in "
            f"vlmnb/models/families/{entry.family}.py"
        ) from None
    except errors.GatedRepoError:
        raise UserError(
            f"{entry.source} is gated: accept its terms on its page and log in with `hf auth login`, or "
            "measure speed alone with weights: random"
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"the Hub has no repository {entry.source}; correct the source of {entry.name} in "
            f"vlmnb/models/families/{entry.family}.py"
        ) from None
    except Exception as error:  # the client of the Hub lets through whatever its own libraries raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{missing}, and downloading failed ({type(error).__name__}: {reason}); {_ways_out(entry)}"
        ) from None


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
    except FileNotFoundError:
        raise UserError(f"{entry.name}: {path} is missing; {_ways_out(entry)}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{entry.name}: {path} cannot be read: {error}; {_ways_out(entry)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{entry.name}: {path} holds no JSON object; {_ways_out(entry)}")
    return content


def _check_safetensors(entry: ModelEntry, file: Path) -> None:
    """Compare a file's length with its header, which finds a download that was cut off.

    The layout is that of https://huggingface.co/docs/safetensors: eight bytes with the length of the
    header, the header in JSON with the offsets of every tensor, then the tensors.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > size - 8:
            raise UserError(
                f"{entry.name}: {file} is truncated: it ends after {size} bytes, within its header; "
                f"delete it, then {_ways_out(entry)}"
            )
        try:
            header = json.loads(stream.read(length))
            ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError):
            raise UserError(f"{entry.name}: {file} is no safetensors file; {_ways_out(entry)}") from None
    wanted = 8 + length + max(ends, default=0)
    if size != wanted:
        raise UserError(
            f"{entry.name}: {file} is truncated or damaged: {size} bytes where its header says {wanted}; "
            f"delete it, then {_ways_out(entry)}"
        )


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
