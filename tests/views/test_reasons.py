"""Pages give a reason in a line; the words of a library are in the tooltip of the dash."""

from __future__ import annotations

import re

import pytest
from factory import absent, cell

from vlmnb.fit import tried
from vlmnb.views import axis_table, footnotes
from vlmnb.views.reasons import readable

RAISED = re.compile(r"\w(?:Error|Exception): ")


NO_GPU = "this machine has no CUDA device that torch can use"
WORDS = {
    NO_GPU: NO_GPU,
    "torchao-int4 does not work here: AssertionError: Torch not compiled with CUDA enabled": "torchao-int4 ",
    "AttributeError: 'EyeConfig' object has no attribute 'num_hidden_layers'": "transformers looks for",
    "not here: ModuleNotFoundError: No module named 'torchvision'": "the package torchvision is not",
    "bitsandbytes 0.5: no four axes (RuntimeError: The size of a (4) is not)": "bitsandbytes 0.5: no",
    "bnb-4bit does not work here: torch.AcceleratorError: x": "bnb-4bit does not work here: a",
    "eye 5.2+cpu, generate in utils.py: ValueError: x: y": "eye 5.2+cpu stopped with an error (ValueError in",
    "KeyError: 'x'": "a library stopped with an error (KeyError)",
}
"""Reasons of records, and how the lines of the pages begin."""


@pytest.mark.parametrize(("reason", "said"), WORDS.items())
def test_a_reason_is_a_line_without_the_text_of_an_exception(reason: str, said: str) -> None:
    assert readable(reason).startswith(said)
    assert not RAISED.search(readable(reason))


def test_no_family_that_was_tried_has_a_raw_exception_for_a_reason() -> None:
    for one in tried.families().values():
        assert not any(RAISED.search(readable(why)) for why in (one.reason, *one.settings.values()))


def test_the_words_of_a_library_are_in_the_tooltip_alone_and_no_status_is_said_twice() -> None:
    found = absent(cell(), "failed", "KeyError: 'x'")
    assert "KeyError: " not in footnotes.reasons([found])
    assert "KeyError: 'x'" in axis_table.axis_table("batch_size", [found.cell], [found]).rows[0][1].title
    short = absent(cell(), "not_enough_tokens", "not enough tokens")
    assert footnotes.reasons([short]).count("not enough tokens") == 1


def test_what_is_left_of_a_reason_closes_its_brackets() -> None:
    """A sentence can have the name of what failed before the exception, in one pair of brackets."""
    said = readable("eye 5.2: works on CUDA alone (eye-int4 does not work here: AssertionError: no CUDA)")
    assert said == "eye 5.2: works on CUDA alone"
    shown = [
        readable(why) for one in tried.families().values() for why in (one.reason, *one.settings.values())
    ]
    assert [why for why in shown if why.count("(") != why.count(")")] == []
