"""Check the notebook templates, which people edit, before anything is executed."""

from __future__ import annotations

import json

from vlmnb import paths
from vlmnb.errors import UserError


def check(axis: str) -> None:
    """Check that the notebook template of an axis can be given parameters.

    Raises:
        UserError: It is missing, no notebook, or has no metadata or no cell with the tag ``parameters``.
    """
    path, problem = paths.notebook(axis), ""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["nbformat"] != 4 or not isinstance(found["metadata"], dict):
            problem = "it is no notebook of format 4 with metadata"
        elif not any("parameters" in cell["metadata"].get("tags", ()) for cell in found["cells"]):
            problem = "no cell has the tag 'parameters'"
    except OSError as error:
        problem = error.strerror or str(error)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"it is no whole notebook ({type(error).__name__}: {error})"
    if problem:
        raise UserError(
            f"cannot execute {path}: {problem}; restore it with: git checkout notebooks/{path.name}"
        )
