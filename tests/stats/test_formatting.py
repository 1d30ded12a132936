"""Numbers as text."""

from __future__ import annotations

import doctest
import math

import pytest

from vlmnb.stats import formatting


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (1.23456, 1.20, 1.27, "1.235"),
        (123456, 121000, 126000, "123500"),
        (0.012349, 0.0121, 0.0126, "0.01235"),
        (5.0, 5.0, 5.0, "5.000"),
        (3.0, -100.0, 100.0, "3"),
        (0.0, -1.0, 1.0, "0"),
        (1.1034e13, 1.09e13, 1.11e13, "1.103e+13"),
        (1.5e-7, 1.4e-7, 1.6e-7, "1.50e-07"),
        (math.inf, 0.0, 1.0, "inf"),
    ],
)
def test_significant(value: float, low: float, high: float, text: str) -> None:
    assert formatting.significant(value, low, high) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (11.03e12, "", "11.03 T"),
        (617.84e9, "FLOP", "617.8 GFLOP"),
        (999.96e9, "B", "1.000 TB"),
        (1000, "J", "1.000 kJ"),
        (-0.00125, "s", "-1.250 ms"),
        (3.0, "s", "3.000 s"),
        (0, "J", "0 J"),
        (2e21, "", "2000 E"),
    ],
)
def test_format_si(value: float, unit: str, text: str) -> None:
    assert formatting.format_si(value, unit) == text


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(formatting).failed == 0
