"""The one exception that means "you can mend this": shown as a line, never as a traceback."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

Place = tuple[str | int, ...]
"""Where in a file: keys and list positions from the top."""


class UserError(Exception):
    """A mistake in what was asked for. The message says what, where and what to do.

    Attributes:
        place: Where in the sweep file the mistake stands, as far as it is known.
    """

    def __init__(self, message: str, place: Place = ()) -> None:
        """Take the line to show."""
        super().__init__(message)
        self.place = place

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: in a notebook the message stands alone, without a stack."""
        return [f"{type(self).__name__}: {self}"]


class Damaged(ValueError):
    """A file in a record's place that is no record, or none that this code reads.

    Attributes:
        path: The file.
        why: What is the matter with it, to stand behind its name.
    """

    def __init__(self, path: str | Path, why: str) -> None:
        """Take the file and what is the matter with it."""
        super().__init__(f"{path} {why}")
        self.path, self.why = Path(path), why

    @classmethod
    def unreadable(cls, path: str | Path, error: OSError) -> Damaged:
        """Of a file that the system does not give."""
        if os.path.islink(path) and not os.path.exists(path):
            return cls(path, f"is a link to {os.readlink(path)}, which is not there")
        return cls(path, f"cannot be read: {error.strerror or error}")


@contextlib.contextmanager
def placed(*place: str | int) -> Iterator[None]:
    """A mistake found within the block stands at this place of the file, unless it knows better."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error), error.place or place) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """A closing clause for "unknown X" messages: the likeliest name, then all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"


def one_line(text: object, most: int = 1000) -> str:
    """Return a text, or the message of an exception, on one line of at most so many characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
