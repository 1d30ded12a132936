"""Notebooks of recorded figures, executed here and now instead of in a kernel of their own.

A notebook that measures needs a process of its own, which papermill gives it. One that shows what the
reports say only reads records; a book has fifteen of them, and a kernel for each would take longer than all
they do.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from typing import Any

from vlmnb import paths
from vlmnb.book.postprocess import Notebook

INJECTED = "injected-parameters"


class Renderer:
    """An IPython shell of this process, for notebooks that read and measure nothing.

    The shell is IPython's one instance; it goes when the block ends.
    """

    def __enter__(self) -> Renderer:
        """Start the shell."""
        import matplotlib
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        matplotlib.use("agg")
        settings = Config()
        settings.HistoryManager.enabled = False
        self._shell = InteractiveShell.instance(config=settings, user_module=types.ModuleType("page"))
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of it."""
        sys.modules.pop("page", None)
        type(self._shell).clear_instance()

    def execute(self, axis: str, parameters: Mapping[str, Any]) -> Notebook:
        """A notebook of an axis with its outputs, in the form in which papermill leaves one.

        Raises:
            UserError: What the notebook itself raises, of this or any other kind.
        """
        notebook: Notebook = json.loads(paths.notebook(axis).read_text(encoding="utf-8"))
        notebook["cells"] = [
            part
            for cell in notebook["cells"]
            for part in (cell, *([_injected(parameters)] if "parameters" in _tags(cell) else []))
        ]
        notebook["metadata"]["papermill"] = {"parameters": dict(parameters)}
        self._shell.reset(new_session=True)
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, cell in enumerate(code, start=1):
            cell["execution_count"] = number
            cell["outputs"] = self._run("".join(cell["source"]))
        return notebook

    def _run(self, source: str) -> list[dict[str, Any]]:
        from IPython.utils.capture import capture_output

        with capture_output() as caught:
            result = self._shell.run_cell(source, store_history=True)
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            raise error
        outputs = [
            {"output_type": "display_data", "data": _plain(shown.data), "metadata": shown.metadata or {}}
            for shown in caught.outputs
        ]
        for name in ("stdout", "stderr"):
            if text := getattr(caught, name):
                outputs.append({"output_type": "stream", "name": name, "text": text})
        return outputs


def _tags(cell: Mapping[str, Any]) -> list[str]:
    return list(cell.get("metadata", {}).get("tags", ()))


def _injected(parameters: Mapping[str, Any]) -> dict[str, Any]:
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    return {
        "cell_type": "code", "execution_count": None, "metadata": {"tags": [INJECTED]}, "outputs": [],
        "source": "\n".join(["# Parameters", *lines]) + "\n",
    }  # fmt: skip


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Output data as a notebook file has it: images as base64 text."""
    import base64

    return {
        kind: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for kind, value in data.items()
    }
