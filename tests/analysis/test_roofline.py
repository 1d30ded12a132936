"""The roofline: ceilings that others disturbed, rates of clean passes, and what may be said of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from background import MARKED, FourCores, surrounded
from factory import but, cell, changed
from optimized import timed

from vlmnb.analysis import rates
from vlmnb.analysis.rates import Rate
from vlmnb.device import conditions, load
from vlmnb.device.load import is_high
from vlmnb.flops.flop_count import Parts
from vlmnb.measure import peak_rates
from vlmnb.measure.cells import measure_cell
from vlmnb.measure.flop_counting import FlopCounts
from vlmnb.measure.loading import ModelSlot
from vlmnb.meters.readings import MemoryUsage
from vlmnb.records.cells_to_measure import RATES
from vlmnb.records.parts import Ceilings, Shown
from vlmnb.records.record import Record
from vlmnb.records.resolved import resolve_cell
from vlmnb.views import detail_table, roofline
from vlmnb.views.templates import say


class Machine(FourCores):
    """A machine on which peak rates are searched, try by try."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.search = peak_rates.Search()

    def tried(self, *tries: tuple[float, float]) -> Ceilings:
        """Make tries, each with the fraction of the cores that others use and the seconds of a product."""
        for share, product_s in tries:
            self.others = 4 * share
            self.search.once(partial(self._product, product_s), lambda: 1.0)
        return self.search.found(100, 100, "planted")

    def _product(self, seconds: float) -> float:
        self.work(1.0)
        return seconds


