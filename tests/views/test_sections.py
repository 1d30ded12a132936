"""A page has no section without content."""

from __future__ import annotations

from typing import Any

import pytest
from factory import absent, record

from vlmnb import experiment
from vlmnb.records.record import Record
from vlmnb.spec import axes, planning
from vlmnb.spec.cell import Cell
from vlmnb.views import show

SECTIONS = (
    "show_findings",
    "show_table",
    "show_plot",
    "show_tokens",
    "show_speed",
    "show_roofline",
    "show_details",
)
ONE_EACH = {"layers": "show_layers", "preprocessing": "show_preprocessing", "reuse": "show_reuse",
            "agreement": "show_flips", "repeat": "show_repeats"}  # fmt: skip


def failed(cell: Cell) -> Record:
    return absent(cell, "failed", "it broke")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """What the functions of a page display of records, in order."""

    def of(axis: str, make: Any, names: tuple[str, ...], **given: Any) -> list[str]:
        displayed: list[str] = []

        def keep(item: Any, raw: bool = False, metadata: Any = None) -> None:
            displayed.append("figure" if raw else str(item.data))

        monkeypatch.setattr(show, "display", keep)
        plan = planning.plan(axis, {"model": "llava-tiny", "results": str(tmp_path), **given})
        found = [make(cell) for cell in plan.cells]
        for name in names:
            getattr(experiment, name)(plan, found)
        return displayed

    return of


@pytest.mark.parametrize("axis", [name for name, axis in axes.AXES.items() if not axis.own])
def test_a_page_of_failed_cells_has_a_table_with_the_reason_and_no_section_of_numbers(
    shown: Any, axis: str
) -> None:
    names = (ONE_EACH[axis],) if axis in ONE_EACH else SECTIONS
    displayed = shown(axis, failed, names)
    assert "figure" not in displayed
    assert any("<table" in part for part in displayed) == (axis != "agreement"), "nothing to agree with"
    assert sum("*failed*: it broke" in part for part in displayed) == 1
    headings = [part for part in displayed if part.startswith("## ")]
    assert {each.partition("\n")[0] for each in headings} <= {"## Table"}


@pytest.mark.parametrize("axis", ["batch_size", "optimization", "seq_len"])
def test_a_line_on_the_setup_stands_above_the_tables_of_every_section(shown: Any, axis: str) -> None:
    for length in ("natural", "both"):
        displayed = shown(axis, record, (*SECTIONS[1:2], *SECTIONS[4:]), length=length)
        headed = [at for at, part in enumerate(displayed) if part.startswith("## ")]
        assert headed
        assert [displayed[at] for at in headed if not displayed[at + 1].startswith("*Setup:*")] == []
        assert displayed[0].startswith("*Setup:*")


def test_a_line_on_the_setup_stands_above_each_table_of_equal_answers(shown: Any) -> None:
    displayed = shown("batch_size", record, ("show_agreement",))
    assert len(displayed) == 2
    assert (displayed[0][:8], "<table" in displayed[1]) == ("*Setup:*", True)


def test_one_number_is_no_figure_and_answers_of_fixed_length_have_a_section_where_there_are_any(
    shown: Any,
) -> None:
    def one(cell: Cell) -> Record:
        return record(cell) if cell.device == "cpu" else failed(cell)

    natural = shown("device", one, ("show_plot", "show_speed", "show_details"), length="natural")
    assert [part for part in natural if part.startswith("## ")] == ["## Every cell"]
    assert [part for part in natural if "sweeps/full.yaml" in part] == [natural[0]]
    both = shown("device", one, ("show_plot", "show_speed"))
    assert [part for part in both if part.startswith("## ")] == ["## Speed at fixed length"]
    assert not any("sweeps/full.yaml" in part for part in both)


def test_bars_of_one_row_on_several_data_sets_are_no_figure(shown: Any) -> None:
    def one(cell: Cell) -> Record:
        return record(cell) if cell.image_size == 64 else failed(cell)

    assert shown("image_size", one, ("show_plot",), image_sizes=[64, 96]) == []
    assert "figure" in shown("image_size", record, ("show_plot",), image_sizes=[64, 96])
