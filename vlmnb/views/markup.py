"""Small pieces of HTML and Markdown that generated pages are put together from."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

MISSING = '<span class="vlmnb-missing">-</span>'
"""What a table shows for a number that does not exist."""


def escape(text: object) -> str:
    """Return text for HTML, attributes included."""
    return html.escape(str(text), quote=True)


def plain(text: object) -> str:
    """Return text for Markdown: one line, with everything escaped that Markdown or HTML takes as markup."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~$^])", r"\\\1", line)


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[int] = (), caption: str = ""
) -> str:
    """Return an HTML table on one line, so that Markdown takes it as one block.

    Args:
        header: Column headings, as HTML.
        rows: Cells, as HTML.
        text: Columns that hold words rather than numbers, besides the first.
        caption: Shown beneath the table, as HTML.
    """
    classes = {column: ' class="text"' for column in text}
    heads = "".join(f'<th scope="col"{classes.get(i, "")}>{name}</th>' for i, name in enumerate(header))
    body = "".join(
        "<tr>" + "".join(f"<td{classes.get(i, '')}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    foot = f"<caption><span>{caption}</span></caption>" if caption else ""
    return (
        f'<div class="vlmnb-scroll"><table class="vlmnb-table">{foot}'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def facts(pairs: Mapping[str, str]) -> str:
    """Return a table of names and values, both as HTML."""
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td class="text">{value}</td></tr>' for name, value in pairs.items()
    )
    return f'<div class="vlmnb-scroll"><table class="vlmnb-table"><tbody>{rows}</tbody></table></div>'


def fence(text: str, language: str = "text") -> str:
    """Return a code block that its content cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{language}\n{text.rstrip()}\n{mark}"
