"""Show a wrong notebook parameter in one line when people call ``papermill`` themselves.

papermill loads its engines when it starts, so an engine of this package can install an exception hook there.
A `UserError` in the notebook then ends ``papermill`` with one line; every other error keeps its stack.
"""

from __future__ import annotations

import sys
from types import TracebackType

from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillExecutionError


class Engine(NBClientEngine):  # type: ignore[misc]
    """papermill's own engine under a name of this package; it changes nothing."""


def _shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, PapermillExecutionError) and error.ename == "UserError":
        print(f"vlmnb: {error.evalue}", file=sys.stderr)
        sys.exit(2)  # as every command of vlmnb does; Python alone would exit with 1
    else:
        sys.__excepthook__(kind, error, trace)


def install() -> None:
    """Install the hook in the ``papermill`` program, not in programs that use papermill as a library."""
    program = sys.argv[0].replace("\\", "/").removesuffix("/__main__.py").rpartition("/")[2]
    if program == "papermill" and sys.excepthook is sys.__excepthook__:
        sys.excepthook = _shown


install()
