"""Every number that a page shows carries its interval and leads to its record, or says why it does not."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from factory import answers, cell, record
from profiles import profiled

from vlmnb.analysis import agreement, rates
from vlmnb.book import postprocess
from vlmnb.meters.readings import ProbeLogits
from vlmnb.records.parts import Ceilings, Timing
from vlmnb.records.record import Record
from vlmnb.views import (
    answer_tables,
    axis_figure,
    axis_table,
    by_layers,
    detail_table,
    repeat_table,
    report_tables,
    roofline,
)
from vlmnb.views import table as table_module
from vlmnb.views.table import Table, render

WHY_NOT = ("without an interval", "no interval", "for an interval", "itself", "counted", "sign test", "UTC")


def measured(seconds: float = 0.3, **changes: object) -> Record:
    """A record with everything that any table shows."""
    many = tuple(seconds * (1 + 0.01 * (i % 5)) for i in range(8))
    timing = Timing(
        warmup_batches=2, latencies_s=many, vision_s=tuple(0.1 * s for s in many),
        prefill_s=tuple(0.3 * s for s in many), decode_s=tuple(0.6 * s for s in many), decode_steps=(4,) * 8,
        batch_samples=(2,) * 8, loop_s=sum(many) * 1.001, first_call_s=1.0,
        pass_loads=(0.0,), contaminated=(False,),
    )  # fmt: skip
    of = cell(samples=16, **changes)
    base = record(of, timing=timing, answers=answers(16, 3))
    return base.model_copy(
        update={
            "ceilings": Ceilings(flops_per_s=1e9, bytes_per_s=1e9, method="planted"),
            "memory": base.memory.model_copy(update={"decode_weights_bytes": 1000}),
            "probe": ProbeLogits(vocabulary=3, values=(0.1, 0.2, 0.3)),
        }
    )


SETTINGS = [measured(0.3), measured(0.2, optimization="sdpa")]
CELLS = [found.cell for found in SETTINGS]


def reported() -> Table:
    from reported import shown

    plan, own = shown("llava-1.5-7b", "optimization")
    report = own[0]
    mine = measured(model=report.cell.model, **{
        name: getattr(report.cell, name) for name in ("device", "dtype", "optimization", "image_size")
    })  # fmt: skip
    mine = mine.model_copy(update={"cell": report.cell.model_copy(update={"samples": 16})})
    return report_tables.table("optimization", plan.cells, own, [mine])


def window() -> Table:
    return repeat_table.table([measured(repeat=number) for number in (1, 2, 3)])


def flips() -> Table:
    (matrix,) = agreement.matrices([measured(), measured(batch_size=4)], ())
    return answer_tables.agreement_table(matrix)


def drifted() -> Table:
    changes = agreement.changes(CELLS, SETTINGS, [measured(batch_size=4)])
    found = answer_tables.changes_table(changes, CELLS, SETTINGS)
    return found


def ceilings() -> Table:
    found = roofline.peaks_table(CELLS, SETTINGS)
    return found


KINDS: dict[str, tuple[int, Callable[[], Table]]] = {
    "optimization": (1, lambda: axis_table.axis_table("optimization", CELLS, SETTINGS)),
    "batch size": (1, lambda: axis_table.axis_table("batch_size", CELLS[:1], SETTINGS)),
    "prompt budget": (1, lambda: axis_table.axis_table("seq_len", CELLS[:1], SETTINGS)),
    "details": (2, lambda: detail_table.detail_table("optimization", CELLS, SETTINGS)),
    "fixed length": (1, lambda: detail_table.phase_table("optimization", CELLS, SETTINGS)),
    "roofline": (1, lambda: roofline.table(CELLS, SETTINGS)),
    "ceilings": (1, ceilings),
    "memory": (1, lambda: roofline.memory_table(CELLS, SETTINGS)),
    "drift": (1, drifted),
    "agreement": (1, flips),
    "repeats": (3, window),
    "components": (2, lambda: by_layers.component_table([profiled(1.0)])),
    "parts": (1, lambda: by_layers.part_table(profiled(1.0))),
    "beside a report": (4, reported),
    "points of an axis": (2, lambda: axis_figure.points("optimization", CELLS, SETTINGS)),
    "points by layers": (4, lambda: by_layers.points([profiled(1.0)])),
    "points of the roofline": (1, lambda: roofline.points(roofline.bars(CELLS, SETTINGS))),
}
"""Tables by kind, with the number of columns that say which row it is."""

COUNTS = ("n", "Verdict", "Passes", "Began")


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_has_a_record_and_an_interval_or_says_why_not(kind: str) -> None:
    labels, make = KINDS[kind]
    table = make()
    numbers = 0
    for row in table.rows:
        for head, field in list(zip(table.columns, row, strict=True))[labels:]:
            if field.text == "-":
                assert field.title, (head, row[0].text)
            elif not field.words and re.search(r"\d", field.text):
                numbers += 1
                assert field.key or "itself" in field.title, (head, field)
                told = field.span or any(why in field.title for why in WHY_NOT)
                assert told or head in COUNTS, (head, field)
    assert numbers


def test_an_interval_stands_beside_its_number_and_the_number_alone_is_the_link() -> None:
    found = SETTINGS[0]
    shown = render(axis_table.axis_table("batch_size", [found.cell], [found]))
    linked = postprocess.linked(shown, {found.key: "x.json"})
    assert re.search(
        r'<a href="x.json">0.188</a> <span class="interval">\[0.\d+, 0.\d+\]</span></td>', linked
    )
    assert linked.count('<a href="x.json">') == shown.count("data-key")


def test_a_plot_has_as_many_points_as_its_table() -> None:
    pytest.importorskip("matplotlib")
    figure = axis_figure.axis_plot("optimization", CELLS, SETTINGS)
    table = axis_figure.points("optimization", CELLS, SETTINGS)
    assert len(table.rows) == len(figure.axes[0].patches) == 2
    assert len(set(table.columns) - {"Background load"}) - 3 == len(figure.axes)
    assert [row[-1].key for row in table.rows] == [found.key for found in SETTINGS]
    folded = table_module.points(table)
    assert folded.startswith("<details")
    assert folded.count(f'data-key="{SETTINGS[0].key}"') == 6, (
        "each value, the load by others, and the record itself"
    )


def test_every_mark_by_layers_is_a_row_and_a_component_keeps_its_color() -> None:
    found = profiled(1.0)
    assert found.layers is not None
    figure = by_layers.figure([found])
    bars, depth, roof = figure.axes
    rows = [row[0].text for row in by_layers.points([found]).rows]
    assert rows.count("left") == len(bars.patches)
    assert rows.count("middle") == sum(
        len(line.get_xdata()) for line in depth.lines if line.get_marker() == "o"
    )
    assert rows.count("right") == sum(len(places.get_offsets()) for places in roof.collections)
    colors = {bar.get_facecolor() for bar in bars.patches}
    assert {
        tuple(places.get_facecolor()[0]) for places in roof.collections if len(places.get_offsets())
    } <= colors


def test_rates_have_the_interval_of_their_batches() -> None:
    own = rates.rates(SETTINGS[0])
    for share in (own.mfu, own.mbu):
        assert share.ends[0] < share.value < share.ends[1]
    few = SETTINGS[0].model_copy(update={"timing": record().timing})
    mfu = rates.rates(few).mfu
    assert mfu is None or mfu.ends is None