def test_a_peak_rate_is_the_best_of_its_tries_with_the_lowest_load(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    assert machine.search.due == peak_rates.TRIES
    found = machine.tried((0.5, 4.0), (0.0, 2.0), (0.3, 1.0))
    assert found.flops_per_s == 100, "nothing exceeds it, whatever the load"
    assert found.other_load == 0
    assert not found.contaminated
    assert machine.search.due == 0, "measured once per process"


def test_a_peak_rate_under_background_load_is_marked_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    found = machine.tried((0.5, 4.0), (0.3, 2.0))
    assert found.contaminated
    assert found.other_load == pytest.approx(0.3)
    assert machine.search.due == 1
    again = machine.tried((0.0, 1.0))
    assert not again.contaminated
    assert again.flops_per_s > found.flops_per_s
    assert machine.search.due == 0


def test_a_machine_that_is_never_idle_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, made = Machine(monkeypatch), 0
    while due := machine.search.due:
        made += due
        machine.tried(*[(0.5, 1.0)] * due)
    assert made == peak_rates.MOST_TRIES


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    search = peak_rates.Search()
    monkeypatch.setattr(peak_rates, "_search", lambda device, dtype: search)
    for name, value in {"TRY_S": 0.0, "SIDES": {"cpu": 8}, "COPY_BYTES": {"cpu": 2**12}}.items():
        monkeypatch.setattr(peak_rates, name, value)


@pytest.mark.usefixtures("_small")
def test_measured_ceilings_carry_their_load() -> None:
    found = peak_rates.measured("cpu", "fp32")
    assert found.contaminated == is_high(found.other_load or 0)
    assert found.flops_per_s > 0
    assert found.bytes_per_s > 0


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("faster", [0, 1])
def test_the_faster_layout_of_a_product_is_its_peak_rate(
    faster: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def spent_s(work: Any, device: str) -> float:
        result = float(work().sum())
        seen.extend([result] * (result not in seen))
        return 1.0 if seen.index(result) == faster else 2000.0

    monkeypatch.setattr(peak_rates, "spent_s", spent_s)
    assert peak_rates.measured("cpu", "fp16").flops_per_s == 2 * 8**3
    assert len(seen) == 3, "two layouts and the copy"


@pytest.mark.usefixtures("_small")
def test_the_runs_of_a_sweep_search_once_while_the_device_may_do_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(dtype: str = "fp32") -> Ceilings:
        """Ask as a new process would."""
        search = functools.cache(peak_rates.search_of)
        monkeypatch.setattr(peak_rates, "_search", search)
        return peak_rates.measured("cpu", dtype)

    monkeypatch.setattr(peak_rates, "is_high", lambda share: False)
    monkeypatch.setattr(load, "SHORTEST_LOAD_WINDOW_S", 0.0)
    alone = run()
    assert len(alone.product_s) == len(alone.copy_s) == len(alone.loads) == peak_rates.TRIES
    monkeypatch.setenv(RATES, str(tmp_path))
    first = run()
    assert first != alone
    assert run() == first, "the next run takes what the first has found, with all raw samples"
    assert run("bf16").product_s != first.product_s
    monkeypatch.setattr(conditions, "cpu_limit", lambda: 0.5)
    slowed = run()
    assert slowed.began_at >= first.began_at
    assert slowed.product_s != first.product_s, "a device that may do less is searched again"
    monkeypatch.setattr(peak_rates, "FRESH_S", 0.0)
    assert run().product_s != slowed.product_s, "and so is one searched long ago"


under = partial(changed, part="ceilings")
"""A record with ceilings of other conditions."""


def test_a_share_is_marked_where_its_batches_or_its_ceiling_were_disturbed() -> None:
    quiet = under(timed("fp32", 2.0), other_load=0.0)
    (row,) = roofline.table([quiet.cell], [quiet]).rows
    assert not any(MARKED in field.text for field in row)
    roof = under(quiet, other_load=0.4, contaminated=True)
    (row,) = roofline.table([roof.cell], [roof]).rows
    assert [MARKED in field.text for field in row] == [False, False, True, False, False, False, True]
    assert "in every try of the peak rate, 40 %" in row[2].title
    busy = but(quiet, provenance=surrounded(0.3).provenance)
    (row,) = roofline.table([busy.cell], [busy]).rows
    assert [MARKED in field.text for field in row] == [False, True, True, False, False, True, True]
    assert "30 % of the CPU" in row[1].title
    for made in (roof, busy):
        (point,) = roofline.points(roofline.bars([made.cell], [made])).rows
        assert [MARKED in field.text for field in point] == [False, True, True, False]
        bars = roofline.bars([made.cell], [made])
        figure = roofline.figure(bars)
        wide = bars[0]._replace(mbu=Rate(value=1.2, ends=(1.1, 1.31)))
        assert (roofline.cut(bars), roofline.cut([wide])) == (0, roofline.WIDEST)
        assert [text.get_text() for text in figure.axes[0].texts] == [MARKED, MARKED]


def test_records_of_one_device_are_held_against_the_best_ceiling_that_any_of_them_saw() -> None:
    tried = {"flops_per_s": 5_000.0, "bytes_per_s": 6_000.0, "other_load": 0.5, "contaminated": True}
    half = {"flops_per_s": 20_000.0, "bytes_per_s": 1.0, "other_load": 0.2, "contaminated": True}
    records = [
        under(timed("fp32", 2.0), **tried),
        under(timed("sdpa", 2.0), other_load=0.0),
        under(timed("bf16", 2.0, dtype="bf16"), **half),
    ]
    cells = [record.cell for record in records]
    rows = roofline.table(cells, records).rows
    assert [row[2].text for row in rows] == ["50.0 %", "50.0 %", f"25.0 % {MARKED}"]
    assert len({row[5].text for row in rows}) == 1, "a copy is the same in every precision"
    shown = roofline.peaks_table(cells, records)
    assert [[field.text for field in row] for row in shown.rows] == [
        ["fp32", "10.0 kFLOP/s", "24.0 kB/s", "0 %"],
        ["bf16", f"20.0 kFLOP/s {MARKED}", "24.0 kB/s", f"20 % {MARKED}"],
    ]
    assert "once per process" in shown.caption
    assert roofline.peaks_table(cells, []) is None


def test_a_disturbed_pass_is_in_no_rate() -> None:
    quiet = timed("fp32", 2.0)
    names = ("latencies_s", "vision_s", "prefill_s", "decode_steps", "batch_samples")
    several = {name: getattr(quiet.timing, name) * 4 for name in names}
    several |= {
        "decode_s": (2.0,) * 12 + (20.0,) * 4,
        "passes": 4,
        "pass_loads": (0.0,) * 3 + (0.5,),
        "contaminated": (False,) * 3 + (True,),
    }
    assert rates.rates(changed(quiet, "timing", **several)).decode.value == rates.rates(quiet).decode.value


def test_a_step_reads_the_cache_as_it_is_on_the_mean_and_not_at_the_last_token() -> None:
    record = timed("fp32", 2.0)
    prompt, new = 69, record.cell.max_new_tokens
    at_last = 4 * (prompt + new - 1)
    steps = [4 * (prompt + step) for step in range(1, new)]
    found = rates.rates(changed(record, "memory", cache_bytes=at_last)).step_bytes
    assert found == 1051 + round(sum(steps) / len(steps))


def spread(optimization: str, decode_s: float, width: float = 0.0) -> Record:
    """Twelve batches that decode for about so long, on a quiet machine."""
    made = under(timed(optimization, decode_s), other_load=0.0)
    times = tuple(decode_s * (1 + width * (i % 5 - 2)) for i in range(12))
    many = {name: getattr(made.timing, name) * 3 for name in ("latencies_s", "vision_s", "prefill_s")}
    many |= {"decode_s": times, "decode_steps": (10,) * 12, "batch_samples": (4,) * 12}
    return changed(changed(made, "timing", **many), "flops", decode_torch=Parts(mlp=100))


def said(found: rates.Bottleneck) -> str:
    return say("roofline", "text", found=found, label=lambda cell: cell.optimization)


def test_only_settings_beyond_intervals_and_noise_floor_are_ranked() -> None:
    apart = [spread("fp32", 2.0), spread("sdpa", 1.0)]
    near = [spread("fp32", 2.0, 0.1), spread("sdpa", 1.9, 0.1)]
    cells = [record.cell for record in apart]
    nearest = rates.bottleneck(cells, apart).nearest
    assert (nearest.cell, nearest.mbu.value, nearest.alike) == (cells[1], 0.5, [])
    for found in (rates.bottleneck(cells, near), rates.bottleneck(cells, apart, noise_floor=1.0)):
        assert found.nearest.alike == [cells[0]]
        assert "difference from fp32 may be noise" in " ".join(said(found).split())


def test_the_most_is_the_highest_share_that_the_table_shows_whatever_the_windows_say() -> None:
    windows = [spread("fp32", 1.8, 0.1), spread("sdpa", 2.0, 0.1), spread("compile", 1.9, 0.1)]
    took_turns = [spread("fp32", 4.0, 0.1).timing, spread("sdpa", 1.5, 0.1).timing, None]
    records = []
    for one, timing in zip(windows, took_turns, strict=True):
        own = timing and but(timing, turns="t")
        beside = Shown.model_construct(**dict(own or one.timing), window=one.timing, each=(own,) * bool(own))
        records.append(but(one, timing=beside))
    cells = [record.cell for record in records]
    found = rates.bottleneck(cells, records)
    assert (found.nearest.cell, set(found.nearest.alike)) == (cells[1], {cells[0], cells[2]})
    shown = {bar.label: bar.mbu.value for bar in roofline.bars(cells, records)}
    assert found.nearest.mbu.value == max(shown.values()) == shown["sdpa"]
    drawn = roofline.bars(cells, records)
    assert roofline.signs(drawn).split() == ["◇"]
    caption = say("roofline", "figure", found=found, label=str, n=[12], signs=roofline.signs(drawn), cut=0)
    assert ("◇:" in caption, "†" in caption) == (True, False)
    made = roofline.table(cells, records).caption, roofline.peaks_table(cells, records).caption
    assert not any("†" in each for each in made), "a mark is explained where a number carries it"


@pytest.mark.parametrize(
    ("flops_per_s", "bytes_per_s", "prefill", "decode"),
    [
        (1e9, 1e9, "neither", "neither"),
        (5_500.0, 1e9, "arithmetic", "neither"),
        (15_000.0, 1e9, "neither alone", "neither"),
        (1e9, 7_000.0, "neither alone", "memory"),
        (10_000.0, 12_000.0, "not known", "not known"),
        (3_000.0, 1e9, "not known", "neither"),
    ],
)
def test_the_shares_of_both_peaks_show_what_limits_a_phase(
    flops_per_s: float, bytes_per_s: float, prefill: str, decode: str
) -> None:
    made = under(spread("fp32", 2.0), flops_per_s=flops_per_s, bytes_per_s=bytes_per_s)
    found = rates.bottleneck([made.cell], [made])
    assert (found.prefill.limit, found.decode.limit) == (prefill, decode)
    assert said(found).count(": ") == 2


def test_what_limits_a_phase_needs_an_undisturbed_measurement() -> None:
    quiet = (spread("fp32", 2.0), spread("sdpa", 1.0))
    busy = [under(made, other_load=0.5, contaminated=True) for made in quiet]
    cells = [record.cell for record in busy]
    found = rates.bottleneck(cells, busy)
    assert (found.measured, found.quiet, found.nearest, found.prefill) == (2, [], None, None)
    assert "is not known: other processes" in said(found)
    assert "%" not in said(found)


def test_memory_shows_the_weights_and_what_the_peak_is_of() -> None:
    record = timed("bnb-4bit", 2.0)
    assert isinstance(record.memory, MemoryUsage)
    made = roofline.memory_table([record.cell], [record])
    shown = dict(zip(made.columns, made.rows[0], strict=True))
    assert shown["Weights"].text == "1.500 kB"
    assert shown["Peak memory"].text == "4.000 kB"
    assert "whole process" in made.caption
    stored = changed(record, "memory", cache_by_type={"float8_e4m3fn": 256, "float32": 16}, cache_bytes=272)
    (row,) = roofline.memory_table([record.cell], [stored]).rows
    cache = row[made.columns.index("Keys and values")]
    assert (cache.text, cache.span) == ("272.0 B", "(float8_e4m3fn 256 B, float32 16.0 B)")
    gpu = changed(record, "cell", device="cuda")
    assert "torch's allocator" in roofline.memory_table([gpu.cell], [gpu]).caption


def natural(record: Record, steps: Sequence[int], cache_bytes: int) -> Record:
    record = changed(record, "cell", length="natural", max_new_tokens=100)
    return changed(changed(record, "timing", decode_steps=tuple(steps)), "memory", cache_bytes=cache_bytes)


def test_natural_answers_read_the_cache_of_the_steps_that_there_were() -> None:
    record = timed("fp32", 2.0)
    (prompt,) = {answer.text_tokens + answer.image_tokens for answer in record.answers}
    steps, at_the_end = 4, 10 * (prompt + 4)
    own = rates.rates(natural(record, (1, steps, 2, 3), at_the_end))
    assert own.step_bytes - record.memory.decode_weights_bytes == round(
        at_the_end * (prompt + (steps + 1) / 2) / (prompt + steps)
    )
    assert own.mbu


def test_ceilings_stand_beside_speed_and_beside_every_optimization(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def found(device: str, dtype: str) -> Ceilings:
        asked.append((device, dtype))
        return Ceilings(flops_per_s=1e12, bytes_per_s=1e12, method="planted")

    monkeypatch.setattr(peak_rates, "measured", found)
    slot, counts = ModelSlot(), FlopCounts()
    small = {"samples": 2, "batch_size": 1, "max_new_tokens": 3, "dataset": "textvqa-mini"}
    asked_for = ({}, {"length": "fixed"}, {"optimization": "bf16", "dtype": "bf16"}, {"optimization": "sdpa"})
    made = [measure_cell(resolve_cell(cell(**small, **more)), slot, counts) for more in asked_for]
    assert [record.status for record in made] == ["ok"] * 4
    assert [record.ceilings is not None for record in made] == [False, True, True, True]
    assert asked == [("cpu", "fp32"), ("cpu", "bf16"), ("cpu", "fp32")]


def test_time_by_phase_says_of_which_answers_it_is() -> None:
    fixed = timed("fp32", 2.0)
    slower = natural(timed("compile", 1.0), (3, 3, 3, 3), 10)
    of_fixed = detail_table.phase_table("optimization", [fixed.cell], [fixed])
    of_natural = detail_table.phase_table("optimization", [slower.cell], [slower])
    assert of_fixed.caption.startswith("Answers of exactly 11 tokens")
    assert of_natural.caption.startswith("Answers of natural length")
    assert "Output tokens per s" in of_fixed.columns
    assert "Output tokens per s" not in of_natural.columns
    assert of_natural.rows[0][of_natural.columns.index("Decode, s")].text.startswith("1")
