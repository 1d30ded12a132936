"""What an optimization is worth: what it saved and could save, its score, the cost of a right answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from vlmnb.analysis import worth
from vlmnb.analysis.worth import Gate, Saving
from vlmnb.records.record import Record, by_cell
from vlmnb.spec.cell import Cell
from vlmnb.stats.formatting import digits, significant
from vlmnb.stats.intervals import Interval
from vlmnb.views import detail_table, fields, marks
from vlmnb.views.marks import MODELLED, Mark, joined, marked
from vlmnb.views.table import Field, Table, declared, missing, without
from vlmnb.views.templates import say

FEW = "too few batches"
"""Why it is not known what was saved."""


class Worth(NamedTuple):
    """A row: a cell, its record and the original's, and their comparison; None where it cannot be made."""

    cell: Cell
    record: Record | None
    original: Record | None
    saving: Saving | None
    gate: Gate | None

    @property
    def times(self) -> Mark:
        """Return the mark of its times, if they are not those that the page shows."""
        if self.record is None or self.original is None:
            return Mark()
        return marks.of_other_times(self.original, self.record)


def rows(
    cells: Sequence[Cell], records: Sequence[Record], others: Iterable[Record], noise_floor: float
) -> list[Worth]:
    """Compare every cell with the first one, which is the original at the same batch size."""
    found, runs = by_cell(records), list(others)
    original = found.get(cells[0])
    made = []
    for cell in cells:
        own, saved, kept = found.get(cell), None, None
        if original and own and own is not original and original.status == own.status == "ok":
            saved = worth.saving(original, own, noise_floor)
            kept = worth.gate(original, own, runs)
        made.append(Worth(cell, own, original, saved, kept))
    return made


def table(found: Sequence[Worth]) -> Table:
    """Make a table with a row for each optimization, the original first."""
    reduced = any(one.record and one.record.visual_tokens for one in found)
    columns: list[tuple[str, Callable[[Worth], Field]]] = [
        ("Optimization", lambda one: Field(one.cell.optimization)),
        *([("Image tokens", _image_tokens)] if reduced else []),
        ("Score kept", _kept),
        (f"Keeps {worth.KEEPS:.0%}".replace("%", " %"), _verdict),
        ("Saved, s per batch", _saved),
        ("At most, s", partial(_bound, "bound_s")),
        ("Saved, J per sample", partial(_joules, "joules")),
        ("At most, J", partial(_joules, "bound_j")),
        ("s per right answer", partial(_per_right, worth.seconds_per_right)),
        ("J per right answer", partial(_per_right, worth.joules_per_right)),
    ]
    spread = next((one.gate for one in found if one.gate), None)
    caption = say("worth", "caption", first=found[0].cell, gate=spread, keeps=worth.KEEPS)
    return declared(caption, columns, found)


def text(found: Sequence[Worth], changed: Collection[str] = ()) -> str:
    """Return a Markdown list: which optimizations save or cost time, and which keep the score.

    ``changed``: the optimizations that change answers beyond the noise, and so carry a mark.
    """
    groups: dict[str, list[Worth]] = {}
    for one in found:
        if one.saving:
            groups.setdefault(_time(one, one.saving.seconds), []).append(one)
        if one.saving and one.gate:
            groups.setdefault(one.gate.verdict, []).append(one)
    names = {"passed": "passed", "failed": "failed", "unknown": "may be noise"}
    names |= {name: name for name in ("faster", "slower", "same", "few", "busy")}
    lists = {name: groups.get(group, []) for name, group in names.items()}
    return say("worth", "saves", keeps=f"{100 * worth.KEEPS:.0f} %", changed=changed, **lists)


def _time(one: Worth, seconds: Interval | None) -> str:
    if one.saving and one.saving.disturbed:
        return "busy"
    if seconds is None:
        return "few"
    return "faster" if seconds.low > 0 else "slower" if seconds.high < 0 else "same"


def _image_tokens(one: Worth) -> Field:
    if one.record is None or one.record.visual_tokens is None:
        if one.record is None or not one.record.answers:
            return missing(one.record)
        return detail_table.image_tokens(one.record)
    seen = one.record.visual_tokens
    beside = f", and {seen.beside} line ends" if seen.beside else ""
    return Field(f"{seen.kept} of {seen.of}", f"kept{beside}; {fields.COUNTED}", one.record.key)


def _kept(one: Worth) -> Field:
    if one.gate is None or one.record is None:
        return _nothing(one, "the data set has no scores, or the answers no meaning")
    kept = one.gate.kept
    title = "sum of the scores over the original's; 95 % interval from the answers lost and gained"
    shown = fields.share(kept.value, (kept.low, kept.high), title, one.record.key, " %")
    return marked(shown, marks.of_samples(one.record))


def _verdict(one: Worth) -> Field:
    if one.gate is None or one.record is None:
        return _nothing(one, "the data set has no scores, or the answers no meaning")
    title = f"the original's own score differs by {100 * one.gate.spread:.1f} % in {one.gate.runs} other runs"
    return Field(one.gate.verdict, title, one.record.key, words=True)


def _saved(one: Worth) -> Field:
    if one.saving is None or one.saving.seconds is None or one.record is None or one.original is None:
        return _nothing(one, FEW)
    title = "at the original's number of steps; noise floor included"
    shown = _estimate(one.saving.seconds, title, one.record)
    return marked(shown, marks.of_ratio(one.original, one.record))


def _bound(name: str, one: Worth) -> Field:
    if one.saving is None or one.original is None:
        return _nothing(one)
    title = "by the phases of the original; median, without an interval"
    return marked(Field(digits(getattr(one.saving, name)), title, one.original.key), one.times)


def _joules(name: str, one: Worth) -> Field:
    amount = getattr(one.saving, name) if one.saving else None
    if amount is None or one.record is None:
        few = name == "joules" and one.saving is not None and one.saving.seconds is None
        return _nothing(one, FEW if few else one.record.energy_reason if one.record else "")
    of = [record for record in (one.record, one.original) if record]
    if isinstance(amount, Interval):
        title = "one reading of each window; the noise floor of windows apart, at least 10 %"
        shown = _estimate(amount, title, one.record)
    else:
        shown = Field(digits(amount), fields.ONE_READING, one.record.key)
    if any(record.energy_method == "model" for record in of):
        shown = replace(shown, text=f"{MODELLED}{shown.text}")
    return marked(shown, joined(*map(marks.of_energy, of)))


def _per_right(read: Callable[[Record], Interval | None], one: Worth) -> Field:
    found = read(one.record) if one.record else None
    if found is None or one.record is None:
        short = one.record is not None and one.record.short
        return missing(one.record, "" if short else "no right answer, or no score or energy to count by")
    shown = _estimate(found, "interval over questions", one.record)
    if read is worth.joules_per_right and one.record.energy_method == "model":
        shown = replace(shown, text=f"{MODELLED}{shown.text}", title=f"{shown.title}; modelled")
    of = marks.of_latency if read is worth.seconds_per_right else marks.of_energy
    return marked(shown, of(one.record))


def _estimate(found: Interval, title: str, record: Record) -> Field:
    low, high = found.low, found.high

    def write(number: float) -> str:
        text = significant(number, low, high)
        return text if float(text) or not number else f"{number:.1g}"  # not 0 for an end that is not

    return fields.spanned(found.value, (low, high), write, f"95 % interval; {title}", record.key)


def _nothing(one: Worth, why: str = "") -> Field:
    if one.record is not None and one.record is one.original:
        return without("the original itself", one.record.key)
    return missing(one.record, why)
