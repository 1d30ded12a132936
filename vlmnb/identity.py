"""Content keys: which record answers for a cell here and now.

The key hashes everything that can move a number: the cell, the weights, the data, the measuring code,
the versions of the packages that compute, and the machine. A record of the same cell under another key
is *stale*: worth showing, not worth trusting blindly.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vlmnb import data, machine, models, paths, spec
from vlmnb.record import SCHEMA_VERSION
from vlmnb.spec import Cell

PACKAGES = ("torch", "transformers", "tokenizers", "pillow", "codecarbon", "fvcore", "jiwer")
MEASURING = (
    "prompts.py", "data.py", "optimizations.py", "meters.py", "flops.py", "quality.py", "measure.py",
    "loading.py", "encoding.py", "models",
)  # fmt: skip


def key(cell: Cell) -> str:
    """Content key of a cell on this machine, 16 hexadecimal digits."""
    return spec.digest(
        {
            "schema": SCHEMA_VERSION,
            "cell": cell.model_dump(),
            "weights": weights_revision(cell),
            "data": data.revision(cell.dataset),
            "code": code_fingerprint(),
            "packages": packages(),
            "machine": machine.describe().fingerprint,
        }
    )


def record_path(cell: Cell, results: Path) -> Path:
    """Where the record of a cell measured here and now lies, or will lie."""
    return paths.record(results, machine.describe().slug, cell.model, key(cell))


def weights_revision(cell: Cell) -> str:
    """Hash of the bundled weights, or the Hub revision; ``random`` for random weights."""
    if cell.weights == "random":
        return "random"
    entry = models.get(cell.model)
    return entry.source or data.file_hash(paths.bundled_model(entry.name) / "model.safetensors")


@functools.cache
def packages() -> dict[str, str]:
    """Versions of the packages that can move a number; an absent one is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def code_fingerprint() -> str:
    """Hash of the measuring code as the interpreter sees it: comments and docstrings do not count."""
    here = Path(__file__).parent
    files = [
        f
        for name in MEASURING
        for f in ([here / name] if name.endswith(".py") else (here / name).glob("*.py"))
    ]
    seen = hashlib.sha256()
    for file in sorted(files):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
                node, False
            ):
                node.body = node.body[1:] or [ast.Pass()]
        seen.update(f"{file.name}\n{ast.unparse(tree)}\n".encode())
    return seen.hexdigest()[:16]
