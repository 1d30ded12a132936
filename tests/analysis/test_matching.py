"""Two records are compared by the turns they took together, all of them, or else window with window."""

from __future__ import annotations

import pytest
from factory import STEADY, but, cell, timed

from vlmnb.analysis import matching, pareto, repeatability, series, worth
from vlmnb.audit import registry
from vlmnb.book import explorer
from vlmnb.records import turns
from vlmnb.records.record import Record
from vlmnb.records.turns import Turns
from vlmnb.stats.intervals import Interval
from vlmnb.views import (
    across,
    axis_table,
    fields,
    findings,
    footnotes,
    marks,
    repeat_table,
    roofline,
    worth_table,
)

FLOOR = 0.05


def of(optimization: str, factor: float = 1.0, **changes: object) -> Record:
    key = f"{abs(hash((optimization, *changes.values()))):016x}"[:16]
    of_cell = cell(optimization=optimization, **changes)
    return timed(tuple(factor * s for s in STEADY), of=of_cell, key=key)


def took(factors: dict[str, float], *records: Record, name: str = "t", day: int = 1) -> Turns:
    """Turns of two rounds in which each record took a multiple of the usual times."""
    timings = {}
    for one in records:
        assert one.timing
        factor = factors[one.cell.optimization] / one.timing.latencies_s[0] * STEADY[0]
        each = ("latencies_s", "vision_s", "prefill_s", "decode_s")
        times = {field: tuple(factor * s for s in getattr(one.timing, field) * 2) for field in each}
        timings[one.key] = but(
            one.timing, turns=name, passes=2, decode_steps=one.timing.decode_steps * 2,
            batch_samples=one.timing.batch_samples * 2, pass_loads=(0.0, 0.0), contaminated=(False, False),
            **times,
        )  # fmt: skip
    return Turns(name=name, started_at=f"2026-01-{day:02}T00:00:00+00:00", timings=timings)


@pytest.fixture
def page() -> list[Record]:
    """An original and SDPA, in turns on a machine half as fast as in the windows, and compiled code."""
    records = [of("fp32"), of("sdpa", 0.9), of("compile", 1.22)]
    return turns.shown(records, [took({"fp32": 2.0, "sdpa": 1.8}, *records[:2])])


def test_a_row_without_turns_is_compared_window_with_window(page: list[Record]) -> None:
    base, sdpa, compiled = page
    assert base.latency_s == pytest.approx(2 * (matching.in_window(base).latency_s or 0))
    changes = [series.change(base, one, FLOOR) for one in (sdpa, compiled)]
    assert [one.ratio for one in changes] == pytest.approx([0.9, 1.22])
    assert [one.difference and one.difference.ratio for one in changes] == pytest.approx([0.9, 1.22])
    assert [one.trend for one in changes] == ["falls", "grows"]
    assert [one.matched.shown for one in changes] == [True, False]
    saved = worth.saving(base, compiled, FLOOR)
    assert saved
    assert saved.seconds
    assert saved.seconds.value == pytest.approx(-0.22 * (matching.in_window(base).latency_s or 0))
    assert saved.phases["decode"] == pytest.approx(-0.11 * (matching.in_window(base).latency_s or 0))


def test_every_page_marks_such_a_row_and_says_so(page: list[Record]) -> None:
    cells = tuple(one.cell for one in page)
    latency, percent = (
        [row[at] for row in axis_table.axis_table("optimization", cells, page, FLOOR).rows] for at in (1, 2)
    )
    assert [marks.ALONE in field.text for field in latency] == [False, False, True]
    assert [field.text for field in percent] == ["100.0", "90.0", f"122.0{marks.ALONE}"]
    assert "0.6167 s against 0.5055 s" in percent[2].title
    lines = findings.text("optimization", cells, page, FLOOR).splitlines()
    assert [marks.ALONE in line for line in lines] == [False, True]
    assert "22 % longer" in lines[1]
    notes = findings.shown_times("optimization", cells, page, FLOOR)
    assert "window against window" in notes
    assert "compile" in notes
    rows = across.rows(
        "optimization", {"llava-tiny": page}, {"llava-tiny": "LLaVA"}, {"llava-tiny": ""}, FLOOR
    )
    compared = [row[-1].text for row in across.table("optimization", rows, "").rows]
    assert compared == ["first row", "0.90 times", f"1.22 times{marks.ALONE}"]
    assert f"1.22 times){marks.ALONE}" in across.sentences(
        "optimization",
        [row._replace(change=row.change and series.change(row.change.low, row.record, 0.5)) for row in rows],
    )
    saved = worth_table.table(worth_table.rows(cells, page, page, FLOOR))
    at = saved.columns.index("Saved, s per batch")
    assert [marks.ALONE in row[at].text for row in saved.rows] == [False, False, True]
    assert "except those marked ◇" in repeat_table.noise_floor(repeatability.noise_floor([], ()), page)


