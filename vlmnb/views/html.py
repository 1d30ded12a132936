"""Tables as HTML, for notebooks and pages."""

from __future__ import annotations

from markupsafe import Markup, escape

from vlmnb.views.table import Table
from vlmnb.views.templates import environment

POINTS = "Every point of this figure, with its interval and its record"
"""What the line says that opens the table of a figure."""


def render(table: Table) -> str:
    """Return a table as HTML on one line, so that Markdown takes it as one block."""
    return environment(autoescape=True).get_template("table.html.j2").render(table=table).strip()


def folded(table: Table, summary: str) -> str:
    """Return a table as HTML, behind a line that opens it."""
    shown = Markup(render(table))
    return f'<details class="vlmnb-points"><summary>{escape(summary)}</summary>{shown}</details>'
