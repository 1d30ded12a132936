"""The marks of tables and figures: what each one means, and which numbers carry it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

from vlmnb.analysis import matching
from vlmnb.records.record import Record
from vlmnb.stats.formatting import enumerated
from vlmnb.views.table import MISSING, Field, Row

MODELLED, DISTURBED, BEYOND, CHANGED, DEGENERATE, FEWER = "≈ ", " †", " ‡", " ⚑", " ∅", " §"
DISPUTED, ALONE = " ⚠", " ◇"
"""Signs before (the first) and after numbers."""

LEGEND = {
    "vlmnb-missing": "`-` no number (its tooltip or a note says why)",
    MODELLED: "`≈` modelled, not measured",
    DISTURBED: "`†` other processes used the machine meanwhile",
    BEYOND: "`‡` above the measured peak rate",
    CHANGED: "`⚑` changes answers beyond the noise",
    DEGENERATE: "`∅` the answers say nothing",
    FEWER: "`§` some samples could not be used",
    ALONE: "`◇` not timed in the turns of the other rows: compared by other times (see its tooltip)",
    DISPUTED: "`⚠` disputed: the box on this page says why",
}
"""What each mark means, by what shows in a page's text that it occurs."""


class Mark(NamedTuple):
    """A mark after a number, and what the number's tooltip adds; both empty for a number without one."""

    sign: str = ""
    why: str = ""


def legend(page: str, but: str = "") -> str:
    """Return a line of Markdown on the marks that occur in the text of a page; empty if none does."""
    found = [meaning for mark, meaning in LEGEND.items() if mark in page and mark != but]
    return f"*Marks:* {' · '.join(found)}" if found else ""


def if_disputed(field: Field, figure: tuple[str, str | None], disputed: Collection[tuple[str, str]]) -> Field:
    """Return a field, with the mark of a disputed figure if it is one and has a number.

    Args:
        field: Of one record.
        figure: The record's key, and the quantity that the field shows.
        disputed: Figures of reports that the audit has a finding about.
    """
    if figure not in disputed or field.text in ("", MISSING):
        return field
    return marked(field, Mark(DISPUTED, "; disputed: The reports, checked, says why"))


def of_latency(record: Record) -> Mark:
    """Return the mark of a time that is taken over batches, with its file if it was taken in turns."""
    return joined(_of_batches(record), of_turns(record))


def of_turns(record: Record, other: Record | None = None) -> Mark:
    """Return what a tooltip says of a time, or of a ratio of two, of turns: in which files it is."""
    shown = [record] if other is None else [one for one, _ in matching.matched(record, other).turns]
    return _of_files(map(matching.turns_of, shown))


def _of_files(turns: Iterable[str]) -> Mark:
    files = [f"turns/{name}.json" for name in turns if name]
    return Mark("", f"; timed in turns: see {enumerated(files)}, not the record") if files else Mark()


def _of_batches(record: Record) -> Mark:
    window = Mark(ALONE, "; of the record's own window: it took no turns with the other rows")
    speed = _of_speed(record, record.batches_under_load, load_share(record))
    return joined(speed, window if matching.alone(record) else Mark())


def of_ratio(low: Record, high: Record) -> Mark:
    """Return the mark of a number that follows from the times of two records: see ``matching.matched``."""
    of = matching.matched(low, high)
    batches = _of_batches(of.low), _of_batches(of.high)
    return joined(*batches, of_other_times(low, high), of_turns(low, high))


def of_other_times(low: Record, high: Record) -> Mark:
    """Return the mark of two records that are compared by other times than the page shows of them."""
    of = matching.matched(low, high)
    if of.shown or of.low.latency is None or of.high.latency is None:
        return Mark()
    times = f"{of.high.latency.median:.4g} s against {of.low.latency.median:.4g} s"
    if of.turns:
        return Mark(ALONE, f"; by other turns, which the two took together: {times}")
    return Mark(ALONE, f"; window against window, as the two took no turns together: {times}")


def of_energy(record: Record) -> Mark:
    """Return the mark of a number that is taken over the whole window, such as energy."""
    return _of_speed(record, record.window_under_load, record.provenance.other_load)


def of_peak(contaminated: bool, other_load: float | None = None) -> Mark:
    """Return the mark of a peak rate, which is too low if other processes disturbed every try of it."""
    if not contaminated:
        return Mark()
    load = "" if other_load is None else f", {100 * other_load:.0f} % of the CPU or more"
    return Mark(DISTURBED, f"; other processes used the machine in every try of the peak rate{load}")


def of_share(share: float) -> str:
    """Return the mark of a share of a peak rate, given as a fraction."""
    return BEYOND if round(100 * share, 1) > 100 else ""


def beyond(rows: Iterable[Row]) -> bool:
    """Return whether a share of a peak rate in a table is above 100 %."""
    return carried(rows, BEYOND)


def carried(rows: Iterable[Row], mark: str) -> bool:
    """Return whether a number of a table carries a mark, so that its caption explains it."""
    return any(mark in field.text for row in rows for field in row)


def of_axis(records: Iterable[Record]) -> str:
    """Return what the label of an axis of joules says if one of some records has modelled ones."""
    return f"\n({MODELLED}modelled)" if any(one.energy_method == "model" for one in records) else ""


def marked(field: Field, mark: Mark) -> Field:
    """Return a field with a mark after its number."""
    return replace(field, text=field.text + mark.sign, title=field.title + mark.why)


def of_samples(record: Record) -> Mark:
    """Return the mark of a number over samples of which some could not be used."""
    count = len(record.failed_samples)
    why = f"; {count} of {record.cell.samples} samples could not be used"
    return Mark(FEWER, why) if count else Mark()


def load_share(record: Record) -> float | None:
    """Return the background load during the times that are shown: of the turns' rounds on average, else of
    the window, as share of all cores, 0 to 1; None if it is not known.
    """
    if record.timing is None or not record.timing.turns:
        return record.provenance.other_load
    known = [share for share in record.timing.pass_loads if share is not None]
    return sum(known) / len(known) if known else None


def of_load(record: Record, disturbed: bool) -> Mark:
    """Return the mark of background load, if it disturbed a number that is taken over the whole window."""
    return _of_share(record.provenance.other_load) if disturbed else Mark()


def joined(*marks: Mark) -> Mark:
    """Return several marks as one, each sign once."""
    signs = dict.fromkeys(sign for mark in marks for sign in mark.sign.split())
    return Mark("".join(f" {sign}" for sign in signs), "".join(dict.fromkeys(mark.why for mark in marks)))


def _of_speed(record: Record, disturbed: bool, share: float | None) -> Mark:
    empty = Mark(DEGENERATE, f"; {record.degenerate}") if record.degenerate else Mark()
    return joined(empty, _of_share(share) if disturbed else Mark(), of_samples(record))


def _of_share(share: float | None) -> Mark:
    used = "the machine" if share is None else f"{100 * share:.0f} % of the CPU"
    return Mark(DISTURBED, f"; other processes used {used} meanwhile")
