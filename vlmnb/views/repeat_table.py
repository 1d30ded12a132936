"""The table of A/A repeats, and sentences on the noise floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlmnb.analysis import matching, repeatability, titles
from vlmnb.analysis.repeatability import NoiseFloor
from vlmnb.data import catalogue
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.stats import comparison
from vlmnb.views import detail_table, fields
from vlmnb.views.fields import Column, value
from vlmnb.views.table import Field, Table, declared
from vlmnb.views.templates import say

SHOWN = "on other pages"
"""The measurement that other pages show, in the column of the repeats' numbers."""

COLUMNS: tuple[Column, ...] = (
    ("Data set", lambda record: fields.dataset(record.cell)),
    ("Answers", lambda record: Field(record.cell.length, words=True)),
    (
        "Repeat",
        lambda record: Field(
            str(record.cell.repeat) if record.cell.repeat else SHOWN, words=not record.cell.repeat
        ),
    ),
    ("Latency, s per batch", fields.latency),
    ("Preprocessing, s (% of both)", fields.preprocessing),
    ("Verdict", detail_table.verdict),
    ("Background load", detail_table.background_load),
    ("Began", value(lambda record: record.provenance.started_at[11:19], title="UTC", why="not recorded")),
)


def table(records: Sequence[Record]) -> Table:
    """Make a table with one row per window: median with its interval, the background load, and when."""
    ordered = sorted(records, key=lambda r: (r.cell.dataset, r.cell.length, r.cell.repeat))
    return declared(say("repeats", "table"), COLUMNS, ordered)


def text(records: Sequence[Record], known: Sequence[Turns] = ()) -> str:
    """Return a Markdown list: the threshold of each repeated cell, and what it means, with its turns.

    Args:
        records: The repeats with the first measurement of each cell.
        known: All turns.
    """
    groups = [
        (
            catalogue.get(cell.dataset).title,
            cell.length,
            len(windows),
            [one for one in windows if one.batches_under_load],
            repeatability.of(windows),
            repeatability.in_turns(windows, known),
            repeatability.apart_s(windows),
        )
        for cell, windows in repeatability.groups(records).items()
    ]
    return say("repeats", "text", groups=groups, fewest=repeatability.FEWEST, power=comparison.POWER)


def windows(shown: Sequence[Record], known: Iterable[Turns]) -> str:
    """Return a sentence where records show the times of their own windows, but other pages those of turns.

    ``known``: all turns. Empty if records took turns with one another, or none took any elsewhere.
    """
    timed = [one for one in shown if one.timing and one.latency_s is not None]
    elsewhere = {key for turns in known for key in turns.timings} & {one.key for one in timed}
    return say("repeats", "windows") if elsewhere and not any(map(matching.turns_of, timed)) else ""


def noise_floor(floor: NoiseFloor | None, shown: Sequence[Record] = ()) -> str:
    """Return sentences on the turns of the records shown, and on the noise floor and where it comes from.

    ``floor``: None where nothing depends on it.
    """
    timed = [one for one in shown if one.timing and one.latency_s is not None]
    alone = any(map(matching.alone, timed))
    rest = {
        one.cell.model for one in timed if one.timing and not one.timing.turns and not matching.alone(one)
    }
    named = [entry.title if (entry := titles.entry_of(name)) else name for name in sorted(rest)]
    return say(
        "repeats", "noise_floor", floor=floor, fewest=repeatability.FEWEST,
        taken=any(one.timing and one.timing.turns for one in timed),
        but=["those marked ◇"] * alone + [f"those of {name}" for name in named],
    )  # fmt: skip
