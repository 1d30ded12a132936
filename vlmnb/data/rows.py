"""Read the columns of a row, in whatever type a user's file has them, where the meaning is plain."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any, NamedTuple

from vlmnb.errors import one_line

Values = Mapping[str, Any]
Texts = tuple[str, ...]

_BESIDE_ANOTHER = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?=\s+['"])""")
_ARRAY = re.compile(r"\barray\((\[.*?\])(?:,\s*dtype=\w+)?\)", re.DOTALL)

_PRINT = re.compile(r"[\[{]|\(\s*['\"]")
_LETTERED = re.compile(r"\(?([A-Za-z])\s*[.):]\s*(\S.*)", re.DOTALL)


class BadRow(ValueError):
    """A row that cannot be used; the message names the column and what is wrong with it."""


class Row(NamedTuple):
    """A row of a data set: what identifies it there, its columns, its file and its number in that file."""

    place: str
    values: Values
    file: str
    number: int


def text(row: Values, column: str, *, needed: bool = True) -> str:
    """Return a text; one that is not needed may be missing, and is then empty."""
    value = _decoded(row[column])
    if isinstance(value, str) and (value.strip() or not needed):
        return value if value.strip() else ""
    if needed or not _missing(value):
        raise BadRow(f"{column} is {shown(value)}, no text")
    return ""


def references(row: Values, column: str) -> Texts:
    """Return the accepted answers: a list, or one alone. Numbers are read as text, missing ones left out."""
    value = _decoded(row[column])
    several = _printed(value) if isinstance(value, str) else value
    several = several if isinstance(several, (list, tuple)) else [value]
    # In VQA v2 each answer is a dictionary.
    answers = [each.get("answer", each) if isinstance(each, dict) else each for each in several]
    return tuple(_plain(each, column) for each in answers if not _missing(each))


def choices(row: Values, column: str) -> dict[str, str]:
    """Return choices by label, given a list, texts by label, lists of ``text`` and ``label``, or a print.

    A letter that each text begins with is taken off: the prompt puts one before it.
    """
    value = _decoded(row[column])
    found = _printed(value) if isinstance(value, str) else value
    labels: Any = ascii_uppercase
    if isinstance(found, (list, tuple)) and all(isinstance(each, dict) and "text" in each for each in found):
        kept = [(each["text"], each.get("label")) for each in found]
        found = {"text": [text for text, _ in kept], "label": [label for _, label in kept if label]}
    if isinstance(found, dict) and "text" in found:
        found, labels = found["text"], found.get("label") or labels
    elif isinstance(found, dict):
        found = {label: each for label, each in found.items() if each is not None}
        found, labels = list(found.values()), list(found)
    if not isinstance(found, (list, tuple)):
        raise BadRow(f"{column} is {shown(value)}, no list of texts")
    if not 0 < len(found) <= min(len(labels), len(ascii_uppercase)):
        raise BadRow(f"{column} has {len(found)} choices and {len(labels)} letters or labels for them")
    plain = [_plain(each, column) for each in found]
    lettered = [_LETTERED.fullmatch(each) for each in plain]
    if [each and each[1].upper() for each in lettered] == list(ascii_uppercase[: len(plain)]):
        plain = [each[2] for each in lettered if each]
    texts = dict(zip(map(str, labels), plain, strict=False))
    if len(texts) < len(found) or not all(each.strip() for each in texts.values()):
        raise BadRow(f"{column} is {shown(value)}: a choice is empty, or two have one label")
    return texts


def letter(row: Values, column: str, offered: Mapping[str, str]) -> str:
    """Return the letter of the right choice, given its number (the first is 0), letter, label or text."""
    value = _decoded(row[column])
    found = []
    if isinstance(value, str):
        named = zip(ascii_uppercase, offered.items(), strict=False)
        names = [(of, label, each, f"{of}. {each}") for of, (label, each) in named]
        bare = _bare(re.sub(r"^\(?([A-Za-z])\s*[.):]\s+", r"\1. ", value))
        found = [i for i, each in enumerate(names) if bare in map(_bare, each)]
    if not found and not isinstance(value, bool):
        with contextlib.suppress(TypeError, ValueError):
            found = [i for i in range(len(offered)) if i == float(value)]
    if len(found) != 1:
        raise BadRow(f"{column} is {shown(value)}, not one of the {len(offered)} choices")
    return ascii_uppercase[found[0]]


def shown(value: Any) -> str:
    """Return the beginning of a value, for a message."""
    return one_line(repr(value), 60)


def _bare(value: str) -> str:
    return " ".join(value.split()).strip("()[].*").casefold()


def _plain(value: Any, column: str) -> str:
    """Return a text or number as text; 2.0 is 2, which a missing number beside it has made a fraction."""
    value = _decoded(value)
    if isinstance(value, (dict, list, tuple, bytes)):
        raise BadRow(f"{column} holds {shown(value)}, no text")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if _missing(value) else str(value)


def _decoded(value: Any) -> Any:
    """Return a text that its file holds as bytes, as files of some writers do, as a text."""
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode()
    return value


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _printed(value: str) -> Any:
    """Return the list or dictionary that a text prints, as JSON, Python or numpy print it; else None.

    numpy puts no commas between texts, and Python would join texts without commas to one.
    """
    text = _ARRAY.sub(r"\1", _BESIDE_ANOTHER.sub(r"\1,", value.strip()))
    if not _PRINT.match(text):  # "1,000" is no pair of numbers
        return None
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            found = read(text)
            return found if isinstance(found, (list, tuple, dict)) else None
    return None
