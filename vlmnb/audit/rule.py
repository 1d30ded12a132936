"""Define what a rule is and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Literal, TypeVar

from vlmnb.records.record import Record
from vlmnb.records.reported import Figure
from vlmnb.spec.cell import words
from vlmnb.types import Frozen, Source

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

TITLES = {
    "error": "figures that cannot all be right",
    "warning": "figures that do not mean what they seem to mean",
    "note": "what to know when reading the figures",
}

WHICH = "The record does not show which of them is wrong. Delete it and measure the cell again."
"""What to do about a measured record that contradicts itself."""


class Where(Frozen):
    """A record that a finding is about.

    Attributes:
        key: Key of the record; with hardware and model it gives the path of its file.
        cell: Its cell in words.
        places: Tables, rows and columns of the figures, for a record of a report.
    """

    key: str
    hardware: str
    model: str
    cell: str
    places: tuple[str, ...] = ()


class Finding(Frozen):
    """One thing that a rule found.

    Attributes:
        rule: Name of the rule; filled in when the rule is run.
        records: Records it is about.
        figures: The numbers it rests on, by name, with units.
        meaning: What was found, and what follows from it.
        unknown: What does not follow from it, and what to do.
    """

    level: Level
    rule: str = ""
    records: tuple[Where, ...]
    figures: dict[str, str]
    meaning: str
    unknown: str = ""


Check = Callable[[Sequence[Record]], Iterable[Finding]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Rule:
    """A named check over all records of one source.

    Attributes:
        says: What must hold, in one sentence: the first line of the check's docstring.
    """

    name: str
    source: Source
    says: str
    check: Check

    def __call__(self, records: Sequence[Record]) -> list[Finding]:
        """Return what the check finds, under the name of the rule."""
        return [one.model_copy(update={"rule": self.name}) for one in self.check(records)]


def rule(source: Source) -> Callable[[Check], Rule]:
    """Turn a function over all records of a source into a rule, named after the function."""

    def make(check: Check) -> Rule:
        says = (check.__doc__ or "").strip().splitlines()[0]
        return Rule(check.__name__.replace("_", "-"), source, says, check)

    return make


def record_rule(check: Callable[[Record], Iterable[Finding]]) -> Rule:
    """Turn a function over one measured record into a rule; its findings are about that record."""

    @wraps(check)
    def over_all(records: Sequence[Record]) -> Iterable[Finding]:
        for record in records:
            for one in check(record):
                yield one.model_copy(update={"records": (where(record),)})

    return rule("measured")(over_all)


def finding(
    level: Level, figures: dict[str, str], meaning: str, unknown: str, about: Iterable[Record | Where] = ()
) -> Finding:
    """Make a finding about some records, each listed once with all its places."""
    listed: dict[tuple[str, str, str], Where] = {}
    for found in about:
        one = found if isinstance(found, Where) else where(found)
        file = (one.hardware, one.model, one.key)
        places = [*(listed[file].places if file in listed else ()), *one.places]
        listed[file] = one.model_copy(update={"places": tuple(dict.fromkeys(places))})
    return Finding(
        level=level, records=tuple(listed.values()), figures=figures, meaning=meaning, unknown=unknown
    )


error, warning, note = partial(finding, "error"), partial(finding, "warning"), partial(finding, "note")


def contradiction(figures: dict[str, str], meaning: str, about: Iterable[Record] = ()) -> Finding:
    """Make an error about measured records that contradict themselves or each other."""
    return error(figures, meaning, WHICH, about)


def where(found: Record, figures: Iterable[Figure] = ()) -> Where:
    """Return where a record is, and the places of figures in it."""
    places = tuple(dict.fromkeys(figure.place for figure in figures))
    return Where(
        key=found.key, hardware=found.hardware, model=found.cell.model, cell=words(found.cell), places=places
    )


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Return the items with equal keys together, in the order in which the keys first occur."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
