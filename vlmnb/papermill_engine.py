"""Papermill's own engine, and a plainer last word where a notebook was given a wrong parameter.

papermill loads its engines when it starts; through this one the package has a say in papermill's process. A
mistake that the notebook explains in one line then ends ``papermill`` with that line alone; every other
error keeps its stack.
"""

from __future__ import annotations

import sys
from types import TracebackType

from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillExecutionError


class Engine(NBClientEngine):  # type: ignore[misc]
    """What papermill does by itself, under a name of this package."""


def _shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, PapermillExecutionError) and error.ename == "UserError":
        print(f"vlmnb: {error.evalue}", file=sys.stderr)
        sys.exit(2)  # as from every command of vlmnb; Python's own would be 1
    else:
        sys.__excepthook__(kind, error, trace)


def install() -> None:
    """Show mistakes plainly, in the ``papermill`` program alone and not where papermill is a library."""
    program = sys.argv[0].replace("\\", "/").removesuffix("/__main__.py").rpartition("/")[2]
    if program == "papermill" and sys.excepthook is sys.__excepthook__:
        sys.excepthook = _shown


install()
