"""Turn what stops a cell into the status and the reason that its record carries."""

from __future__ import annotations

from vlmnb.errors import one_line
from vlmnb.types import Status


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


def of(error: BaseException, *, tried: bool) -> tuple[Status, str]:
    """Return the status and a one-line reason for an exception of this project or of a library.

    ``tried``: the cell's optimization asks for something that not every model and machine has. A library's
    exception then means that it cannot do it here.
    """
    import torch

    text = one_line(error, 1900)
    if isinstance(error, NotMeasured):
        return error.status, text
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return "out_of_memory", text or "out of memory"
    full = "can't allocate memory" in text or "out of memory" in text
    status: Status = "out_of_memory" if full else "unsupported" if tried else "failed"
    return status, f"{type(error).__name__}: {text}"
