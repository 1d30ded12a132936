"""Tables as HTML, for notebooks and pages."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, Template
from markupsafe import Markup, escape

from vlmnb.views.table import Table

POINTS = "Every point of this figure, with its interval and its record"
"""What the line says that opens the table of a figure."""


def render(table: Table) -> str:
    """Return a table as HTML on one line, so that Markdown takes it as one block."""
    return _template().render(table=table).strip()


def folded(table: Table, summary: str) -> str:
    """Return a table as HTML, behind a line that opens it."""
    shown = Markup(render(table))
    return f'<details class="vlmnb-points"><summary>{escape(summary)}</summary>{shown}</details>'


@cache
def _template() -> Template:
    loader = PackageLoader("vlmnb.views")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(
        "table.html.j2"
    )
