"""The templates of this folder: Jinja2 macros that hold the words of sentences, captions and notes.

Python decides what is to be said and hands a macro the numbers; the words can be changed without it.
"""

from __future__ import annotations

import html
import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from vlmnb.errors import one_line
from vlmnb.stats import formatting
from vlmnb.views.reasons import readable


def say(template: str, macro: str, **values: object) -> str:
    """Return what a macro of a template makes of some values, as Markdown.

    An item of a list has a line of its own; any other line break is a space, or nothing before punctuation
    and within parentheses.
    """
    made = getattr(environment(autoescape=False).get_template(f"{template}.md.j2").module, macro)(**values)
    joined = re.sub(r"\s*\n\s*(?=[,;.:)])|(?<=\()\s*\n\s*", "", str(made))
    lines = (" ".join(item.split()) for item in re.split(r"\n\s*(?=- )", joined))
    return "\n".join(filter(None, lines))


def foreign(text: str) -> str:
    """Return foreign text for a Markdown line: no markup, no line breaks, at most 300 characters."""
    return re.sub(r"([|*_])", r"\\\1", html.escape(one_line(text, 300), quote=False))


def plain(text: object) -> str:
    """Return text for Markdown on one line, with all escaped that Markdown or HTML would read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$^])", r"\\\1", " ".join(str(text).split()))


def brief(caption: str, words: int = 40) -> tuple[str, str]:
    """Split a caption behind the last sentence or clause that ends within so many words."""
    parts = re.split(r"(?<=[.;]) ", caption)
    fit = [at for at in range(2, len(parts) + 1) if len(" ".join(parts[:at]).split()) <= words]
    shown, more = (" ".join(some) for some in (parts[: max(fit, default=1)], parts[max(fit, default=1) :]))
    return (f"{shown.rstrip(';.')}.", more[0].upper() + more[1:]) if more else (shown, "")


def clear_of(value: float, neutral: float, decimals: int) -> str:
    """Return a number with so many decimals, and with more where it would read as the neutral one.

    >>> clear_of(1.04, 1, 2), clear_of(1.001, 1, 2), clear_of(1, 1, 2)
    ('1.04', '1.001', '1.00')
    """
    finest = decimals + 6
    while decimals < finest and value != neutral and float(f"{value:.{decimals}f}") == neutral:
        decimals += 1
    return f"{value:.{decimals}f}"


def percent(fraction: float) -> str:
    """Return a fraction in percent with two digits, zeros at the end included, without the sign %.

    >>> percent(0.0497), percent(0.546), percent(0.00196), percent(1.7)
    ('5.0', '55', '0.20', '170')
    """
    return formatting.digits(100 * fraction, 2)


def fence(text: str, language: str = "text") -> str:
    """Return a code block that its content cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{language}\n{text.rstrip()}\n{mark}"


@cache
def environment(*, autoescape: bool) -> Environment:
    """Return the templates with the filters that write numbers."""
    loader = PackageLoader("vlmnb.views")
    made = Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {
        "batches": lambda n: f"{formatting.reach(sorted(set(n)))} batch{'es' * (set(n) != {1})}",
        "brief": brief,
        "clear_of": clear_of,
        "counted": formatting.counted,
        "digits": formatting.digits,
        "duration": formatting.duration,
        "equal": formatting.equal,
        "enumerated": formatting.enumerated,
        "foreign": foreign,
        "millions": lambda count: f"{count / 1e6:.2f}",
        "percent": percent,
        "readable": readable,
        "reach": lambda values: formatting.reach(sorted(set(values))),
        "si": formatting.format_si,
    }
    return made
