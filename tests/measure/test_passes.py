"""Passes that others disturbed, time outside the batches, and data that is missing before a model loads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from background import FourCores
from factory import cell, record, timed

from vlmnb.device import load
from vlmnb.errors import UserError
from vlmnb.measure import loading, protocol
from vlmnb.measure.cells import measure_cells
from vlmnb.measure.generation import Heard
from vlmnb.spec import optimizations, planning
from vlmnb.stats.batches import batch_values
from vlmnb.views import detail_table, findings


def test_each_pass_has_its_background_load_and_marking_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cores, marks = FourCores(monkeypatch), []
    marks.append(load.reading())
    for seconds, cores.others in ((1.0, 0.0), (1.0, 2.0), (0.1, 2.0)):
        cores.work(seconds)
        marks.append(load.reading())
    assert cores.now.now_s == pytest.approx(2.1)
    assert load.shares(marks) == [pytest.approx(0.0), pytest.approx(0.5), None]
    assert [*map(load.is_high, load.shares(marks))] == [False, True, False], (
        "too short to measure is not high"
    )


THREE, MANY = (1.0, 5.0, 9.0, 9.0, 3.0, 7.0), tuple(float(i) for i in range(16))


@pytest.mark.parametrize(
    ("values", "sizes", "length", "contaminated", "counted"),
    [
        (THREE, (4, 4) * 3, "natural", (False, True, False), (2.0, 6.0)),
        (THREE, (4, 4) * 3, "natural", (True, True, True), (3.0, 7.0)),
        (THREE, (4, 4) * 3, "fixed", (False, True, False), THREE),  # four are too few for an interval
        (MANY, (4,) * 16, "fixed", (True, False), MANY[8:]),
        (THREE, (4, 4, 1) * 2, "natural", (False, False), (5.0, 4.0)),
        (THREE, (4, 4, 1) * 2, "fixed", (False, False), (1.0, 5.0, 9.0, 3.0)),
    ],
)
def test_statistics_use_clean_passes_where_they_suffice(
    values: tuple[float, ...], sizes: tuple[int, ...], length: str, contaminated: tuple[bool, ...],
    counted: tuple[float, ...],
) -> None:  # fmt: skip
    assert batch_values(values, sizes, 4, len(contaminated), length, contaminated) == counted


@pytest.mark.parametrize(("spent_s", "passes", "fits"), [(0.1, 1, True), (0.8, 1, False), (0.8, 4, True)])
def test_passes_are_added_as_long_as_the_next_ends_within_the_window(
    spent_s: float, passes: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "WINDOW_S", 1.5)
    assert protocol._another_fits(spent_s, passes) is fits


@pytest.mark.parametrize(
    ("shapes", "name", "first_s", "warmed"),
    [
        ([(4, 9), (4, 7)], "fp32", 0.1, [0, 0]),
        ([(4, 7), (4, 9)], "fp32", 0.1, [0, 1]),
        ([(4, 7), (4, 9)], "fp32", 0.2, [0, 1, 1]),  # the first initialized something
        ([(4, 9), (4, 7)], "fp32", 0.2, [0, 0, 0]),
        ([(4, 7), (4, 9)], "fp32", 0.95, [0, 1]),  # no time for a third
        ([(4, 9), (4, 7), (1, 7)], "fp32", 0.1, [0, 0, 2]),  # a last batch of other rows needs its own code
        ([(4, 7), (4, 9), (1, 7)], "fp32", 0.2, [0, 1, 1, 2]),
        ([(1, 7)], "fp32", 0.1, [0, 0]),
        ([(1, 7)], "fp32", 12.0, [0]),
        ([(4, 7), (4, 9), (1, 7)], "fp32", 12.0, [0]),
        ([(1, 7)], "compile", 12.0, [0, 0]),  # which may have been compiling
    ],
)
def test_what_the_window_does_has_been_done_before(
    shapes: list[tuple[int, int]], name: str, first_s: float, warmed: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    inputs = [{"input_ids": np.zeros(shape)} for shape in shapes]
    generate = OfShapes(inputs, name)
    seconds = iter([first_s, *[0.1] * 3])
    monkeypatch.setattr(protocol, "spent_s", lambda work, device: (work(), next(seconds))[1])
    took, heard = protocol._warm_up(generate, inputs, "cpu")  # type: ignore[arg-type]
    assert len(took) == len(warmed)
    assert generate.seen == warmed
    assert (heard is None) == (name == "compile"), "a later batch may run other compiled code"


class OfShapes:
    """A generator that notes which batches it was called with, and answers each prompt with a 5."""

    def __init__(self, inputs: list[dict[str, Any]], name: str) -> None:
        self.inputs, self.seen = inputs, list[int]()
        optimization = optimizations.parse(name, "fp32")
        self.loaded = SimpleNamespace(configuration=SimpleNamespace(optimization=optimization))

    def __call__(self, batch: Any) -> Any:
        self.seen.append(next(i for i, one in enumerate(self.inputs) if one is batch))
        return np.pad(batch["input_ids"], ((0, 0), (0, 1)), constant_values=5)

    @contextlib.contextmanager
    def heard(self, batch: Any) -> Iterator[Heard]:
        yield Heard()

    def text(self, batch: Any) -> Any:
        return batch


def test_the_record_keeps_every_pass_and_the_table_says_which_were_clean() -> None:
    twice = {"passes": 2, "pass_loads": (0.0, 0.5), "contaminated": (False, True), "loop_s": 14.14}
    made = timed((1.0, 2.0, 5.0, 6.0), **twice)
    assert made.latency is not None
    assert made.latency.median == 1.5
    assert made.timing is not None
    assert made.timing.harness_share == pytest.approx(0.0099, abs=1e-4)
    table = detail_table.detail_table("batch_size", [made.cell], [made])
    shown = dict(zip(table.columns, (field.text for field in table.rows[0]), strict=True))
    assert shown["Passes"] == "1 of 2 clean"
    assert shown["Harness, %"] == "0.99"


def test_missing_data_is_told_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading.ModelSlot, "get", lambda *_: pytest.fail("a model was loaded"))
    asked = {"model": "llava-tiny", "samples": 10**6, "seq_lens": [50], "device": "cpu"}
    plan = planning.plan("seq_len", asked)
    with pytest.raises(UserError, match="were asked for"):
        measure_cells(plan.cells, tmp_path)


@pytest.mark.parametrize("axis", ["seq_len", "optimization", "batch_size"])
def test_one_row_and_batches_that_are_not_full_have_words_and_no_figure(axis: str) -> None:
    alone = record(cell(batch_size=16), latencies=(0.5,), answers=record().answers)
    assert findings.text(axis, [alone.cell], [alone]).splitlines()[0]
    assert findings.caption(axis, [alone.cell], [alone])
    short = timed((0.5,), cell(batch_size=16), batch_samples=(4,))
    assert "could be measured" in findings.text(axis, [short.cell], [short])
    assert findings.measured(axis, [short.cell], [short]) == []
