"""What stops a cell, as the status and the reason that its record carries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from vlmnb.measure.encoding import NotEnoughTokens
from vlmnb.measure.loading import NotApplicable, Unsupported
from vlmnb.spec import optimizations
from vlmnb.types import Status


@dataclass
class Outcome:
    """What became of a cell that could not be measured."""

    status: Status = "failed"
    reason: str = ""


_LIBRARY_ERRORS = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError,
                   AssertionError, ImportError)  # fmt: skip


@contextlib.contextmanager
def told(optimization: optimizations.Optimization) -> Iterator[Outcome]:
    """Turn what stops a cell into a status and a one-line reason.

    What a library raises where a kernel, a quantization, the compiler or a way of decoding is asked of it is
    how it says that it cannot do that here. Trying is how that is found out.
    """
    import torch

    outcome = Outcome()
    try:
        yield outcome
    except NotEnoughTokens as error:
        outcome.status, outcome.reason = "not_enough_tokens", str(error)
    except NotApplicable as error:
        outcome.status, outcome.reason = "not_applicable", str(error)
    except Unsupported as error:
        outcome.status, outcome.reason = "unsupported", str(error)
    except (torch.OutOfMemoryError, MemoryError) as error:
        outcome.status, outcome.reason = "out_of_memory", " ".join(str(error).split()) or "out of memory"
    except _LIBRARY_ERRORS as error:
        text = " ".join(str(error).split())
        full = "can't allocate memory" in text or "out of memory" in text
        outcome.status = "out_of_memory" if full else "unsupported" if optimization.tried else "failed"
        outcome.reason = f"{type(error).__name__}: {text}"
