"""Figures that were measured while others used the machine carry a mark, and the mark is explained."""

from __future__ import annotations

import re
from typing import Any

import pytest
from background import MARKED, surrounded
from factory import STEADY, answers, but, cell, changed, timed

from vlmnb.analysis import base_configuration
from vlmnb.records import export_columns
from vlmnb.records.record import Record
from vlmnb.records.reported import Figure, Reported
from vlmnb.views import (
    axis_figure,
    axis_table,
    comparison_tables,
    detail_table,
    findings,
    footnotes,
    marks,
    report_tables,
)
from vlmnb.views.table import Field, Table


def shown(table: Table, column: str) -> Field:
    return table.rows[0][table.columns.index(column)]


def test_a_window_that_others_disturbed_is_marked_though_no_pass_is() -> None:
    made = surrounded(0.12)
    table = axis_table.axis_table("batch_size", [made.cell], [made])
    for column in ("Latency, s per batch", "Energy, J per sample"):
        assert shown(table, column).text.endswith(MARKED)
        assert "12 % of the CPU" in shown(table, column).title
    detail = detail_table.detail_table("batch_size", [made.cell], [made])
    folded = axis_figure.points("batch_size", [made.cell], [made])
    assert shown(detail, "Background load").text == shown(folded, "Background load").text == "12 % †"
    assert shown(detail, "Verdict").text == "stable †"
    note = footnotes.disturbed([made])
    assert note.startswith("- `†` other processes used the machine meanwhile: times and joules")
    assert "prompt length 200: 12 %" in note
    assert export_columns.row(made)["latency_disturbed"] is True
    assert "OMP_WAIT_POLICY" not in note
    spun = made.provenance.model_copy(update={"tuning": {"OMP_WAIT_POLICY": "ACTIVE"}})
    made = made.model_copy(update={"provenance": spun})
    assert "OMP_WAIT_POLICY" in footnotes.disturbed([made])
    assert export_columns.row(made)["tuning"] == "OMP_WAIT_POLICY=ACTIVE"
    brief = made.provenance.model_copy(update={"tuning": {"GOMP_SPINCOUNT": "10000"}})
    assert "OMP_WAIT_POLICY" in footnotes.disturbed([made.model_copy(update={"provenance": brief})])


def test_the_comparison_marks_the_number_and_says_what_the_mark_means() -> None:
    made = surrounded(0.12, of=cell(batch_size=16, samples=192))
    (entries,) = base_configuration.base_results([made]).values()
    costs = comparison_tables.cost_table(entries)
    for table in (costs, comparison_tables.headline_table(entries), comparison_tables.points_table(entries)):
        assert re.fullmatch(r"0\.50\d* †", shown(table, "Latency, s per batch").text)
        assert "†: other processes used the machine meanwhile." in table.caption
    assert shown(costs, "Energy, J per sample").text == "≈ 0.0417 †"


def test_a_percentage_carries_the_mark_of_either_of_its_parts() -> None:
    cells = [cell(optimization="fp32"), cell(optimization="sdpa")]
    for loads, marked in (((0.01, 0.5), [False, True]), ((0.5, 0.01), [True, True]),
                          ((0.01, 0.02), [False, False])):  # fmt: skip
        pair = [surrounded(load, of=each) for load, each in zip(loads, cells, strict=True)]
        rows = axis_table.axis_table("optimization", [each.cell for each in pair], pair).rows
        for column in (2, 6):
            assert [MARKED in row[column].text for row in rows] == marked


def test_a_quiet_window_has_no_mark() -> None:
    made = surrounded(0.03)
    table = axis_table.axis_table("batch_size", [made.cell], [made])
    assert not any(MARKED in field.text for field in table.rows[0])
    assert (
        shown(detail_table.detail_table("batch_size", [made.cell], [made]), "Background load").text == "3 %"
    )
    assert footnotes.disturbed([made]) == ""


