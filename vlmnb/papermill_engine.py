"""Show a user's mistake in one line when people call ``papermill`` themselves.

papermill loads its engines when it starts, so an engine of this package can look at the notebook before
papermill does, and install an exception hook: a `UserError` in the notebook, a file that cannot be read or
written and parameters that are no mapping end ``papermill`` with one line; every other error keeps its stack.
"""

from __future__ import annotations

import itertools
import keyword
import logging
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.translators import PythonTranslator, papermill_translators

from vlmnb.errors import UserError, with_name
from vlmnb.sweep import notebook_template, supervisor


class Engine(NBClientEngine):  # type: ignore[misc]
    """papermill's own engine, with a Jupyter kernel that does not log what happens in every good run.

    ipykernel warns that it uses TCP without encryption, on this machine alone, and logs an error when
    papermill ends it with an interrupt. What the notebook raises, and why a kernel dies, is still shown.
    """

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        """Execute a notebook."""
        quiet = {"extra_arguments": [f"--IPKernelApp.log_level={logging.CRITICAL}"]}
        return super().execute_managed_notebook(nb_man, kernel_name, **{**quiet, **options})


class Translator(PythonTranslator):  # type: ignore[misc]
    """papermill's own, but for parameters that make no Python: they would be written and end with a stack."""

    @classmethod
    def codify(cls, parameters: Any, comment: str = "Parameters") -> str:
        """Return the code of the parameters cell.

        Raises:
            UserError: A name is no name of Python, or a value is of no type that YAML's plain values have.
        """
        for name, value in parameters.items():
            if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
                raise UserError(
                    f"{name!r} cannot name a parameter; give a name and a value: '{{samples: 8}}'"
                )
            _require_plain(name, value)
        return str(super().codify(parameters, comment))


def _require_plain(name: str, value: Any) -> None:
    if isinstance(value, (list, dict)):
        for each in [*value, *(value.values() if isinstance(value, dict) else ())]:
            _require_plain(name, each)
    elif not isinstance(value, (str, int, float, type(None))):
        raise UserError(f"{name} takes text, numbers, true, false or lists of them, got {value!r}")


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
        papermill_translators.register("python", Translator)
        papermill_engines.register(None, Engine)
        os.environ.update(supervisor.with_bytecode())
        given = next((Path(word) for word in words if word.endswith(".ipynb")), None)
        if given and given.exists() and "-" not in words:  # else it comes from elsewhere
            kernels = [after for word, after in itertools.pairwise(words) if word in ("-k", "--kernel")]
            notebook_template.require(given, *kernels[-1:])


install()
