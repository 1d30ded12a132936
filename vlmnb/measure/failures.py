"""Turn what stops a cell into the status and the reason that its record carries."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any

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
