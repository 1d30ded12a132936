"""The page on the reuse of a picture: table, figure, and when keeping something of a picture pays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlmnb.analysis import picture_reuse
from vlmnb.meters.readings import headline
from vlmnb.records.parts import Asked, Reused
from vlmnb.records.record import Record
from vlmnb.stats import formatting, intervals
from vlmnb.views import fields, figure_style, marks
from vlmnb.views.marks import Mark, marked
from vlmnb.views.table import MISSING, Field, Row, Table, missing, without
from vlmnb.views.templates import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADS = (
    "Questions a picture", "Kept", "Cost of a question, s", "Plain beside it, s", "% of plain",
    "Energy, J a question", "Kept, made in, s", "Kept, memory", "Pays from, questions", "Same answers",
)  # fmt: skip
KEPT = {"": "nothing", "encoder": "encoder's output", "prefix": "prefix in the cache"}


def table(records: Sequence[Record], noise_floor: float) -> Table:
    """Make a table with a row for nothing kept and one for each way, by number of questions a picture."""
    rows: list[Row] = []
    for number in dict.fromkeys(record.cell.questions for record in records):
        same = [record for record in records if record.cell.questions == number]
        if first := next((record for record in same if record.reused), None):
            rows.append(_plain(first))
        rows += [_kept(record, noise_floor) for record in same]
    return Table(say("reuse", "table", intervals=_intervals(records)), HEADS, tuple(rows))


def figure(records: Sequence[Record]) -> Figure:
    """Draw the cost of a question over the number of questions a picture, with intervals."""
    from matplotlib import pyplot

    with figure_style.themed():
        drawing, panel = pyplot.subplots(figsize=(6.5, 4), layout="constrained")
        for way, drawn in _series(records).items():
            look = figure_style.look(way, KEPT)
            at = [record.cell.questions for record, _ in drawn]
            found = [picture_reuse.cost(record, asked) for record, asked in drawn]
            panel.errorbar(
                at, [each.median for each in found],
                yerr=[[x.median - x.low for x in found], [x.high - x.median for x in found]],
                label=KEPT[way], color=look.color, marker=look.marker, markersize=5, capsize=2,
            )  # fmt: skip
            for x, each, (record, _) in zip(at, found, drawn, strict=True):
                figure_style.signed(panel, x, each.high, _mark(record).sign)
        panel.set_xscale("log", base=2)
        ticks = sorted({record.cell.questions for record in records})
        panel.set_xticks(ticks, [str(each) for each in ticks])
        figure_style.from_zero(panel)
        panel.set_xlabel("Questions a picture")
        panel.set_ylabel("Cost of a question, s")
        panel.legend()
    return drawing


def points(records: Sequence[Record]) -> Table:
    """Make the table of the figure's points."""
    rows = [
        (
            Field(str(record.cell.questions)),
            Field(KEPT[way], words=True),
            _cost(record, asked),
            fields.record_key(record),
        )
        for way, drawn in _series(records).items()
        for record, asked in drawn
    ]
    return Table(say("reuse", "points", intervals=_intervals(records)), (*HEADS[:3], "Record"), tuple(rows))


def caption(records: Sequence[Record]) -> str:
    """Return the caption of the figure."""
    return say(
        "reuse", "figure", n=[len(picture_reuse.costs_s(r, r.reused.kept)) for r in records if r.reused],
        intervals=_intervals(records), busy=any(r.window_under_load for r in records if r.reused),
    )  # fmt: skip


def _intervals(records: Sequence[Record]) -> str:
    return fields.covering(picture_reuse.cost(r, r.reused.kept) for r in records if r.reused)


def text(records: Sequence[Record], noise_floor: float) -> str:
    """Return a Markdown list: what each way saves with the most questions, and when it pays."""
    lines = []
    for way in dict.fromkeys(record.cell.reuse for record in records):
        of_way = [record for record in records if record.cell.reuse == way]
        measured = [record for record in of_way if record.reused]
        if not measured:
            lines.append(
                say("reuse", "absent", kept=KEPT[way], status=of_way[0].status, reason=of_way[0].reason)
            )
            continue
        most = max(measured, key=lambda record: record.cell.questions)
        found, pays = picture_reuse.saved(most, noise_floor), picture_reuse.break_even(most)
        doubt = _doubt(most, pays.questions, noise_floor) if pays and pays.questions else ""
        answers = sum(len(record.reused.sample_ids) for record in measured if record.reused)
        lines.append(
            say("reuse", "line", kept=KEPT[way], record=most, found=found, costs=picture_reuse.medians(most),
                pays=pays, doubt=doubt, answers=answers, disturbed=most.window_under_load)
        )  # fmt: skip
    return "\n".join(f"- {line}" for line in lines)


