"""The process that executes a run's notebook with papermill and writes to ``result.json`` how it ended."""

from __future__ import annotations

import ctypes
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any, cast

from vlmnb import paths
from vlmnb.errors import UserError, one_line, with_name
from vlmnb.sweep import notebook_template, supervisor, warm

_NOT_THE_NOTEBOOKS_FAULT = re.compile(r"\[Errno (5|13|28|30|116|122)\]")
"""Errors of a file system: input/output, permission, full, read-only, stale handle, quota."""


def main(request: dict[str, Any]) -> int:
    """Execute the notebook of a request into its folder ``scratch``.

    It writes ``out.ipynb``, and ``result.json`` with ``kind`` and ``error``.
    """
    if sys.platform == "linux":
        # End if the supervisor is killed; the Jupyter kernel ends by itself once papermill is gone.
        pr_set_pdeathsig = 1  # <sys/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    scratch = Path(request["scratch"])
    try:
        kind, error = _papermill(request)
    except UserError as mistake:
        kind, error = "failed", str(mistake)
    except Exception as trouble:  # papermill, the kernel's start, sockets, a full disk: not the notebook
        kind, error = "infrastructure", with_name(trouble)
    if error:
        print(error, file=sys.stderr)
    (scratch / "result.json").write_text(json.dumps({"kind": kind, "error": error}), encoding="utf-8")
    return int(bool(error))


def _papermill(request: dict[str, Any]) -> tuple[str, str]:
    """Execute a notebook; return the kind of its result and an error in one line, or an empty text."""
    # papermill imports it for a file system that it is not asked for, which takes as long as the rest.
    sys.modules.setdefault("pyarrow", cast(Any, None))
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    kernels, sockets, notebook = _kernel_class(request), request["sockets"], paths.notebook(request["axis"])
    notebook_template.require(notebook)
    # Socket files instead of TCP ports: kernels that start at the same time would race for the ports.
    own = {"transport": "ipc", "ip": f"{sockets}/k", "connection_file": f"{sockets}/kernel.json"}
    settings = Config(KernelManager=own)
    settings.HistoryManager.enabled = False
    try:
        executed = papermill.execute_notebook(
            str(notebook),
            f"{request['scratch']}/out.ipynb",
            parameters=request["parameters"],
            kernel_name="python3",
            progress_bar=False,
            autosave_cell_every=0,
            shutdown_kernel="immediate",
            config=settings,
            kernel_manager_class=kernels,
        )
    except PapermillExecutionError as error:
        line = f"{error.ename}: {one_line(error.evalue)}"
        outside = _NOT_THE_NOTEBOOKS_FAULT.search(line) and error.ename in ("OSError", "PermissionError")
        return ("infrastructure" if outside else "failed"), line
    except DeadKernelError:
        return "died", f"the Jupyter kernel died{_cause(kernels.exit_code)}"
    return _unfinished(executed) or ("ok", "")


def _unfinished(executed: Any) -> tuple[str, str] | None:
    """Return what is wrong with a notebook that papermill takes for finished; None if nothing is.

    papermill stops at ``sys.exit(0)`` without an error, and a cell without an execution count never ran.
    """
    for number, cell in enumerate(executed.cells, start=1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if any(output.output_type == "error" for output in cell.outputs):
            why = "called sys.exit(); the cells after it did not run"
            return "failed", f"cell {number} of the notebook {why}"
        if cell.execution_count is None:
            return "died", f"cell {number} of the notebook did not run; the Jupyter kernel may have died"
    return None


def _kernel_class(request: dict[str, Any]) -> Any:
    """Return a kernel manager that forks its Jupyter kernel from a warm parent and remembers its exit code.

    The kernel starts as an ordinary process if there is no such parent or it cannot serve.
    """
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_client.provisioning.local_provisioner import LocalProvisioner

    class Forking(LocalProvisioner):
        async def launch_kernel(self, cmd: list[str], **how: Any) -> Any:
            module, arguments = cmd[2:3], cmd[3:]
            try:
                if module != [warm.LAUNCHER]:
                    raise OSError(f"it cannot become {module}")
                forked: Any = warm.ForkedKernel(request["warm"], arguments, how["env"], how.get("cwd") or "")
            except OSError as error:
                print(f"no warm start ({error}); an ordinary Jupyter kernel starts", file=sys.stderr)
                return await super().launch_kernel(cmd, **how)
            supervisor.note_guard(Path(request["scratch"]), forked.guard)
            self.process, self.pid, self.pgid = forked, forked.pid, forked.pid
            return self.connection_info

    class Remembering(AsyncKernelManager):
        exit_code: int | None = None

        async def _async_pre_start_kernel(self, **how: Any) -> Any:
            if request.get("warm") and self.provisioner is None:
                self.kernel_id = self.kernel_id or "notebook"
                self.provisioner = Forking(
                    kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self
                )
            return await super()._async_pre_start_kernel(**how)

        async def _async_is_alive(self) -> bool:
            code = await self.provisioner.poll() if self.provisioner else None
            if code is not None:
                type(self).exit_code = code
            return bool(await super()._async_is_alive())

        pre_start_kernel, is_alive = _async_pre_start_kernel, _async_is_alive

    return Remembering


def _cause(code: int | None) -> str:
    if code is None:
        return ""
    if code >= 0:
        return f": it ended with exit code {code}"
    hints: dict[int, str] = {
        signal.SIGKILL: ", as the system does when memory runs out",
        signal.SIGSEGV: ", a crash in native code",
    }
    return f": signal {-code} ({signal.strsignal(-code)}){hints.get(-code, '')}"


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
