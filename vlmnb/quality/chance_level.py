"""What picking one of the choices at random would score: the level that an accuracy is to be read against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def level(choices: Sequence[Sequence[str] | None]) -> float | None:
    """Expected accuracy of a random choice: the mean of 1 / number of choices.

    None where a question has no choices: how well one guesses then depends on what one knows.
    """
    counts = [len(offered or ()) for offered in choices]
    return sum(1 / count for count in counts) / len(counts) if counts and all(counts) else None


def sentence(levels: Iterable[tuple[str, float | None]]) -> str:
    """Tells the level of each data set that has one, from pairs of a title and a level; else empty.

    Records of one data set may hold different questions, and so have different levels.
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
