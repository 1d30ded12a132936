"""Compute what a random choice would score, to compare an accuracy with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def level(choices: Sequence[Sequence[str] | None]) -> float | None:
    """Return the expected accuracy of a random choice: the mean of 1 / number of choices.

    None if a question has no choices.
    """
    counts = [len(offered or ()) for offered in choices]
    return sum(1 / count for count in counts) / len(counts) if counts and all(counts) else None


def sentence(levels: Iterable[tuple[str, float | None]]) -> str:
    """Describe the level of each data set, from pairs of a title and a level; empty if none has one.

    Records of one data set can hold different questions, and so have different levels.
    """
    known: dict[str, list[float]] = {}
    for title, value in levels:
        if value is not None:
            known.setdefault(title, []).append(value)
    told = []
    for title, values in known.items():
        ends = dict.fromkeys(f"{value:.3f}" for value in (min(values), max(values)))
        told.append(f"{' to '.join(ends)} on {title}")
    return f"Picking one of the choices at random would score {', '.join(told)}." if told else ""
