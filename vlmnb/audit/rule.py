"""What a rule finds, and the rule itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from vlmnb.records.record import Record
from vlmnb.records.reported import Figure
from vlmnb.spec.cell import words
from vlmnb.types import Frozen, Source

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

TITLES = {
    "error": "figures that cannot all be right",
    "warning": "figures that do not mean what they seem to",
    "note": "what to know when reading them",
}


class Where(Frozen):
    """A record that a finding is about, by what leads to it.

    Attributes:
        cell: Its cell in words.
        places: Where its figures stand, for a record of a report.
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
        meaning: What it means, in plain words.
        unknown: What cannot be concluded from it.
    """

    level: Level
    rule: str
    records: tuple[Where, ...]
    figures: dict[str, str]
    meaning: str
    unknown: str = ""


Check = Callable[[Sequence[Record]], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """A named check over all records of one source."""

    name: str
    source: Source
    check: Check

    @property
    def says(self) -> str:
        """What must hold: the first line of the check's docstring."""
        return (self.check.__doc__ or "").strip().splitlines()[0]


def rules(source: Source, checks: Iterable[Check]) -> tuple[Rule, ...]:
    """Rules named as their functions are."""
    return tuple(Rule(check.__name__.replace("_", "-"), source, check) for check in checks)


def finding(
    level: Level, records: Iterable[Record | Where], figures: dict[str, str], meaning: str, unknown: str = ""
) -> Finding:
    """A finding about records, named after its rule later on; each record once, with all its places."""
    listed: dict[tuple[str, str, str], Where] = {}
    for found in records:
        one = found if isinstance(found, Where) else where(found)
        file = (one.hardware, one.model, one.key)
        before = listed[file].places if file in listed else ()
        listed[file] = one.model_copy(update={"places": tuple(dict.fromkeys([*before, *one.places]))})
    return Finding(
        level=level, rule="", records=tuple(listed.values()), figures=figures, meaning=meaning,
        unknown=unknown,
    )  # fmt: skip


def where(found: Record, figures: Iterable[Figure] = ()) -> Where:
    """How to find a record, and the places of figures in it."""
    places = tuple(dict.fromkeys(figure.place for figure in figures))
    return Where(
        key=found.key, hardware=found.hardware, model=found.cell.model, cell=words(found.cell), places=places
    )
