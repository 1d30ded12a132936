"""Write numbers as text: significant digits, SI prefixes, percent, seconds, gigabytes, counts of things."""

from __future__ import annotations

import math
from collections.abc import Sequence

EQUAL = 25
"""Percent above which two that may differ by so much are not called equal."""

_PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}


def significant(value: float, low: float, high: float) -> str:
    """Return ``value`` with the digits that its interval supports: two digits of the half width.

    >>> significant(1.23456, 1.20, 1.27)
    '1.235'
    >>> significant(123456.0, 121000.0, 126000.0)
    '123500'

    An interval without width supports any digits: four are shown. At least one digit of the value is kept.
    """
    half_width = abs(high - low) / 2
    if value == 0 or not math.isfinite(value) or not math.isfinite(half_width):
        return f"{value:.4g}"
    magnitude = _magnitude(value)
    finest = _magnitude(half_width) - 1 if half_width > 0 else magnitude - 3
    digits = min(max(magnitude - finest, 0), 15)
    if not -4 <= magnitude < 9:
        return f"{value:.{digits}e}"
    decimals = digits - magnitude
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def format_si(value: float, unit: str = "", digits: int = 4) -> str:
    """Return ``value`` with an SI prefix and a number of significant digits.

    >>> format_si(11.03e12), format_si(617.84e9, "FLOP"), format_si(0.00125, "s")
    ('11.03 T', '617.8 GFLOP', '1.250 ms')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    # Rounding first carries 999.96 over to the next prefix.
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = min(max(_magnitude(rounded) // 3 * 3, -12), 18)
    scaled = rounded / 10.0**exponent
    decimals = max(digits - 1 - _magnitude(scaled), 0)
    return f"{scaled:.{decimals}f} {_PREFIXES[exponent]}{unit}".rstrip()


def short(value: float, digits: int = 3) -> str:
    """Return ``value`` with so many significant digits, never with an exponent for a large number.

    >>> short(0.043214), short(50.0), short(1256.0)
    ('0.0432', '50', '1260')
    """
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text else text


def digits(value: float, number: int = 3) -> str:
    """Return ``value`` with so many significant digits, zeros at the end included, and no exponent.

    >>> digits(0.05), digits(1256.0), digits(13.89), digits(0.0)
    ('0.0500', '1260', '13.9', '0')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{number - 1}e}")
    return f"{rounded:.{max(number - 1 - _magnitude(rounded), 0)}f}"


def percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction in percent, without the sign %.

    >>> percent(0.04321, 3), percent(0.04321), percent(12.56, 3)
    ('4.32', '4.3', '1260')
    """
    return short(100 * fraction, digits)


def equal(share: float) -> str:
    """Return how large a difference could be at most: the share rounded up, a factor from twice on.

    >>> equal(0.131), equal(0.43), equal(1.31)
    ('equal within 14 %', 'at most 43 % apart', 'at most 2.4 times apart')
    """
    bound = math.ceil(round(100 * share, 6))
    if bound <= EQUAL:
        return f"equal within {bound} %"
    return (
        f"at most {bound} % apart"
        if bound < 100
        else f"at most {math.ceil(10 + bound / 10) / 10:.1f} times apart"
    )


def seconds(duration_s: float) -> str:
    """Return a duration in seconds with three digits and its unit.

    >>> seconds(0.12345), seconds(4321.0)
    ('0.123 s', '4320 s')
    """
    return f"{short(duration_s)} s"


def gigabytes(size: float) -> str:
    """Return bytes in GB (10^9) for a table column: two decimals, four below 0.01 GB, none from 1000 GB on.

    >>> gigabytes(14.2e9), gigabytes(1.2e6), gigabytes(1.5e12)
    ('14.20', '0.0012', '1500')
    """
    decimals = 4 if size < 1e7 else 2 if size < 1e12 else 0
    return f"{size / 1e9:.{decimals}f}"


def duration(seconds: float) -> str:
    """Format seconds for people.

    >>> duration(5), duration(200), duration(7500)
    ('5 s', '3 min 20 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(number: int, what: str) -> str:
    """Return a number of things, in the singular for one.

    >>> counted(1, "cell"), counted(2, "cell")
    ('1 cell', '2 cells')
    """
    return f"{number} {what}{'s' * (number != 1)}"


def enumerated(words: Sequence[str]) -> str:
    """Return words as a sentence lists them.

    >>> enumerated(["a"]), enumerated(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def reach(values: Sequence[int]) -> str:
    """Return the smallest and the largest of sorted numbers; ``0`` if there are none.

    >>> reach([1, 2, 3]), reach([4]), reach([])
    ('1 to 3', '4', '0')
    """
    if not values:
        return "0"
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _magnitude(value: float) -> int:
    """Return the power of ten of the leading digit, rounded to ten digits: 0.0999999999999 counts as 0.1."""
    return int(f"{abs(value):.9e}".split("e")[1])
