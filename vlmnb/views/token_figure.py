"""Score and cost against the image tokens kept, and the tables that others published on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vlmnb.files import plain_yaml
from vlmnb.records.record import Record, by_cell
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell
from vlmnb.spec.optimizations import visual_tokens
from vlmnb.stats import comparison, intervals
from vlmnb.stats.intervals import Interval
from vlmnb.views import detail_table, fields, marks
from vlmnb.views.figure_style import INK, Look, from_zero, look, signed, themed
from vlmnb.views.table import Field, Table, declared
from vlmnb.views.templates import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORIGINAL = "all"
WAYS = (*visual_tokens.WAYS, "pool")


class Point(NamedTuple):
    """A record in the figure: the way its image tokens were chosen, and how many are left."""

    way: str
    kept: int
    record: Record


Lines = Mapping[str, Sequence[Point]]
"""Points by the way to choose tokens, from the fewest tokens to the most; the original ends each line."""


def lines(cells: Sequence[Cell], records: Sequence[Record]) -> Lines:
    """Return the points of each way to choose image tokens; empty without the original."""
    found = by_cell(records)
    original = found.get(cells[0])
    if original is None or original.status != "ok" or not original.answers:
        return {}
    by_way: dict[str, list[Point]] = {}
    seen = None
    for cell in cells[1:]:
        record, reduction = found.get(cell), optimizations.of(cell).reduction
        if record and record.visual_tokens and reduction:
            seen = record.visual_tokens
            by_way.setdefault(reduction.way, []).append(Point(reduction.way, seen.kept, record))
    if seen is None:
        return {}
    last = Point(ORIGINAL, seen.of, original)
    return {way: [*sorted(points, key=lambda p: p.kept), last] for way, points in by_way.items()}


def figure(drawn: Lines) -> Figure:
    """Draw the score and the median time to first token over the image tokens kept, with 95 % intervals."""
    from matplotlib import pyplot

    panels: list[tuple[str, Callable[[Record], Interval | None]]] = [
        ("Score (accuracy, else 1 - WER)", _score), ("Time to first token, s", _first_token)
    ]  # fmt: skip
    with themed():
        made, grid = pyplot.subplots(1, 2, figsize=(9, 3.4))
        for panel, (title, read) in zip(grid, panels, strict=True):
            for i, (way, line) in enumerate(drawn.items()):
                own = look(way, WAYS)
                known = [(p, value) for p in line if (value := read(p.record))]
                at, heights = [p.kept for p, _ in known], [value.value for _, value in known]
                panel.plot(at, heights, color=own.color, linewidth=1)
                # Intervals of one number of tokens lie on one another: each way has caps of another width.
                _points(panel, [of for of in known if of[0].way != ORIGINAL], way, own, 2 + 1.5 * i)
                for point, value in known if read is _first_token else ():
                    signed(panel, point.kept, value.high, marks.of_latency(point.record).sign)
            ends = [of for of in known if of[0].way == ORIGINAL]
            _points(panel, ends, ORIGINAL, Look(INK, "s"), 2)
            panel.set_xlabel("Image tokens kept")
            panel.set_ylabel(title)
            panel.set_xlim(left=0)
            from_zero(panel)
        grid[0].legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=6)
        made.tight_layout()
    return made


def _points(panel: Any, known: Sequence[tuple[Point, Interval]], label: str, own: Look, cap: float) -> None:
    values = [value for _, value in known]
    panel.errorbar(
        [p.kept for p, _ in known], [v.value for v in values],
        yerr=[[v.value - v.low for v in values], [v.high - v.value for v in values]],
        label=label, color=own.color, marker=own.marker, markersize=5, linestyle="", elinewidth=1,
        capsize=cap,
    )  # fmt: skip


def caption(drawn: Lines) -> str:
    """Return which ways beat the random choice, with units and numbers."""
    every = [p for points in drawn.values() for p in points]
    compared = "random" in drawn and len(drawn) > 1
    return say(
        "tokens", "figure", of=max((p.kept for p in every), default=0),
        answers=len(every[0].record.answers), compared=compared,
        beats=beaten(drawn), busy=any(p.record.batches_under_load for p in every),
        intervals=fields.confidence([p.record for p in every]),
    )  # fmt: skip


def beaten(drawn: Lines) -> dict[str, list[int]]:
    """Return the ways whose score is above that of the random choice at each number of tokens of both.

    Each way comes with these numbers. Above means more right answers (or fewer word errors) to the same
    questions than chance gives: by the sign test, question by question.
    """
    random = {p.kept: p.record for p in drawn.get("random", ()) if _score(p.record)}
    found = {}
    for way, points in drawn.items():
        own = {p.kept: p.record for p in points if p.way != ORIGINAL and _score(p.record)}
        shared = sorted(kept for kept in own if kept in random)
        if way != "random" and shared and all(_above(own[n], random[n]) for n in shared):
            found[way] = shared
    return found


def _above(own: Record, other: Record) -> bool:
    """Return whether the score of a record is above that of another, beyond chance."""
    mine, theirs = _of_answers(own), _of_answers(other)
    gains = [mine[name] - theirs[name] for name in mine if name in theirs]
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return better > worse and comparison.sign_test(better, worse) <= 1 - intervals.ENOUGH


def _of_answers(record: Record) -> dict[str, float]:
    """Return the score of each answer; without scores how few word errors it has."""
    scored = record.accuracy is not None
    each = ((a.sample_id, a.score if scored else -(a.word_errors or 0)) for a in record.answers)
    return {name: float(points) for name, points in each if points is not None}


def points(drawn: Lines) -> Table:
    """Make the table of the figure: every point with its interval and its record."""
    every = list({(p.way, p.record.key): p for line in drawn.values() for p in line}.values())
    columns: list[tuple[str, Callable[[Point], Field]]] = [
        ("Way", lambda p: Field(p.way, words=True)),
        ("Image tokens kept", lambda p: Field(str(p.kept), fields.COUNTED, p.record.key)),
        ("Accuracy", lambda p: detail_table.accuracy(p.record)),
        ("WER", lambda p: fields.wer(p.record)),
        ("Time to first token, s", lambda p: fields.time(lambda r: r.ttft_s)(p.record)),
        ("FLOPs per batch", lambda p: fields.flops(p.record)),
        ("Keys and values", lambda p: fields.memory("cache_bytes", fields.COUNTED)(p.record)),
        ("Record", lambda p: fields.record_key(p.record)),
    ]
    return declared("", columns, every)


def published() -> list[Table]:
    """Make the tables that others published, each with its source."""
    return [
        Table(
            f"{one['caption']}. Source: {one['source']['title']}",
            tuple(one["columns"]),
            tuple(
                tuple(
                    Field(text, title=one["source"]["title"], href=one["source"]["address"]) for text in row
                )
                for row in one["rows"]
            ),
        )
        for one in _published()["tables"]
    ]


def contradictions() -> str:
    """Return where the published figures contradict one another, as a Markdown list."""
    return "\n".join(f"- {line}" for line in _published()["contradictions"])


@functools.cache
def _published() -> Any:
    return plain_yaml.load(Path(__file__).with_name("published_tokens.yaml"))


def _score(record: Record) -> Interval | None:
    if record.accuracy is not None and record.accuracy_interval:
        low, high = record.accuracy_interval
        return Interval(value=record.accuracy, low=low, high=high)
    if record.wer is None or record.wer_interval is None:
        return None
    low, high = record.wer_interval
    return Interval(value=1 - record.wer, low=1 - high, high=1 - low)


def _first_token(record: Record) -> Interval | None:
    found = record.ttft_s
    return Interval(value=found.median, low=found.low, high=found.high) if found else None
