"""Turn what stops a cell into the status and the reason that its record carries."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlmnb.device.machine import versions
from vlmnb.errors import one_line
from vlmnb.types import Status

FULL = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What errors without a class of their own say when memory is full; the last is of CUDA's libraries."""


class NotMeasured(Exception):
    """A cell that cannot be measured; the message is the reason that its record carries."""

    status: Status = "failed"


class Unsupported(NotMeasured):
    """The cell cannot run on this machine, or with these libraries."""

    status = "unsupported"


class NotApplicable(NotMeasured):
    """The cell asks for something that the model's architecture does not have."""

    status = "not_applicable"


class NotEnoughTokens(NotMeasured):
    """The prompt length cannot hold the template and one token of the question."""

    status = "not_enough_tokens"


class CallFailed(Exception):
    """Calling the model on these inputs raised an exception, which is the cause of this one."""

    def __init__(self, inputs: Any) -> None:
        super().__init__()
        self.inputs = inputs


@contextlib.contextmanager
def calling(inputs: Any) -> Iterator[None]:
    """Raise what a call of the model raises within the block as ``CallFailed``."""
    try:
        yield
    except Exception as error:
        raise CallFailed(inputs) from error


def raised_in(error: BaseException) -> str:
    """Return the package, its version and its function that raised; empty if it was none but this project.

    torch's is passed over for that of the package that called it.
    """
    found = error.__cause__ if isinstance(error, CallFailed) else error
    frames = traceback.extract_tb(found.__traceback__) if found else []
    named = [(re.search(r"(?:site|dist)-packages/(\w+)", frame.filename), frame) for frame in frames]
    packages = [(name[1], frame) for name, frame in named if name and name[1] != "vlmnb"]
    others = [one for one in packages if one[0] != "torch"] or packages
    if not others:
        return ""
    package, frame = others[-1]
    version = versions(package).get(package, "of an unknown version")
    return f"{package} {version}, {frame.name} in {Path(frame.filename).name}"


def of(error: BaseException) -> tuple[Status, str]:
    """Return the status and a one-line reason for an exception of this project or of a library."""
    import torch

    if isinstance(error, CallFailed) and error.__cause__:
        return of(error.__cause__)
    if isinstance(error, NotMeasured):
        return error.status, one_line(error, 1900)
    text = one_line("".join(traceback.format_exception_only(error)), 1900)
    full = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    full |= any(sign in text for sign in FULL)
    return "out_of_memory" if full else "failed", text
