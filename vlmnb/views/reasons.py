"""Why there is no number, in a line for readers; tooltips have the words of the records."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from vlmnb.files import plain_yaml


def readable(reason: str) -> str:
    """Return the reason in a record as pages show it: without the text of a library's exception."""
    for pattern, line in _known():
        if found := pattern.search(reason):
            return found.expand(line)
    return reason


@cache
def _known() -> list[tuple[re.Pattern[str], str]]:
    listed = plain_yaml.load(Path(__file__).with_suffix(".yaml"))
    return [(re.compile(pattern), line) for pattern, line in listed]
