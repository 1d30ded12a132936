"""Render the templates of the generated pages.

A template is Markdown with Jinja2. Values are escaped for HTML unless a filter says otherwise: ``plain``
escapes for Markdown as well, ``fence`` makes a code block, ``code`` a list of names in code type, ``table``
and ``facts`` make tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from vlmnb import paths
from vlmnb.analysis import titles
from vlmnb.book import content
from vlmnb.book.disputed import Line
from vlmnb.views import table, templates
from vlmnb.views.reasons import readable
from vlmnb.views.table import Field, Table

Value = str | int | Field
"""One field of a table: its text, or the field itself if it has a link or a tooltip."""


def render(name: str, **data: object) -> str:
    """Return the text of a page, such as ``audit.md``, from the data that its template uses."""
    return _environment().get_template(f"{name}.j2").render(**data).strip() + "\n"


def code(name: str) -> Markup:
    """Return a name in code type, as HTML."""
    return Markup("<code>{}</code>").format(name)


def without_colors(text: str) -> str:
    """Return text without the escape sequences that color a terminal."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


@cache
def _environment() -> Environment:
    made = templates.environment(autoescape=True).overlay(loader=PackageLoader("vlmnb.book"))
    made.filters = made.filters | {
        "plain": lambda text: Markup(templates.plain(text)),
        "fence": lambda text, language="text": Markup(templates.fence(without_colors(text), language)),
        "code": lambda names: Markup(", ".join(f"`{name}`" for name in names)),
        "code_type": code,
        "table": _table,
        "facts": _facts,
        "disputed": _disputed,
        "reasons": _reasons,
        "folder": paths.model_folder,
        "minute": content.minute,
        "model_title": content.model_title,
        "axis_title": content.axis_title,
        "dataset_title": titles.dataset_title,
    }
    return made


def _table(
    rows: Table | Iterable[Sequence[Value]], words: Sequence[str] = (), numbers: Sequence[str] = (),
    classes: str = "",
) -> Markup:  # fmt: skip
    """Return a table, or rows with the headings of columns of words and of numbers, as HTML."""
    if isinstance(rows, Table):
        return Markup(table.render(rows))
    fields = (tuple(_field(value, column < len(words)) for column, value in enumerate(row)) for row in rows)
    return Markup(table.render(Table("", (*words, *numbers), tuple(fields), classes)))


def _disputed(line: Line, folder: str) -> Markup:
    """Return the item of a list on a finding, whose first clause leads to the finding."""
    address = f"{folder}reports-checked.html#finding-{line.number}"
    shown, rest = (templates.plain(part) for part in (line.clause, line.rest))
    return Markup(f'- <a href="{address}">{shown}</a>{rest}')


def _reasons(words: Iterable[str] | Mapping[str, Iterable[str]]) -> Markup:
    """Return numbered lines on why things do not run, and, folded, the words of the records.

    The words are given alone, or by the line that says the same to readers.
    """
    of = words if isinstance(words, Mapping) else None
    lines = [(line, list(of[line])) if of else (readable(line), [line]) for line in words]
    shown = "\n".join(f"{number}. {templates.plain(line)}" for number, (line, _) in enumerate(lines, start=1))
    items = Markup("").join(
        Markup("<li value='{}'>{}</li>").format(number, " · ".join(own))
        for number, (line, own) in enumerate(lines, start=1)
        if own != [line]
    )
    quoted = Markup("<details><summary>Word for word</summary><ol>{}</ol></details>").format(items)
    return Markup(shown) + (Markup("\n\n") + quoted if items else Markup(""))


def _facts(pairs: Mapping[str, Value]) -> Markup:
    shown = {name: _field(value, True) for name, value in pairs.items() if value != ""}
    return Markup(table.render(table.facts(shown)))


def _field(value: Value, words: bool) -> Field:
    if isinstance(value, Field):
        return value
    return Field(value if isinstance(value, str) else str(value), words=words)