@pytest.mark.parametrize(("passes", "marked"), [((True, False), False), ((True, True), True)])
def test_where_clean_passes_suffice_energy_alone_is_marked(passes: tuple[bool, ...], marked: bool) -> None:
    made = surrounded(0.2, passes)
    assert made.timing is not None
    slower = tuple(s * (2 if at < len(STEADY) else 1) for at, s in enumerate(made.timing.latencies_s))
    made = changed(made, "timing", latencies_s=slower)
    table = axis_table.axis_table("batch_size", [made.cell], [made])
    assert (MARKED in shown(table, "Latency, s per batch").text) is marked
    assert MARKED in shown(table, "Energy, J per sample").text
    assert ("leave out the disturbed passes" in footnotes.disturbed([made])) is not marked
    assert (footnotes.disturbed([made], energy=False) == "") is not marked
    elsewhere = footnotes.notes([made], energy=False, elsewhere=True)
    assert "20 % of the CPU" in elsewhere, "a page explains the mark of its other tables and its figure"
    spun = changed(made, "provenance", tuning={"GOMP_SPINCOUNT": "10000"})
    assert ("times multiply" in footnotes.disturbed([spun])) is marked, "only where times are disturbed"
    caption = findings.caption("batch_size", [made.cell], [made])
    assert "1 of 1 cells" in caption
    assert ("times do not" in caption) is not marked


@pytest.mark.parametrize(
    ("load", "shares", "loaded"),
    [
        (0.5, (None, 0.9, 0.96), (True, True, True)),
        (0.5, (None, None), (True, True)),
        (0.5, (0.01, None, 0.02, 0.9), (False, False, False, True)),
        (0.5, (0.9, None, None, 0.01, None), (True, True, True, False, False)),
        (0.02, (None, 0.06, None), (False, True, False)),
        (0.02, (None, None), (False, False)),
    ],
)
def test_a_pass_without_a_reading_has_the_load_that_is_known_around_it(
    load: float, shares: tuple[float | None, ...], loaded: tuple[bool, ...]
) -> None:
    made = surrounded(load, tuple(share is not None and share > 0.05 for share in shares))
    each = tuple((1 + at / 8) * s for at in range(len(shares)) for s in STEADY)
    made = changed(made, "timing", pass_loads=shares, latencies_s=each)
    assert made.loaded_passes == loaded
    assert made.clean_passes == export_columns.row(made)["clean_passes"] == loaded.count(False)
    assert made.batches_under_load is all(loaded)


def doubled(load: float, **changes: Any) -> Record:
    """A record whose batches took twice as long as those of ``surrounded``."""
    made = surrounded(load, **changes)
    assert made.timing is not None
    return changed(made, "timing", latencies_s=tuple(2 * s for s in made.timing.latencies_s))


@pytest.mark.parametrize(
    ("loads", "told"),
    [
        ((0.5, 0.6), "2.00 times as long"),
        ((0.01, 0.6), "2.00 times as long"),
        ((0.01, 0.02), "2.00 times as long"),
    ],
)
def test_nothing_is_concluded_from_windows_that_others_disturbed(
    loads: tuple[float, float], told: str
) -> None:
    pair = [surrounded(loads[0], of=cell(image_size=32)), doubled(loads[1], of=cell(image_size=64))]
    cells = [each.cell for each in pair]
    said, caption = findings.text("image_size", cells, pair), findings.caption("image_size", cells, pair)
    busy = sum(load > 0.05 for load in loads)
    assert told in said
    assert ("not reliable" in said) == (busy > 0)
    claims = re.split(r"(?<=[.;]) ", caption)
    assert all("not reliable" in claim for claim in claims if "a batch takes" in claim and busy), (
        "never cut apart"
    )
    assert ("used the machine" in caption) is (f"({busy} of 2 cells)" in caption) is bool(busy)


