"""The one exception that means "you can mend this": shown as a line, never as a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what was asked for. The message says what, where and what to do."""

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: in a notebook the message stands alone, without a stack."""
        return [f"{type(self).__name__}: {self}"]


def nearest(name: str, known: Iterable[str]) -> str:
    """A closing clause for "unknown X" messages: the likeliest name, then all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
