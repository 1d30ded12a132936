"""What the audit found about the figures of a report: a box on its page, and a mark at each figure."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from vlmnb.audit.rule import Finding, Level
from vlmnb.book.content import Page

SURE: dict[Level, str] = {"error": "certain", "warning": "strong", "note": "worth knowing"}
"""How sure a finding is, by its level."""

PRINTED = re.compile(r'<td (?P<title>title="as printed: (?P<place>[^"]*))"')


class Line(NamedTuple):
    """A finding in one sentence; ``number``: its place on the page of findings, from 1."""

    number: int
    level: Level
    sentence: str


def lines(found: Sequence[Finding], page: Page) -> list[Line]:
    """Return the findings about figures that a report's page shows."""
    return [
        Line(number, finding.level, sentence(finding))
        for number, finding in enumerate(found, start=1)
        if _places([finding]) & _shown(page)
    ]


def sentence(finding: Finding) -> str:
    """Return what was found, up to the end of the first sentence or clause."""
    return f"{re.split(r'[.:;] ', finding.meaning)[0].rstrip('.:;')}."


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


def places(found: Sequence[Finding]) -> set[str]:
    """Return the places of figures that errors and warnings are about."""
    return _places([finding for finding in found if finding.level != "note"])


def _places(found: Sequence[Finding]) -> set[str]:
    return {place for finding in found for where in finding.records for place in where.places}


def _shown(page: Page) -> set[str]:
    own = [record.reported for record in page.records if record.reported]
    return {figure.place for one in own for figure in one.figures if figure.axis == page.axis}