def test_no_peak_is_told_of_a_disturbed_window_and_joules_in_a_sentence_carry_the_mark() -> None:
    cells = [cell(batch_size=size) for size in (1, 2, 4)]
    quiet = [surrounded(0.01, of=cells[0]), doubled(0.01, of=cells[1]), surrounded(0.01, of=cells[2])]
    cells = [each.cell for each in quiet]
    assert "time per batch is highest at batch size 2" in findings.text("batch_size", cells, quiet)
    busy = [quiet[0], doubled(0.5, of=cells[1]), surrounded(0.5, of=cells[2])]
    said = findings.text("batch_size", cells, busy)
    assert "Between them" not in said
    assert re.search(r"goes from ≈ 0\.\d+ to ≈ 0\.\d+ † J", said)


def test_where_turns_are_shown_the_load_is_that_of_the_turns_and_not_of_the_window() -> None:
    calm = changed(surrounded(0.01, passes=(True, True)), "timing", turns="t", pass_loads=(0.10, 0.20))
    table = axis_table.axis_table("batch_size", [calm.cell], [calm])
    time, energy = (shown(table, column) for column in ("Latency, s per batch", "Energy, J per sample"))
    assert ("15 % of the CPU" in time.title, energy.text.endswith(MARKED)) == (True, False)
    note = footnotes.disturbed([calm])
    assert ("prompt length 200: 15 %" in note, "joules" in note) == (True, False)
    folded = axis_figure.points("batch_size", [calm.cell], [calm])
    assert shown(folded, "Background load").text == "15 % †"
    unread = changed(calm, "timing", pass_loads=(None, None))
    assert "other processes used the machine meanwhile" in marks.of_latency(unread).why
    assert "%" not in footnotes.disturbed([unread]).partition("idle: ")[2]


def test_a_ratio_to_a_reports_figure_carries_the_mark_of_what_was_measured() -> None:
    of = cell(dataset="textvqa")
    figures = tuple(
        Figure(quantity=name, value=value, printed=str(value), unit="s", file="000", table="t", row="r",
               column="c", kind="report", axis="batch_size")
        for name, value in (("latency_s", 0.25), ("energy_j_per_sample", 1.0))
    )  # fmt: skip
    reported = but(timed(of=of), source="reports", timing=None, reported=Reported(figures=figures))
    for load, marked in ((0.5, True), (0.01, False)):
        (row, *_) = report_tables.table("batch_size", [reported.cell], [reported], [surrounded(load)]).rows
        assert (MARKED in row[5].text) is marked


def test_every_time_of_answers_of_fixed_length_carries_the_mark() -> None:
    made = but(surrounded(0.12, of=cell(length="fixed")), answers=answers(4, 1))
    table = detail_table.phase_table("optimization", [made.cell], [made])
    numbers = [field for field in table.rows[0][1:] if field.text != "-"]
    assert len(numbers) >= 4
    assert all(field.text.endswith(MARKED) and "12 % of the CPU" in field.title for field in numbers)


def test_fixed_length_shows_times_in_percent_of_the_original_and_joules_per_token() -> None:
    def decoding(optimization: str, seconds: float, **changes: Any) -> Record:
        of = cell(length="fixed", optimization=optimization, **changes)
        phases = {"decode_s": tuple(seconds * s for s in STEADY), "decode_steps": (10,) * len(STEADY)}
        return changed(timed(STEADY, of=of, answers=answers(4, 1)), "timing", **phases)

    made = [decoding("fp32", 0.4), decoding("static_cache", 0.2), decoding("fp32", 0.1, batch_size=1)]
    table = detail_table.phase_table("optimization", [one.cell for one in made], made)
    assert table.columns[2] == "% of original latency"
    per_token = table.columns.index("Time per output token, s") + 1
    assert [row[2].text for row in table.rows] == ["100.0"] * 3
    assert [row[per_token].text for row in table.rows] == ["100.0", "50.0", "100.0"], "of its own batch size"
    assert table.rows[1][per_token].span
    assert shown(table, "Energy, J per output token").text.startswith("≈ ")
    assert "% of original" not in detail_table.phase_table("batch_size", [made[0].cell], made).columns
