"""What the audit found about the figures of a report: a box on its page, and a mark at each figure."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import permutations
from typing import NamedTuple, get_args

from vlmnb.audit.rule import Finding, Level
from vlmnb.book.content import Page
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, Quantity
from vlmnb.spec.planning import Run
from vlmnb.views import findings

SURE: dict[Level, str] = {"error": "certain", "warning": "strong", "note": "worth knowing"}
"""How sure a finding is, by its level."""

PRINTED = re.compile(r'<td (?P<title>title="as printed: (?P<place>[^"]*))"')


OTHER_ANSWERS = "answers-do-not-depend-on-setting"
"""The rule whose findings say that a difference of times may be one of answers."""

SHIFT = 0.1
"""Word error rates whose logarithms are closer together than this are of the same answers."""


class Line(NamedTuple):
    """A finding in one sentence: its first clause, and the rest.

    Attributes:
        number: Its place on the page of findings, from 1.
    """

    number: int
    level: Level
    clause: str
    rest: str


def lines(
    found: Sequence[Finding], page: Page, quantities: Collection[str] = get_args(Quantity)
) -> list[Line]:
    """Return the findings about figures that a report's page shows."""
    return [
        Line(number, finding.level, *_parts(finding))
        for number, finding in enumerate(found, start=1)
        if _places([finding]) & _shown(page, quantities)
    ]


def sentence(finding: Finding) -> str:
    """Return what was found, up to the end of the first sentence or clause."""
    return f"{_parts(finding)[0]}."


def halves(finding: Finding) -> tuple[str, str]:
    """Return the first clause of what was found, as a heading, and all the rest, which may be nothing."""
    clause, _ = _parts(finding)
    rest = finding.meaning[len(clause) :].lstrip(".:; ")
    return clause, f"{rest[:1].upper()}{rest[1:]}"


def _parts(finding: Finding) -> tuple[str, str]:
    """Return the first clause of what was found, and the rest of its first sentence."""
    first = re.split(r"(?<=[a-z0-9%)])\. ", finding.meaning)[0]
    clause = re.split(r"[:;] ", first)[0].rstrip(".:;")
    return clause, f"{first[len(clause) :].rstrip('.')}."


def marked(table: str, places: Collection[str]) -> str:
    """Return HTML with a mark at each figure of a report that stands at one of some places."""

    def mark(found: re.Match[str]) -> str:
        disputed = html.unescape(found["place"]) in places
        return (
            f'<td class="vlmnb-disputed" {found["title"]}; disputed, see the box above"'
            if disputed
            else found[0]
        )

    return PRINTED.sub(mark, table)


def places(found: Sequence[Finding], records: Iterable[Record] = ()) -> set[str]:
    """Return the places of figures that errors and warnings are about.

    Args:
        found: All findings.
        records: Of a page. A figure that is disputed in one table, or in the log, is so in all.
    """
    listed = list(records)
    about = figures(found, listed)
    own = [(record.key, figure) for record in listed for figure in _printed(record)]
    known = {place for _, place in _serious(found)}
    return known | {figure.place for key, figure in own if (key, figure.quantity) in about}


def sentences(found: Sequence[Finding], page: Page) -> dict[str, str]:
    """Return the sentences of a report's page that say what changes, with the same marked as disputed."""

    def doubt(low: Record, high: Record) -> str:
        why = of_ratio(found, page.records, low.key, high.key)
        return why.why if why else ""

    cells = Run(model=page.model, axis=page.axis, parameters=page.parameters).plan.cells
    was, now = (
        findings.text(page.axis, cells, page.records, doubt=of).splitlines()
        for of in (lambda low, high: "", doubt)
    )
    return {one: other for one, other in zip(was, now, strict=True) if one != other}


def figures(found: Sequence[Finding], records: Iterable[Record]) -> set[tuple[str, Quantity]]:
    """Return the figures of records, by key and quantity, that errors and warnings are about."""
    known = _serious(found)
    return {
        (record.key, figure.quantity)
        for record in records
        for figure in _printed(record)
        if (record.key, figure.place) in known
    }


def doubted(found: Sequence[Finding], records: Iterable[Record]) -> dict[tuple[str, str], int]:
    """Return the number of the finding that answers differ, by the keys of two records for which it holds."""
    by_key = {record.key: record for record in records if record.reported}
    pairs = (
        (number, by_key[low.key], by_key[high.key])
        for number, finding in enumerate(found, start=1)
        if finding.rule == OTHER_ANSWERS
        for low, high in permutations([one for one in finding.records if one.key in by_key], 2)
    )
    return {(low.key, high.key): number for number, low, high in pairs if _differ(low, high)}


class Doubt(NamedTuple):
    """Why a ratio of two figures of reports is doubtful, and the number of the finding that says so."""

    number: int
    why: str


def of_ratio(found: Sequence[Finding], records: Iterable[Record], low: str, high: str) -> Doubt | None:
    """Return why a ratio of two latencies is doubtful: answers differ, too, or one of them is disputed.

    Args:
        found: All findings.
        records: With all their figures.
        low: The key of one of the two.
        high: That of the other.
    """
    both = [record for record in records if record.key in (low, high)]
    if number := doubted(found, both).get((low, high)):
        return Doubt(number, "the answers changed, too")
    own = {(each.key, one.place) for each in both for one in _printed(each) if one.quantity == "latency_s"}
    serious = (
        number for number, one in enumerate(found, start=1) if one.level != "note" and _places([one]) & own
    )
    return next((Doubt(number, "a disputed figure") for number in serious), None)


def _differ(low: Record, high: Record) -> bool:
    return bool(low.wer and high.wer) and abs(math.log((high.wer or 1) / (low.wer or 1))) > SHIFT


def _serious(found: Sequence[Finding]) -> set[tuple[str, str]]:
    return _places([finding for finding in found if finding.level != "note"])


def _places(found: Sequence[Finding]) -> set[tuple[str, str]]:
    """Return the keys of records with places in them: figures of several data sets can have one place."""
    return {(where.key, place) for finding in found for where in finding.records for place in where.places}


def _shown(page: Page, quantities: Collection[str]) -> set[tuple[str, str]]:
    """Return the keys and places of the figures that a page shows, in whatever table they stand."""
    own = [(record.key, figure) for record in page.records for figure in _printed(record)]
    shown = {
        (key, figure.quantity)
        for key, figure in own
        if figure.axis == page.axis and figure.quantity in quantities and figure.value is not None
    }
    return {(key, figure.place) for key, figure in own if (key, figure.quantity) in shown}


def _printed(record: Record) -> Sequence[Figure]:
    return record.reported.figures if record.reported else ()
