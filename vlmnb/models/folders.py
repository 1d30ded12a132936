"""Where the files of a model lie: in a folder of the user, in the cache of the Hub, or on the Hub."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vlmnb import paths
from vlmnb.errors import UserError, one_line

if TYPE_CHECKING:
    from vlmnb.models.entry import ModelEntry

FOLDERS = "VLMNB_CHECKPOINTS"
"""Environment variable: a folder of checkpoints, each in it as ``<model>/`` or ``<owner>/<repository>/``."""

REACH_S = 5.0
"""Seconds within which the Hub must take a connection, so that a missing network is reported at once."""


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
    """Say how to get a model's weights; random ones need its configuration."""
    if entry.bundled:
        return f"restore it with: git checkout -- {paths.bundled_model(entry.name)}"
    configured = not entry.generic or (anywhere(entry) / "config.json").is_file()
    random = (
        ", or measure speed alone with weights: random (papermill: -p weights random)" if configured else ""
    )
    if entry.source.startswith("/"):
        return f"put the whole checkpoint there{random}"
    places = " or ".join(dict.fromkeys((f"{entry.name}/", f"{entry.source}/")))
    revision = f" --revision {entry.revision}" if entry.revision else ""
    return (
        f"download it with `hf download {entry.source}{revision}`, or set {FOLDERS} to a folder that "
        f"has it as {places}{random}"
    )


UNREAD = ("*/*.safetensors", "consolidated*.safetensors")
"""Weights that repositories have beside those of transformers: of other models or in other layouts."""


def on_the_hub(entry: ModelEntry, patterns: Sequence[str]) -> list[str]:
    """Return the files of a repository that match; none if it cannot be asked."""
    import huggingface_hub

    try:
        names = huggingface_hub.list_repo_files(entry.source, revision=entry.revision or None)
    except Exception:  # the list only explains what is missing
        return []
    return sorted(name for name in names if any(fnmatch(name, one) for one in patterns))


def fetch(entry: ModelEntry, missing: str, patterns: Sequence[str]) -> Path:
    """Download files of a model's repository into the Hub's cache and return the folder of its revision.

    Args:
        entry: Names the repository and, if it pins one, the revision.
        missing: What is missing; the message begins with it.
        patterns: Which files.

    Raises:
        UserError: The Hub is not to be asked, cannot be reached, or refuses; or the disk is full.
    """
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{missing}, and HF_HUB_OFFLINE forbids downloads; {ways_out(entry)}")
    if not _reachable(constants.ENDPOINT):
        raise UserError(f"{missing}, and {constants.ENDPOINT} cannot be reached; {ways_out(entry)}")
    try:
        found = huggingface_hub.snapshot_download(
            entry.source, revision=commit(entry), allow_patterns=list(patterns),
            ignore_patterns=list(UNREAD),
        )  # fmt: skip
    except Exception as error:  # the client of the Hub lets through whatever its own libraries raise
        reason = f"downloading failed ({type(error).__name__}: {one_line(error, 200)})"
        why = _refused(entry, error) or f"{reason}; {ways_out(entry)}"
        raise UserError(f"{missing}, and {why}") from None
    return Path(found)


def _refused(entry: ModelEntry, error: BaseException | None) -> str:
    """Say why the Hub or the disk refused a download, with the way out; empty if that is not known."""
    from huggingface_hub import constants, errors

    log_in = "log in with `hf auth login` (or set HF_TOKEN) with a token that may read it"
    while error is not None:  # the client raises errors of its own from those that have the answer
        code = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"no space is left in {constants.HF_HUB_CACHE}; free some, or set HF_HOME to another disk"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{entry.source} has no revision {commit(entry)} on the Hub"
        if isinstance(error, errors.GatedRepoError) or code == 403:
            return f"{entry.source} is gated, or the token has no rights: accept its terms there, {log_in}"
        if code == 401:
            return f"the token is wrong, expired or without rights, or there is none (401): {log_in}"
        if isinstance(error, errors.RepositoryNotFoundError) or code == 404:
            return f"the Hub has no repository {entry.source}: the name is wrong, or it was moved or deleted"
        error = error.__cause__ or error.__context__
    return ""


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
