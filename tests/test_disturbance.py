"""Figures that were measured while others used the machine carry a mark, and the mark is explained."""

from __future__ import annotations

import re
from typing import Any

import pytest
from factory import STEADY, cell, timed

from vlmnb import compare, details, disturbance, points, rows, speed, tables, tradeoff
from vlmnb.provenance import Provenance
from vlmnb.readings import Conditions, DeviceState
from vlmnb.record import Record

MARKED = "†"


def surrounded(load: float, passes: tuple[bool, ...] = (False,), **changes: Any) -> Record:
    """A record of a window in which others used a share of the cores, with the marks of its passes."""
    made = timed(STEADY * len(passes), passes=len(passes), **changes)
    assert made.timing is not None
    state = DeviceState()
    around = Conditions(start=state, end=state, other_load=load, contaminated=load > 0.05)
    told = Provenance(code="0" * 16, other_load=load, conditions=around)
    timing = made.timing.model_copy(update={"contaminated": passes})
    return made.model_copy(update={"timing": timing, "provenance": told})


def shown(table: tables.Table, column: str) -> tables.Field:
    return table.rows[0][table.columns.index(column)]


def test_a_window_that_others_disturbed_is_marked_though_no_pass_is() -> None:
    made = surrounded(0.12)
    table = tables.axis_table("batch_size", [made.cell], [made])
    for column in ("Latency per batch, s", "Energy, J per sample"):
        assert shown(table, column).text.endswith(MARKED)
        assert "12 % of its cores" in shown(table, column).title
    detail = details.detail_table("batch_size", [made.cell], [made])
    folded = points.axis_points("batch_size", [made.cell], [made])
    assert shown(detail, "Load by others").text == shown(folded, "Load by others").text == "12 % †"
    assert shown(detail, "Verdict").text == "stable †"
    note = disturbance.note([made])
    assert note.startswith("- `†` other processes used the machine meanwhile: times and joules")
    assert "batch 2, image 64, prompt 200: 12 %" in note
    assert rows.row(made)["latency_disturbed"] is True


def test_the_comparison_marks_the_number_and_says_what_the_mark_means() -> None:
    made = surrounded(0.12, of=cell(batch_size=16, samples=192))
    (entries,) = compare.base_entries([made]).values()
    costs = compare.cost_table(entries)
    for table in (costs, compare.headline_table(entries), tradeoff.points_table(entries)):
        assert re.search(r">0\.50\d* † <span", table)
        assert "After †: other processes used the machine meanwhile." in table
    assert "≈ 0.0417 †" in costs


def test_a_quiet_window_has_no_mark() -> None:
    made = surrounded(0.03)
    table = tables.axis_table("batch_size", [made.cell], [made])
    assert not any(MARKED in field.text for field in table.rows[0])
    assert shown(details.detail_table("batch_size", [made.cell], [made]), "Load by others").text == "3 %"
    assert disturbance.note([made]) == ""


@pytest.mark.parametrize(("passes", "marked"), [((True, False), False), ((True, True), True)])
def test_where_clean_passes_suffice_energy_alone_is_marked(passes: tuple[bool, ...], marked: bool) -> None:
    made = surrounded(0.2, passes)
    assert made.timing is not None
    slower = tuple(s * (2 if at < len(STEADY) else 1) for at, s in enumerate(made.timing.latencies_s))
    made = made.model_copy(update={"timing": made.timing.model_copy(update={"latencies_s": slower})})
    table = tables.axis_table("batch_size", [made.cell], [made])
    assert (MARKED in shown(table, "Latency per batch, s").text) is marked
    assert MARKED in shown(table, "Energy, J per sample").text
    assert ("left out of latencies" in disturbance.note([made])) is not marked
    assert (disturbance.note([made], energy=False) == "") is not marked


def test_answers_of_fixed_length_are_marked_beside_their_verdict() -> None:
    made = surrounded(0.12, of=cell(length="fixed"))
    assert shown(speed.table("batch_size", [made.cell], [made]), "Verdict").text == "stable †"
