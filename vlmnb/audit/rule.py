"""Define what a rule is and what it finds.

A rule checks records and yields drafts: which case it found, in which records, with which values. ``TEXTS``
of the rule's module, or the YAML file beside it, has the level, the figures and the sentences of every case.
"""

from __future__ import annotations

import contextlib
import functools
import string
import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import TypeAdapter

from vlmnb import paths
from vlmnb.analysis.titles import words
from vlmnb.files import plain_yaml
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure
from vlmnb.stats import formatting
from vlmnb.types import Frozen, Source

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

TITLES = {
    "error": "figures that cannot all be right",
    "warning": "figures that do not mean what they seem to mean",
    "note": "what to know when reading the figures",
}

FOLDED = 4
"""Findings of one rule up to which each is told in full; more of a kind are listed or folded."""


class Where(Frozen):
    """A record that a finding is about.

    Attributes:
        places: Tables, rows and columns of the figures, for a record of a report.
    """

    key: str
    hardware: str
    model: str
    cell: str
    places: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Return the record's file below the folder of records."""
        return paths.record(Path(), self.hardware, self.model, self.key).as_posix()


class Finding(Frozen):
    """One thing that a rule found.

    Attributes:
        figures: The numbers it rests on, by name, with units.
        meaning: What was found, and what follows from it.
        unknown: What does not follow from it, and what to do.
    """

    level: Level
    rule: str
    records: tuple[Where, ...]
    figures: dict[str, str]
    meaning: str
    unknown: str


class Draft(NamedTuple):
    """What a check found: a case, and the values for its text."""

    case: str
    about: tuple[Record | Where, ...]
    figures: dict[str, str]
    values: dict[str, Any]


class Text(Frozen):
    """The text of one case of a rule. Values stand in braces, as in ``{watts:.4g} W``.

    A figure or a part of a text is left out if one of its values is None.

    Attributes:
        unknown: By default, what to do about a measured record that contradicts itself.
    """

    level: Level
    figures: dict[str, str] = {}
    meaning: str | tuple[str, ...]
    unknown: str | tuple[str, ...] = (
        "The record does not show which of them is wrong. Delete it and measure the cell again."
    )


Check = Callable[[Sequence[Record]], Iterable[Draft]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Rule:
    """A named check over all records of one source.

    Attributes:
        says: What must hold, in one sentence: the first line of the check's docstring.
        alone: Whether it checks each record by itself.
    """

    source: Source
    check: Check
    name: str
    says: str
    alone: bool = False

    def __call__(self, records: Sequence[Record]) -> list[Finding]:
        """Return what the check finds, in the words of the texts."""
        return [self._finding(draft) for draft in self.check(records)]

    def _finding(self, draft: Draft) -> Finding:
        text = texts(self.check.__module__)[f"{self.name}, {draft.case}".removesuffix(", ")]
        figures = {name: _filled(draft.values, figure) for name, figure in text.figures.items()}
        return Finding(
            level=text.level, rule=self.name, records=_listed(draft.about),
            figures=draft.figures | {name: figure for name, figure in figures.items() if figure},
            meaning=_filled(draft.values, text.meaning), unknown=_filled(draft.values, text.unknown),
        )  # fmt: skip


def rule(source: Source) -> Callable[[Check], Rule]:
    """Turn a function over all records of a source into a rule, named after the function."""

    def make(check: Check) -> Rule:
        says = (check.__doc__ or "").strip().splitlines()[0]
        return Rule(source, check, check.__name__.replace("_", "-"), says)

    return make


def record_rule(check: Callable[[Record], Iterable[Draft]]) -> Rule:
    """Turn a function over one measured record into a rule; its texts may name the record and its cell."""

    @functools.wraps(check)
    def over_all(records: Sequence[Record]) -> Iterable[Draft]:
        for record in records:
            for draft in check(record):
                values = {"record": record, "cell": record.cell} | draft.values
                yield draft._replace(about=(record,), values=values)

    return replace(rule("measured")(over_all), alone=True)


def found(
    case: str = "", about: Iterable[Record | Where] = (), figures: dict[str, str] | None = None, **values: Any
) -> Draft:  # fmt: skip
    """Return the draft of a finding; the figures of its text follow those given here."""
    return Draft(case, tuple(about), figures or {}, values)


def where(record: Record, figures: Iterable[Figure] = ()) -> Where:
    """Return where a record is, and the places of figures in it."""
    places = tuple(dict.fromkeys(figure.place for figure in figures))
    cell = record.cell
    return Where(key=record.key, hardware=record.hardware, model=cell.model, cell=words(cell), places=places)


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Return the items with equal keys together, in the order in which the keys first occur."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def alike(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Return the findings of one rule, one level and one advice together."""
    return grouped(findings, lambda one: (one.level, one.rule, one.unknown))


@functools.cache
def texts(module: str) -> dict[str, Text]:
    """Read the texts of the rules of a module, by name of the rule and, where it has several, case."""
    found = sys.modules[module]
    content = getattr(found, "TEXTS", None) or plain_yaml.load(Path(str(found.__file__)).with_suffix(".yaml"))
    return TypeAdapter(dict[str, Text]).validate_python(content)


class _LeftOut(Exception):
    """A value is None, so the text with it is left out."""


class _Formatter(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        """Write a value; ``.1%`` puts a space before the sign, ``SI`` writes a prefix and four digits."""
        if value is None:
            raise _LeftOut
        if format_spec == "SI":
            return formatting.format_si(value)
        text = str(super().format_field(value, format_spec))
        return text.replace("%", " %") if format_spec.endswith("%") else text


def _filled(values: dict[str, Any], text: str | tuple[str, ...]) -> str:
    """Return a text with values in place of its braces, without the parts that have none."""
    made = []
    for part in (text,) if isinstance(text, str) else text:
        with contextlib.suppress(_LeftOut):
            made.append(_Formatter().vformat(part, (), values))
    return " ".join(made)


def _listed(about: Iterable[Record | Where]) -> tuple[Where, ...]:
    """Return each record once, with all its places."""
    listed = [one if isinstance(one, Where) else where(one) for one in about]
    files = grouped(listed, lambda one: (one.hardware, one.model, one.key))
    places = (dict.fromkeys(place for one in same for place in one.places) for same in files)
    return tuple(
        same[0].model_copy(update={"places": tuple(own)}) for same, own in zip(files, places, strict=True)
    )
