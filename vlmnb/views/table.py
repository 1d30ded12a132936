"""The one table type of notebooks and pages, its HTML, and the field of a value that is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from vlmnb.views.templates import environment

if TYPE_CHECKING:
    from vlmnb.records.record import Record

T = TypeVar("T")
MISSING = "-"
"""Stands where there is no value."""


UNITS = {
    "Latency, s per batch": ("Time, ms per image", "Speed, images per s"),
    "latency, s": ("ms per image", "images per s"),
    "Energy, J per sample": ("Energy, Wh per 1,000 images",) * 2,
    "At least": ("Time, at least ms per image", "Speed, at most images per s"),
}
"""Headings of columns in the units that readers can switch to, by what the heading contains."""

PRICED = {
    "Latency, s per batch": "Machine, $ per 1,000 images",
    "latency, s": "machine, $ per 1,000 images",
    "At least": "Machine, at least $ per 1,000 images",
    "Time, ms per image": "Machine, $ per 1,000 images",
    "Energy, J per sample": "Electricity, $ per 1,000 images",
    "Energy, Wh per 1,000 images": "Electricity, $ per 1,000 images",
}
"""The same headings with the reader's own prices, which the browser multiplies with ``Field.amount``."""


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        text: A number as it is shown, or words. Escaped, unless it is a ``markupsafe.Markup``.
        title: Tooltip: what the number is, and why it has no interval or is missing.
        key: Key of the record that the number comes from.
        words: Whether the text is words, which are aligned to the left, and not a number.
        span: The number's interval as it is shown, ``[low, high]``; empty where there is none.
        href: Address that the text links to.
        sort: Number that the column is sorted by, where the text does not start with it.
        units: Text and span in the units of ``UNITS``, which readers can switch to; empty for none.
        amount: What 1,000 images take, and its interval: after ``hire`` hours, after ``tariff`` kWh.
    """

    text: str
    title: str = ""
    key: str = ""
    words: bool = False
    span: str = ""
    href: str = ""
    sort: float | None = None
    units: tuple[tuple[str, str], ...] = ()
    amount: str = ""

    def __post_init__(self) -> None:
        if not self.words and re.search(r"\b(nan|inf)\b", self.text):
            self.__init__(MISSING, "no finite number", self.key)  # type: ignore[misc]


Row = tuple[Field, ...]


@dataclass(frozen=True)
class Table:
    """A table ready to be shown; the first field of a row is its heading.

    Attributes:
        columns: Headings; empty for a table without a line of headings.
        classes: Further CSS classes, such as ``vlmnb-sticky`` or ``vlmnb-filter``.
        groups: Of each column the group that readers can hide; empty for one that always shows. A page begins
            with the first group alone.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    classes: str = ""
    groups: tuple[str, ...] = ()


def render(table: Table) -> str:
    """Return a table as HTML on one line, so that Markdown takes it as one block."""
    template = environment(autoescape=True).get_template("table.html.j2")
    return template.render(table=table, in_units=in_units, priced=priced).strip()


def in_units(heading: str) -> tuple[str, ...]:
    """Return a column's heading in the other units; empty if it has none."""
    found = next((own for own in UNITS if own in heading), "")
    return tuple(heading.replace(found, other) for other in UNITS[found]) if found else ()


def priced(heading: str) -> str:
    """Return a column's heading with the reader's prices; empty if nothing in it has a price."""
    return next((heading.replace(own, other) for own, other in PRICED.items() if own in heading), "")


def points(table: Table) -> str:
    """Return the table of a figure as HTML, behind a line that opens it."""
    intervals = any(field.span for row in table.rows for field in row)
    summary = f"Every point of this figure, with its {'interval and its ' * intervals}record"
    shown = f"<summary>{summary}</summary>{render(table)}"
    return f'<details class="vlmnb-points">{shown}</details>'


def declared(caption: str, columns: Sequence[tuple[str, Callable[[T], Field]]], things: Iterable[T]) -> Table:
    """Make a table of columns, each a heading and what makes its field, with a row for each thing."""
    rows = tuple(tuple(show(thing) for _, show in columns) for thing in things)
    return Table(caption, tuple(head for head, _ in columns), rows)


def without_blanks(table: Table) -> Table:
    """Return a table without the columns in which every field is empty."""
    kept = [at for at in range(len(table.columns)) if any(row[at].text for row in table.rows)]
    rows = tuple(tuple(row[at] for at in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[at] for at in kept), rows=rows)


def facts(pairs: Mapping[str, str | Field]) -> Table:
    """Make a table of names and values, without a line of headings."""
    rows = [
        (Field(name), Field(value, words=True) if isinstance(value, str) else value)
        for name, value in pairs.items()
    ]
    return Table("", (), tuple(rows))


def missing(record: Record | None, why: str = "") -> Field:
    """Make the field of a value that a record lacks; ``why``: the reason, if the cell could be measured."""
    if record is None:
        return without("not measured")
    if record.reported:
        why = "has no such figure"
    elif record.short:
        why = why or "fewer samples than one batch"
    if record.status != "ok":
        status = record.status.replace("_", " ")
        why = status if record.reason == status else f"{status}: {record.reason}"
    return without(why or record.remarks or "not measured", record.key)


def without(reason: str, key: str = "") -> Field:
    """Make the field of a value that does not exist, with the reason as tooltip."""
    return Field(MISSING, reason, key)