def test_nothing_is_marked_where_no_row_took_turns() -> None:
    records = turns.shown([of("fp32"), of("sdpa", 0.8)], [])
    made = axis_table.axis_table("optimization", tuple(one.cell for one in records), records, FLOOR)
    assert marks.ALONE not in "".join(field.text for row in made.rows for field in row)
    assert "turns" not in repeat_table.noise_floor(repeatability.noise_floor([], ()), records)


def test_the_audit_and_the_front_and_explore_compare_windows_too(page: list[Record]) -> None:
    base, sdpa, compiled = page
    points = [pareto.Point(r.cell.optimization, r, r.latency_s or 0, 0, (0, 0), (0, 0)) for r in page]
    assert pareto.faster(points[0], points[2], FLOOR)
    assert not pareto.faster(points[2], points[0], FLOOR), "its window is shorter than the turn"
    own = [matching.in_window(one) for one in page]
    known = [took({"fp32": 2.0, "sdpa": 2.8}, *own[:2])]
    repeats = [of("fp32", 1 + 0.001 * n, repeat=n) for n in (1, 2, 3)]
    found = registry.run([*own, *repeats], "measured", known=known)
    slower = [one for one in found if one.rule == "optimization-is-faster"]
    assert {where.key for one in slower for where in one.records} == {base.key, sdpa.key, compiled.key}
    paired = explorer.data(own, known)["paired"]
    assert sorted((round(one[0], 2), one[3]) for one in paired.values() if one[3]) in (
        [(0.71, 1)],
        [(1.4, 1)],
    )


def test_joules_and_the_share_of_preparing_are_of_the_own_window(page: list[Record]) -> None:
    for one in page:
        own = matching.in_window(one)
        assert one.energy_j_per_sample == own.energy_j_per_sample, "twice as many batches in turns"
    assert one.timing
    window = but(page[0].timing.window, preprocess_s=(0.1,) * 12, first_call_s=3.0)
    base = but(page[0], timing=but(page[0].timing, preprocess_s=(0.4,) * 12, first_call_s=8.0, window=window))
    share = 0.1 / (0.1 + (matching.in_window(base).latency_s or 0))
    shown = fields.preprocessing(base).text
    assert (shown.split()[0], f"({100 * share:.0f} %)" in shown) == ("0.1000", True)
    (row,) = roofline.memory_table([base.cell], [base]).rows
    assert "3" in [field.text for field in row], "measured again, a record has other than its old turns"


def test_a_peak_is_not_that_of_another_clock() -> None:
    records = [of("fp32", seconds, image_size=size) for size, seconds in ((32, 1.0), (64, 1.5), (128, 1.0))]
    ends = took({"fp32": 2.0}, records[0], records[2])
    shown = turns.shown(records, [ends])
    (peak,) = series.extremes(shown, FLOOR, ["latency_s"])
    assert (peak.side, peak.record.cell.image_size) == ("highest", 64), (
        "1.5 in its window; the ends' turns took 2"
    )
    assert peak.value == shown[1].latency_s


@pytest.fixture
def twice() -> tuple[list[Record], list[Turns]]:
    """Three records whose first two took turns twice, with intervals that do not meet."""
    records = [of("fp32"), of("sdpa", 0.9), of("bf16", 0.7)]
    first = took({"fp32": 1.0, "sdpa": 0.9, "bf16": 0.7}, *records, name="three", day=1)
    return records, [first, took({"fp32": 1.0, "sdpa": 0.6}, *records[:2], name="two", day=2)]


