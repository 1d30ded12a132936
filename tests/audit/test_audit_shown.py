"""Rules over what export and tables show of a record: planted errors, and silence on good records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from auditing import gpu, levels
from factory import STEADY, answers, cell, record, timed

from vlmnb.audit.measured import throughput
from vlmnb.meters.readings import EnergyReading
from vlmnb.records import export_columns
from vlmnb.records.record import Record
from vlmnb.stats import intervals

FOUR = cell(batch_size=4, samples=48)
FIXED = cell(batch_size=4, samples=48, length="fixed", max_new_tokens=3)


def looped(share: float = 0.98, of: Any = FOUR, latencies: tuple[float, ...] = STEADY) -> Record:
    """A record whose batches take up a share of the loop that held them."""
    found = timed(latencies, of=of)
    assert found.timing is not None
    timing = found.timing.model_copy(update={"loop_s": sum(latencies) / share})
    return found.model_copy(update={"timing": timing})


def shown_as(monkeypatch: pytest.MonkeyPatch, **factors: float) -> None:
    """Make the export show some columns times a factor."""
    right: Callable[[Record], dict[str, Any]] = export_columns.costs

    def wrong(found: Record) -> dict[str, Any]:
        values = right(found)
        return values | {name: values[name] and factor * values[name] for name, factor in factors.items()}

    monkeypatch.setattr(export_columns, "costs", wrong)


def test_good_throughput_is_no_finding() -> None:
    short = timed(batch_samples=(2,) * 11 + (1,), answers=answers(23, 1))
    good = [looped(), looped(of=FIXED), timed(), gpu(), record(), record(timing=None), short]
    assert levels(throughput.throughput_times_latency_is_the_batch, *good) == []
    assert export_columns.row(looped())["samples_per_s"] == pytest.approx(4 / 0.5055)
    assert export_columns.row(looped(of=FIXED))["output_tokens_per_s"] == pytest.approx(12 / 0.5055)
    assert export_columns.row(looped())["output_tokens_per_s"] is None


@pytest.mark.parametrize("name", ["latency_s", "samples_per_s", "output_tokens_per_s"])
def test_a_figure_of_a_sample_shown_as_one_of_a_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown_as(monkeypatch, **{name: 1 / 4})
    assert levels(throughput.throughput_times_latency_is_the_batch, looped(of=FIXED)) == ["error"]


def test_a_throughput_that_no_batch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Throughput and latency made from one wrong number agree with each other, not with the batches."""
    right = Record.full_batches_s.fget
    assert right is not None
    wrong = property(lambda found: tuple(s / found.cell.batch_size for s in right(found)))
    monkeypatch.setattr(Record, "full_batches_s", wrong)
    (found,) = throughput.throughput_times_latency_is_the_batch([looped()])
    assert "none that a full batch" in found.meaning


def test_times_of_samples_recorded_as_times_of_batches() -> None:
    """All raw times alike are divided: only the clock around the loop tells."""
    per_sample = tuple(s / 4 for s in STEADY)
    wrong = looped(share=0.98 / 4, latencies=per_sample)
    (found,) = throughput.throughput_times_latency_is_the_batch([wrong])
    assert found.level == "error"
    assert found.figures["Of the loop"] != found.figures["Samples per second of the batches"]
    by_energy = gpu(latencies=per_sample)
    assert levels(throughput.throughput_times_latency_is_the_batch, by_energy) == ["error"]


def test_joules_that_are_not_those_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        levels(throughput.samples_times_joules_is_the_window, timed(), gpu(), record(), record(energy=()))
        == []
    )
    reading = EnergyReading(source="cpu", method="rapl", energy_j=8.0, detail="test", samples=96)
    assert levels(throughput.samples_times_joules_is_the_window, timed(energy=(reading,))) == ["error"]
    shown_as(monkeypatch, energy_j_per_sample=2, energy_j_per_batch=2)
    assert levels(throughput.samples_times_joules_is_the_window, timed()) == ["error"]


def test_joules_of_a_batch_that_are_those_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    shown_as(monkeypatch, energy_j_per_batch=0.5)
    assert levels(throughput.samples_times_joules_is_the_window, timed()) == ["error"]


def test_throughput_has_the_interval_of_the_latency_upside_down() -> None:
    rate, latency = looped().samples_per_s, looped().latency
    assert isinstance(rate, intervals.Summary)
    assert latency is not None
    assert (rate.low, rate.high) == (4 / latency.high, 4 / latency.low)
    assert rate.low < rate.median < rate.high
