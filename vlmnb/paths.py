"""Every file name the project builds, and the one way a file is written."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def root() -> Path:
    """Return the project's folder: ``VLMNB_ROOT`` if set, else the checkout that holds this package."""
    return Path(os.environ.get("VLMNB_ROOT") or _CHECKOUT)


def resolve(path: str | Path) -> Path:
    """Return a path that a user gave; a relative one counts from the project's folder."""
    return Path(path) if Path(path).is_absolute() else root() / path


def from_here(path: Path) -> Path:
    """Return a path given on the command line in full; a relative one counts from the working folder."""
    return Path(os.path.abspath(path))


def notebook(axis: str) -> Path:
    """Return the notebook template of an axis."""
    return root() / "notebooks" / f"{axis}.ipynb"


def bundled_model(name: str) -> Path:
    """Return the folder of a checkpoint that ships with the project."""
    return root() / "models" / name


def bundled_data(name: str) -> Path:
    """Return the Parquet file of a data set that ships with the project."""
    return root() / "data" / name / "test.parquet"


def transcripts() -> Path:
    """Return the folder of the transcribed reports."""
    return root() / "reports"


def compiled_code() -> Path:
    """Return the folder in the user's cache in which torch keeps compiled code between processes."""
    return _cache() / "inductor"


def parsed_code() -> Path:
    """Return the folder in the user's cache that keeps the definitions found in modules of the package."""
    return _cache() / "definitions"


def hash_of(file: Path) -> Path:
    """Return the file in the user's cache that keeps the hash of a large file."""
    return _cache() / "hashes" / str(file.absolute()).lstrip("/")


def counted_flops() -> Path:
    """Return the folder of FLOP counts, which are made once for each model and shape of its inputs."""
    return _cache() / "flops"


def bytecode() -> Path:
    """Return the folder in the user's cache for Python's bytecode where it is not kept beside the sources."""
    return _cache() / "bytecode"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vlmnb"


def data_folder() -> Path | None:
    """Return ``VLMNB_DATA``, a folder of data sets in the Hub's layout (``<owner>/<name>/<files>``)."""
    given = os.environ.get("VLMNB_DATA")
    return resolve(given) if given else None


def kept_samples(dataset: str, revision: str, choice: str) -> Path:
    """Return the folder of samples chosen earlier from a data set on the Hub, beside the Hub's own cache."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return home / "vlmnb" / dataset / re.sub(r"[^\w.-]+", "-", revision) / choice


def model_folder(model: str) -> str:
    """Return the name of a model's folders: slashes of a repository or a path become ``--``.

    A folder near the root ends in ``--``, or it would be named as a page, a bundled model or a repository.
    """
    near_root = model.startswith("/") and model.strip("/").count("/") < 2
    return model.strip("/").replace("/", "--") + "--" * near_root


def record(results: Path, hardware: str, model: str, key: str) -> Path:
    """Return the file of a record."""
    return results / f"{hardware}/{model_folder(model)}/{key}.json"


def turns(results: Path, hardware: str, model: str) -> Path:
    """Return the folder of the turns that cells of a model took on a machine."""
    return results / hardware / model_folder(model) / "turns"


def damaged(record: Path) -> Path:
    """Return where to keep a file that lies in a record's place but is no record."""
    return record.with_suffix(".damaged")


def executed(runs: Path, model: str, axis: str) -> Path:
    """Return the executed notebook of a run that succeeded."""
    return runs / model_folder(model) / f"{axis}.ipynb"


def executed_report(runs: Path, model: str, axis: str) -> Path:
    """Return the executed notebook that shows a report's table of an axis."""
    return runs / "reports" / model_folder(model) / f"{axis}.ipynb"


def failure(runs: Path, model: str, axis: str) -> Path:
    """Return the JSON file on a run that failed; its notebook lies beside it."""
    return runs / "failures" / model_folder(model) / f"{axis}.json"


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give a block a file beside a path, and put it in its place in one step when the block succeeds.

    Readers see the old file or the new one, never a part; after an exception ``path`` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    make = functools.partial(tempfile.mkstemp, prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        handle, name = make()
    except FileNotFoundError:  # another process removed the folder, which was empty
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = make()
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.chmod(0o644)
        scratch.replace(path)
    except OSError as error:
        if error.errno and not error.filename:  # as of an open file; the user asks which disk is full
            error.filename = str(path)
        raise
    finally:
        scratch.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Write a text to a file in one step, so that nobody sees it half written."""
    with temporary_beside(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