def test_all_turns_of_a_pair_count_and_each_page_has_one_verdict(
    twice: tuple[list[Record], list[Turns]],
) -> None:
    records, known = twice
    pages = [turns.shown(part, known) for part in (records, records[:2])]
    changes = [series.change(page[0], page[1], FLOOR) for page in pages]
    for change, ratio in zip(changes, (0.9, 0.6), strict=True):
        found = change.difference
        assert found
        assert found.ratio == pytest.approx(ratio), "that of the times which the page shows"
        assert [one.ratio for one in change.each] == pytest.approx([0.9, 0.6])
        assert max(one.low for one in change.each) > min(one.high for one in change.each)
        assert (found.low, found.high) == pytest.approx((0.6, 0.9))
        assert change.matched.shown
    assert changes[0].trend == changes[1].trend == "falls"
    said = findings.times(changes[:1])
    assert all(part in said for part in ("2 processes", "0.90 (", "0.60 ("))
    percent = fields.percent(pages[0][1], pages[0][0], "latency_percent", FLOOR)
    assert (percent.text, percent.span) == ("90.0", "[60.0, 90.0]")
    assert "2 times" in percent.title
    compared = explorer.data(records, known)["paired"]
    assert [one[3] for one in compared.values() if one[3] > 1] == [2.0]


def test_turns_that_contradict_one_another_show_no_difference(
    twice: tuple[list[Record], list[Turns]],
) -> None:
    records, (first, _) = twice
    later = took({"fp32": 1.0, "sdpa": 1.2}, *records[:2], name="two", day=2)
    for part in (records, records[:2]):
        page = turns.shown(part, [first, later])
        assert series.change(page[0], page[1], FLOOR).trend == "within"


def test_load_in_one_of_the_turns_disturbs_their_comparison(
    twice: tuple[list[Record], list[Turns]],
) -> None:
    records, (first, second) = twice
    loaded = {
        key: but(one, contaminated=(True, True), pass_loads=(0.5, 0.5)) for key, one in second.timings.items()
    }
    page = turns.shown(records, [first, but(second, timings=loaded)])
    assert series.change(page[0], page[1], FLOOR).trend == "disturbed"
    assert series.change(page[0], page[2], FLOOR).trend == "falls"


def test_a_row_without_a_time_was_not_timed_in_turns() -> None:
    records = [but(of(name), cell=cell(optimization=name, batch_size=99)) for name in ("fp32", "sdpa")]
    shown = turns.shown(records, [took({"fp32": 1.0, "sdpa": 1.0}, *records)])
    assert [one.latency_s for one in shown] == [None, None]
    assert "turns" not in repeat_table.noise_floor(repeatability.noise_floor([], ()), shown)
    assert "turns" not in footnotes.notes(shown)


@pytest.mark.parametrize(
    ("ratios", "said"),
    [((1.001, 1.15), "0.1 to 15 %"), ((0.85, 0.9992), "0.1 to 15 %"), ((1.02, 1.15), "2 to 15 %")],
)
def test_no_bound_of_a_real_difference_reads_as_none(ratios: tuple[float, float], said: str) -> None:
    low, high = ratios
    one = series.change(*turns.shown([of("fp32"), of("sdpa", (low * high) ** 0.5)], []), 0.0)
    assert one.difference
    found = but(one.difference, low=low, high=high, differ="yes")
    change = one._replace(difference=found, trend="grows" if low > 1 else "falls")
    assert said in findings.say("findings", "per_image", change=change, scale=1.0)
    share = fields.of_ratio(found)
    assert "100.0]" not in share.span
    assert "[100.0," not in share.span


def test_a_saving_that_is_real_has_no_bound_of_zero() -> None:
    saved = worth_table._estimate(Interval(0.02, 0.0002, 0.05), "", of("fp32"))
    assert saved.span == "[0.0002, 0.050]"
