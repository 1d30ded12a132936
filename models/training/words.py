"""Made-up words and numbers for signs, divided into disjoint training, development and test vocabularies.

The division goes by a hash of the text itself, so any sampler, whatever its seed, knows which words it may
draw: a test word can never be drawn for training.
"""

from __future__ import annotations

import random
import zlib
from typing import Literal

Split = Literal["train", "dev", "test"]

COMMON_WORDS = (
    "the a an of to and in is are on it this that with for from at by as what who when where which how "
    "many why does do can number brand time year name color kind type word picture image shown written "
    "sign sentence one two three four five man woman people dog cat car street table water user assistant "
    "system helpful you"
)
CONSONANTS = "BCDFGHJKLMNPRSTVWZ"
VOWELS = "AEIOU"
PATTERNS = ("CVC", "CVCV", "VCVC", "CVCVC")
MAX_LETTERS = 5


def split_of(text: str) -> Split:
    """The vocabulary a word or number belongs to: one in ten is test, one in ten is development."""
    bucket = zlib.crc32(f"sign:{text}".encode()) % 10
    return "test" if bucket == 0 else "dev" if bucket == 1 else "train"


def made_up_word(rng: random.Random, split: Split) -> str:
    """A pronounceable upper-case string of three to five letters from one vocabulary."""
    while True:
        pattern = rng.choice(PATTERNS)
        word = "".join(rng.choice(CONSONANTS if kind == "C" else VOWELS) for kind in pattern)
        if split_of(word) == split:
            return word


def number(rng: random.Random, split: Split) -> str:
    """A number of two to four digits, without a leading zero, from one vocabulary."""
    while True:
        digits = rng.choice((2, 3, 3, 4))
        text = str(rng.randrange(10 ** (digits - 1), 10**digits))
        if split_of(text) == split:
            return text
