"""Render templates of plain text, such as reports in a terminal and scripts, with Jinja2."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, name: str, /, **data: object) -> str:
    """Return the text that a template makes of data; nothing is escaped.

    Args:
        package: The package in whose folder ``templates`` it is.
        name: Its file name.
        data: Values by the names that the template uses.
    """
    return _environment(package).get_template(name).render(**data)


@cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=PackageLoader(package), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
