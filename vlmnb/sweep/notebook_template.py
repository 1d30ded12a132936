"""Check a notebook template before papermill sees it: it would report each fault with a stack, and late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from vlmnb import paths
from vlmnb.errors import UserError, nearest

_USUAL = "python3"
"""The Jupyter kernel that ipykernel brings."""


class _Cell(BaseModel):
    class Metadata(BaseModel):
        tags: list[str] = []

    cell_type: str
    source: str | list[str]
    metadata: Metadata


class _Notebook(BaseModel):
    class Metadata(BaseModel):
        class Kernel(BaseModel):
            name: str
            language: str

        kernelspec: Kernel
        papermill: dict[str, Any] = {}

    nbformat: int = Field(ge=4, le=4)
    cells: list[_Cell]
    metadata: Metadata


def require(path: Path, kernel: str = "") -> None:
    """Refuse a file that is no notebook, or a template that cannot take parameters or has no Jupyter kernel.

    ``kernel`` is asked for instead of the notebook's own. Other people's notebooks need no parameters.
    """
    again = "restore it, or save it again with Jupyter"
    try:
        text = path.read_text(encoding="utf-8")
        notebook = _Notebook.model_validate_json(text)
    except OSError as error:
        raise UserError(f"cannot read the notebook {path}: {error.strerror or error}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        why = ": ".join([*filter(None, [".".join(map(str, problem["loc"]))]), problem["msg"]])
        why = why if text.strip() else "it is empty"
        raise UserError(f"{path} is no notebook that can be executed ({why}); {again}") from None
    except ValueError:
        raise UserError(f"{path} is no notebook (it is no UTF-8 text); {again}") from None
    ours = "vlmnb" in text or path.resolve().parent == paths.notebook("").resolve().parent
    if ours and not any("parameters" in cell.metadata.tags for cell in notebook.cells):
        raise UserError(f"no cell of {path} has the tag 'parameters', by which papermill finds it; {again}")
    name = kernel or notebook.metadata.kernelspec.name
    if name != _USUAL:
        from jupyter_client.kernelspec import KernelSpecManager

        known = KernelSpecManager().find_kernel_specs()
        if name not in known:
            raise UserError(f"{path} needs the Jupyter kernel {name!r}; {nearest(name, known)}")