def _series(records: Sequence[Record]) -> dict[str, list[tuple[Record, Asked]]]:
    """Return what is drawn by way; the plain cost is that of the first way's record."""
    found: dict[str, list[tuple[Record, Asked]]] = {"": []}
    for record in records:
        if record.reused is not None:
            if all(one.cell.questions != record.cell.questions for one, _ in found[""]):
                found[""].append((record, record.reused.plain))
            found.setdefault(record.cell.reuse, []).append((record, record.reused.kept))
    return found


def _plain(record: Record) -> Row:
    assert record.reused is not None
    plain, itself = record.reused.plain, Field("100", "the plain run itself")
    costs = _cost(record, plain), without(itself.title), itself, _energy(record, plain)
    return (*_names(record, ""), *costs, *[without("nothing is kept")] * 3, without(itself.title))


def _kept(record: Record, noise_floor: float) -> Row:
    names, found = _names(record, record.cell.reuse), record.reused
    if found is None:
        return (*names, *[missing(record)] * 8)
    costs = _cost(record, found.kept), _cost(record, found.plain), _share(record, noise_floor)
    return (*names, *costs, _energy(record, found.kept), *_paid(record, found, noise_floor))


def _paid(record: Record, found: Reused, noise_floor: float) -> Row:
    key, made = record.key, intervals.median_interval(found.kept.keep_s)
    size, same = max(found.kept_bytes), len(found.sample_ids)
    pays = picture_reuse.break_even(record)
    assert pays is not None
    shown = without("a later question costs no less than a plain one", key)
    if record.window_under_load:
        shown = without("other processes used the machine meanwhile, so nothing is concluded", key)
    elif pays.questions and (doubt := _doubt(record, pays.questions, noise_floor)):
        shown = without(doubt, key)
    elif pays.questions:
        why = f"({pays.keep_s:.3g} s once, then {pays.kept_s:.3g} s instead of {pays.plain_s:.3g} s)"
        shown = Field(str(pays.questions), f"from medians {why}, without an interval", key)
    return (
        marked(fields.seconds(made, key, "pictures"), _mark(record)),
        Field(formatting.format_si(size, "B"), "of one picture; counted, without an interval", key),
        shown,
        Field(f"{same} of {same}", "token by token; counted, without an interval", key),
    )


def _doubt(record: Record, questions: int, noise_floor: float) -> str:
    """Return why it may be noise that keeping pays from a number of questions; empty if it is not."""
    within = questions <= record.cell.questions
    found = (picture_reuse.saved if within else picture_reuse.later)(record, noise_floor)
    what = "with so many questions it saves nothing" if within else "a later question saves nothing"
    return f"may be noise: {what} for certain" if found is None or found.high >= 1 else ""


def _mark(record: Record) -> Mark:
    return marks.of_load(record, record.window_under_load)


def _names(record: Record, way: str) -> Row:
    return Field(str(record.cell.questions)), Field(KEPT[way], words=True)


def _cost(record: Record, asked: Asked) -> Field:
    shown = fields.seconds(picture_reuse.cost(record, asked), record.key, "pictures")
    return marked(shown, _mark(record))


def _share(record: Record, noise_floor: float) -> Field:
    found = picture_reuse.saved(record, noise_floor)
    if found is None:
        return missing(record)
    if found.n < intervals.FEWEST_SAMPLES:
        shown = Field(f"{100 * found.ratio:.1f}", "too few pictures for an interval", record.key)
    else:
        title = f"ratio of the medians, {found.n} pictures; the interval, noise floor included, decides"
        shown = fields.of_ratio(found, title, record.key)
    return marked(shown, _mark(record))


def _energy(record: Record, asked: Asked) -> Field:
    reading = headline(asked.energy, record.cell.device, asked.energy_refused)
    shown = fields.of_part(reading, reading.samples if reading else None, asked.energy_refused, record.key)
    return shown if shown.text == MISSING else marked(shown, marks.of_energy(record))
