"""The process that executes a run's notebook with papermill and says in ``outcome.json`` how it went."""

from __future__ import annotations

import ctypes
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

from vlmnb import paths
from vlmnb.errors import UserError
from vlmnb.spec import axes

_NO_FAULT_OF_THE_CELL = re.compile(r"\[Errno (5|13|28|30|116|122)\]")
"""Errors of a file system: input/output, permission, full, read-only, stale handle, quota."""


def main(request: dict[str, Any]) -> int:
    """Execute a notebook.

    Args:
        request: ``axis``, ``parameters``, ``output`` (the notebook to write), ``sockets`` (a folder with a
            short path, of this run alone) and ``outcome`` (the file that says how it went: ``kind`` and
            ``error``).
    """
    _die_with_parent()
    kind, error = "infrastructure", ""
    try:
        kind, error = _papermill(
            **{name: request[name] for name in ("axis", "parameters", "output", "sockets")}
        )
    except UserError as mistake:
        kind, error = "failed", str(mistake)
    except (
        Exception
    ) as trouble:  # papermill, the kernel's start, sockets, a full disk: nothing of the notebook's
        error = f"{type(trouble).__name__}: {_line(trouble)}"
    if error:
        print(error, file=sys.stderr)
    Path(request["outcome"]).write_text(json.dumps({"kind": kind, "error": error}), encoding="utf-8")
    return int(bool(error))


def _papermill(axis: str, parameters: dict[str, Any], output: str, sockets: str) -> tuple[str, str]:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    axes.plan(axis, parameters)
    kernels = _kernel_class()
    # Socket files instead of TCP ports: kernels started at one time would race for the ports.
    own = {"transport": "ipc", "ip": f"{sockets}/k", "connection_file": f"{sockets}/kernel.json"}
    settings = Config(KernelManager=own)
    settings.HistoryManager.enabled = False
    try:
        papermill.execute_notebook(
            str(paths.notebook(axis)),
            output,
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            autosave_cell_every=0,
            config=settings,
            kernel_manager_class=kernels,
        )
    except PapermillExecutionError as error:
        said = f"{error.ename}: {_line(error.evalue)}"
        outside = _NO_FAULT_OF_THE_CELL.search(said) and error.ename in ("OSError", "PermissionError")
        return ("infrastructure" if outside else "failed"), said
    except DeadKernelError:
        return "died", f"the kernel died{_cause(kernels.exit_code)}"
    return "ok", ""


def _kernel_class() -> Any:
    """A kernel manager that remembers how its kernel ended."""
    from jupyter_client.manager import AsyncKernelManager

    class Remembering(AsyncKernelManager):
        exit_code: int | None = None

        async def _async_is_alive(self) -> bool:
            code = await self.provisioner.poll() if self.provisioner else None
            if code is not None:
                type(self).exit_code = code
            return bool(await super()._async_is_alive())

        is_alive = _async_is_alive

    return Remembering


def _cause(code: int | None) -> str:
    if code is None:
        return ""
    if code >= 0:
        return f": it ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = {
        "SIGKILL": ", as the system does when memory runs out",
        "SIGSEGV": ", a crash in native code",
    }
    return f": signal {-code} ({name}){hint.get(name, '')}"


def _line(text: object) -> str:
    said = " ".join(str(text).split())
    return said if len(said) <= 1000 else said[:999] + "…"


def _die_with_parent() -> None:
    """End with the supervisor, should that be killed; the kernel ends by itself once papermill is gone."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # <sys/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
