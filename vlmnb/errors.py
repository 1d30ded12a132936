"""The exception for what the user can correct: it is shown as a line, never as a traceback."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

Place = tuple[str | int, ...]
"""Where in a file: keys and list positions from the top."""


class UserError(Exception):
    """A mistake in what the user asked for. The message says what, where and what to do.

    Attributes:
        place: Where in the sweep file the mistake is, as far as it is known.
    """

    def __init__(self, message: str, place: Place = ()) -> None:
        super().__init__(message)
        self.place = place

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in a notebook: the message without a stack."""
        return [f"{type(self).__name__}: {self}"]


class Damaged(ValueError):
    """A file in a record's place that is no record, or no record that this code can read.

    Attributes:
        why: What is wrong with it, to be read after its name.
    """

    def __init__(self, path: str | Path, why: str) -> None:
        super().__init__(f"{path} {why}")
        self.path, self.why = Path(path), why

    @classmethod
    def unreadable(cls, path: str | Path, error: OSError) -> Damaged:
        """Make the error for a file that cannot be opened."""
        if os.path.islink(path) and not os.path.exists(path):
            return cls(path, f"is a link to {os.readlink(path)}, which is not there")
        return cls(path, f"cannot be read: {error.strerror or error}")


@contextlib.contextmanager
def placed(*place: str | int) -> Iterator[None]:
    """Give an error within the block this place in the file, unless it has one."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error), error.place or place) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an "unknown X" message: the most similar name, then all names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"


def with_name(error: Exception) -> str:
    """Return the kind of an exception and its message, in one line."""
    return f"{type(error).__name__}: {one_line(error)}"


def one_line(text: object, most: int = 1000) -> str:
    """Return a text, or the message of an exception, on one line of at most ``most`` characters.

    A longer one is cut at a blank.
    """
    line = " ".join(str(text).split())
    if len(line) <= most:
        return line
    cut = line[: most - 1]
    end = cut.rfind(" ")
    return (cut[:end] if end > most // 2 else cut) + "…"
