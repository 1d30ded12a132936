"""Every number that a page shows carries its interval and leads to its record, or says why it does not."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from factory import answers, cell, changed, record, timed
from matplotlib.figure import Figure
from profiles import profiled

from vlmnb.analysis import agreement, rates
from vlmnb.book import postprocess
from vlmnb.meters.readings import ProbeLogits
from vlmnb.records.parts import Ceilings, FailedSample
from vlmnb.records.record import Record
from vlmnb.views import (
    answer_tables,
    axis_figure,
    axis_table,
    by_layers,
    detail_table,
    figure_style,
    marks,
    repeat_table,
    report_tables,
    roofline,
)
from vlmnb.views import table as table_module
from vlmnb.views.table import Table, render

WHY_NOT = ("without an interval", "no interval", "for an interval", "itself", "counted", "sign test", "UTC")
MANY = tuple(1 + 0.01 * (i % 5) for i in range(8))


def measured(seconds: float = 0.3, **changes: object) -> Record:
    """A record with everything that any table shows."""
    base = timed(tuple(seconds * each for each in MANY), cell(**changes), answers=answers(16, 3))
    return base.model_copy(
        update={
            "cell": base.cell.model_copy(update={"samples": 16}),
            "ceilings": Ceilings(flops_per_s=1e9, bytes_per_s=1e9, method="planted"),
            "memory": base.memory.model_copy(update={"decode_weights_bytes": 1000}),
            "probe": ProbeLogits(vocabulary=3, values=(0.1, 0.2, 0.3)),
        }
    )


SETTINGS = [measured(0.3), measured(0.2, optimization="sdpa")]
CELLS = [found.cell for found in SETTINGS]


def reported(found: list[Record]) -> Table:
    from reported import shown

    plan, own = shown("llava-1.5-7b", "optimization")
    of = own[0].cell.model_copy(update={"samples": 16})
    timing = found[0].timing.model_copy(update={"batch_samples": (of.batch_size,) * 8})
    mine = found[0].model_copy(update={"cell": of, "timing": timing})
    return report_tables.table("optimization", plan.cells, own, [mine])


def flips(found: list[Record]) -> Table:
    (matrix,) = agreement.matrices([found[0], measured(batch_size=4)], ())
    return answer_tables.agreement_table(matrix)


def drifted(found: list[Record]) -> Table:
    changes = agreement.changes(CELLS, found, [measured(batch_size=4)])
    return answer_tables.changes_table(changes, CELLS, found)


KINDS: dict[str, tuple[int, Callable[[list[Record]], Table]]] = {
    "optimization": (1, lambda found: axis_table.axis_table("optimization", CELLS, found)),
    "batch size": (1, lambda found: axis_table.axis_table("batch_size", CELLS[:1], found)),
    "prompt budget": (1, lambda found: axis_table.axis_table("seq_len", CELLS[:1], found)),
    "details": (2, lambda found: detail_table.detail_table("optimization", CELLS, found)),
    "times by phase": (1, lambda found: detail_table.phase_table("batch_size", CELLS, found)),
    "compared by phase": (1, lambda found: detail_table.phase_table("optimization", CELLS, found)),
    "roofline": (1, lambda found: roofline.table(CELLS, found)),
    "ceilings": (1, lambda found: roofline.peaks_table(CELLS, found)),
    "memory": (1, lambda found: roofline.memory_table(CELLS, found)),
    "drift": (1, drifted),
    "agreement": (1, flips),
    "repeats": (3, repeat_table.table),
    "components": (2, lambda _: by_layers.component_table([profiled(1.0)])),
    "parts": (1, lambda _: by_layers.part_table(profiled(1.0))),
    "beside a report": (4, reported),
    "points of an axis": (2, lambda found: axis_figure.points("optimization", CELLS, found)),
    "points by layers": (4, lambda _: by_layers.points([profiled(1.0)])),
    "points of the roofline": (1, lambda found: roofline.points(roofline.bars(CELLS, found))),
}
"""Tables by kind, with the number of columns that say which row it is."""

COUNTS = ("n", "Verdict", "Passes", "Began")


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_has_a_record_and_an_interval_or_says_why_not(kind: str) -> None:
    labels, make = KINDS[kind]
    table = make(SETTINGS)
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


SPEED = re.compile(r"latency|, s\b|J per|^(vision|prefill|decode|mfu|mbu)|per s$|verdict", re.IGNORECASE)
QUALITY = re.compile("WER|Accuracy")


PER_CELL = ("optimization", "batch size", "prompt budget", "details", "times by phase", "roofline", "repeats")


@pytest.mark.parametrize(
    "kind", [*PER_CELL, "compared by phase", "points of an axis", "points of the roofline"]
)
def test_numbers_of_a_cell_to_be_read_with_care_are_marked_in_every_table(kind: str) -> None:
    _, make = KINDS[kind]
    failed = FailedSample(row=4, id="q4", reason="its picture is cut short")
    for mark, sought, change in (
        (
            marks.DEGENERATE,
            (SPEED,),
            {"answers": tuple(a.model_copy(update={"answer": ""}) for a in answers(16, 3))},
        ),
        (marks.FEWER, (SPEED, QUALITY), {"failed_samples": (failed,)}),
    ):
        table = make([found.model_copy(update=change) for found in SETTINGS])
        shown = [
            field
            for row in table.rows
            for head, field in zip(table.columns, row, strict=True)
            if any(each.search(head) for each in sought)
            and field.text != "-"
            and "as printed" not in field.title
        ]
        assert shown
        assert [field for field in shown if mark.strip() not in field.text] == []
        assert all("samples" in field.title or "answers" in field.title for field in shown)


@pytest.mark.parametrize("kind", [*PER_CELL, "memory"])
def test_of_fewer_samples_than_a_batch_nothing_is_shown_per_batch(kind: str) -> None:
    _, make = KINDS[kind]
    timing = SETTINGS[0].timing.model_copy(update={"batch_samples": (1,) * 8})
    table = make([found.model_copy(update={"timing": timing}) for found in SETTINGS])
    for row in table.rows:
        for head, field in zip(table.columns, row, strict=True):
            if re.search(r"latency|J per|FLOPs|Steps|Keys|Peak memory|Verdict|, s \[", head):
                assert (field.text, field.title) == ("-", "fewer samples than one batch"), head


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
    assert len(figure.axes) == 1, "what is the same in all cells has no panel"
    assert [row[-1].key for row in table.rows] == [found.key for found in SETTINGS]
    folded = table_module.points(table)
    assert folded.startswith("<details")
    assert "with its interval and its record</summary>" in folded
    plain = Table("", ("Device",), ((table_module.Field("0.349"),),))
    assert "with its record</summary>" in table_module.points(plain)
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


@pytest.mark.parametrize(("passes", "covered"), [(11, "95 % intervals"), (3, "75 % intervals")])
def test_captions_by_layers_state_the_confidence_of_their_passes(passes: int, covered: str) -> None:
    found = profiled(1.0)
    assert found.layers is not None
    of = {name: getattr(found.layers, name)[:passes] for name in ("forward_s", "hooked_s")}
    parts = tuple(
        part.model_copy(update={"in_pass_s": part.in_pass_s[:passes]}) for part in found.layers.parts
    )
    fewer = changed(found, "layers", **of, parts=parts)
    for made in (by_layers.component_table([fewer]), by_layers.part_table(fewer), by_layers.points([fewer])):
        assert covered in made.caption
    assert covered in by_layers.caption([fewer])


def test_a_panel_has_room_above_heights_that_hardly_differ() -> None:
    pytest.importorskip("matplotlib")
    pair = [measured(1.40), measured(1.43, batch_size=4)]
    low, high = axis_figure.axis_plot("batch_size", [one.cell for one in pair], pair).axes[0].get_ylim()
    assert low == 0
    assert high > 1.04 * max(one.latency.high for one in pair if one.latency)


def test_a_figure_loses_digits_of_its_paths_and_none_of_its_labels() -> None:
    made = figure_style.inlined('<svg width="9pt"><path d="M 1.2345 2"/><text>0.025</text></svg>', "an axis")
    assert "M 1.23 2" in made
    assert ">0.025<" in made


def test_rates_have_the_interval_of_their_batches() -> None:
    own = rates.rates(SETTINGS[0])
    for share in (own.mfu, own.mbu):
        assert share.ends[0] < share.value < share.ends[1]
    few = SETTINGS[0].model_copy(update={"timing": record().timing})
    mfu = rates.rates(few).mfu
    assert mfu is None or mfu.ends is None


@pytest.mark.parametrize("ends", [(75, 180), (5, 21), (1, 400), (61, 66)])
def test_a_logarithmic_axis_has_two_numbers_at_least_and_ten_at_most(ends: tuple[float, float]) -> None:
    figure = Figure()
    panel = figure.add_subplot()
    panel.plot([1, 2], ends)
    figure_style.plain_log(panel.yaxis)
    low, high = panel.get_ylim()
    assert 2 <= sum(low <= tick <= high for tick in panel.get_yticks()) <= 10
