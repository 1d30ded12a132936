"""Show a user's mistake in one line when people call ``papermill`` themselves.

papermill loads its engines when it starts, so an engine of this package can look at the notebook before
papermill does, and install an exception hook: a `UserError` in the notebook, a file that cannot be read or
written and parameters that are no mapping end ``papermill`` with one line; every other error keeps its stack.
"""

from __future__ import annotations

import itertools
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType

import yaml
from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillExecutionError

from vlmnb.errors import UserError, with_name
from vlmnb.sweep import notebook_template, supervisor


class Engine(NBClientEngine):  # type: ignore[misc]
    """papermill's own engine under a name of this package; it changes nothing."""


def _shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, PapermillExecutionError) and error.ename == "UserError":
        line = str(error.evalue)
    elif isinstance(error, (OSError, yaml.YAMLError)):
        line = with_name(error)
    elif isinstance(error, UserError):
        line = str(error)
    elif kind in (TypeError, ValueError, RecursionError) and _in_parameters(trace):
        line = (
            f"the parameters cannot be used ({error}); give -y, -b or -f names with values: '{{samples: 8}}'"
        )
    else:
        return sys.__excepthook__(kind, error, trace)
    print(f"vlmnb: {line}", file=sys.stderr)
    sys.exit(2)  # as every command of vlmnb does; Python alone would exit with 1


def _in_parameters(trace: TracebackType | None) -> bool:
    """Return whether papermill was still reading its parameters, or writing them into the notebook."""
    modules = {frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(trace)}
    return "papermill.cli" in modules and "papermill.engines" not in modules


def install() -> None:
    """Install the hook in the ``papermill`` program, not in programs that use papermill as a library."""
    program, *words = sys.argv
    if program == "-m":  # Python has not replaced it yet while it looks for the module
        program = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    name = program.replace("\\", "/").removesuffix("/__main__.py").rpartition("/")[2]
    if name == "papermill" and sys.excepthook is sys.__excepthook__:
        sys.excepthook = _shown
        os.environ.update(supervisor.with_bytecode())
        given = next((Path(word) for word in words if word.endswith(".ipynb")), None)
        if given and given.exists() and "-" not in words:  # else it comes from elsewhere
            kernels = [after for word, after in itertools.pairwise(words) if word in ("-k", "--kernel")]
            notebook_template.require(given, *kernels[-1:])


install()
