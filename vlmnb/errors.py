"""The one exception that means "you can mend this": shown as a line, never as a traceback."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator

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
