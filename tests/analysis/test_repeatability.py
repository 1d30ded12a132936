"""A/A repeats, the page of agreement, and what the machine page tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from background import disturbed
from factory import answers, but, cell, changed, record

from vlmnb.analysis import agreement, repeatability
from vlmnb.audit.measured import across_records
from vlmnb.book import explorer
from vlmnb.book.content import Content
from vlmnb.book.pages import machine as machine_page
from vlmnb.device import machine
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.files import hashing
from vlmnb.meters.readings import EnergyRefusal, SensorCard
from vlmnb.records import record_file
from vlmnb.records.parts import Provenance
from vlmnb.records.record import Record
from vlmnb.spec import axes, planning
from vlmnb.views import answer_tables, findings, repeat_table, show, templates
from vlmnb.views.templates import say


def windows(medians: tuple[float, ...], **changes: Any) -> list[Record]:
    made = []
    for number, middle in enumerate(medians, start=1):
        of = cell(repeat=number, **changes)
        latencies = tuple(middle * (1 + 0.001 * i) for i in range(8))
        made.append(record(of, latencies=latencies, key=hashing.digest(of.model_dump())))
    return made


def test_repeats_are_cells_of_their_own_beside_the_one_that_tables_show() -> None:
    asked = {"model": "llava-tiny", "datasets": ["textvqa-mini"], "device": "cpu"}
    cells = planning.plan("repeat", asked | {"repeats": [1, 2, 3]}).cells
    assert [each.repeat for each in cells] == [1, 2, 3]
    (base,) = planning.plan("batch_size", {"model": "llava-tiny", "batch_sizes": [16], "device": "cpu",
                                       "length": "natural"}).cells  # fmt: skip
    assert {each.model_copy(update={"repeat": 0}) for each in cells} == {base}


def test_the_threshold_is_that_of_all_repeats_together_and_needs_three_windows() -> None:
    calm, wild = windows((1.0, 1.01, 1.02, 1.005, 1.015)), windows((1.0, 1.3, 0.8), batch_size=4)
    known = repeatability.measured_floor([*calm, *wild], "test-machine", "cpu")
    alone = repeatability.measured_floor(calm, "test-machine", "cpu")
    assert 0.01 < alone < 0.1 < known
    (both,) = (repeatability.of(windows((1.0, 1.3, 0.8))),)
    assert both is not None
    assert alone < known < both.threshold, "between the calm and the wild ones"
    assert repeatability.measured_floor([*calm, *wild[:2]], "test-machine", "cpu") == alone
    assert repeatability.measured_floor(calm[:2], "test-machine", "cpu") is None
    assert repeatability.measured_floor(calm, "test-machine", "cuda") is None
    assert repeatability.measured_floor(calm, "another-machine", "cpu") is None


def test_windows_that_others_disturbed_are_no_repeats() -> None:
    calm = windows((1.0, 1.01, 1.02))
    wild = [disturbed(one) for one in windows((1.0, 1.0, 1.0, 2.0, 3.0))[3:]]
    known = repeatability.measured_floor([*calm, *wild], "test-machine", "cpu")
    assert known == repeatability.measured_floor(calm, "test-machine", "cpu")
    told = repeat_table.text([*calm, *wild])
    assert "medians of 3 windows have a spread of" in told
    assert "during 2 of 5 windows" in told
    assert wild[0].key in told
    shown = {row[2].text: row[3].text for row in repeat_table.table([*calm, *wild]).rows}
    assert [number for number, text in shown.items() if text.endswith("†")] == ["4", "5"]
    assert "Other processes" not in repeat_table.text(calm)
    assert "delete their records" in machine_page.page(Content(tuple([*calm, *wild])))
    page = machine_page.page(Content(tuple(calm)))
    assert "delete their records" not in page
    assert known is not None
    assert f"**{templates.percent(known)} %** on test-machine" in page, (
        "the floor that all pages compare with"
    )


def test_where_too_few_windows_are_undisturbed_the_assumption_stands_and_the_page_says_why() -> None:
    here = [("test-machine", "cpu")]
    calm, few = windows((1.0, 1.01, 1.02)), windows((1.0, 1.5, 3.0))
    few = [few[0], *map(disturbed, few[1:])]
    found = repeatability.noise_floor(few, here)
    assert (found.value, found.repeats, found.disturbed) == (repeatability.ASSUMED, 3, 2)
    assert "during 2 of its 3 A/A repeats" in repeat_table.noise_floor(found)
    assert "undisturbed windows on record: 1, needed: 3" in repeat_table.text(few)
    assert ">3 (2 †)<" in machine_page.page(Content(tuple(few))), "how many were disturbed"
    known = repeatability.noise_floor(calm, here)
    assert (known.value, known.measured) == (repeatability.measured_floor(calm, *here[0]), True)
    assert [repeatability.noise_floor(few, here).repeats for few in ([], calm[:2])] == [0, 2]


def test_on_a_virtual_machine_more_drift_is_assumed_until_repeats_tell() -> None:
    here = [("test-machine", "cpu")]
    calm = windows((1.0, 1.01, 1.02))

    def placed(one: Record, kind: str) -> Record:
        return changed(one, "provenance", machine={"virtualization": kind})

    virtual = [placed(one, "virtual machine (QEMU)") for one in calm]
    found = repeatability.noise_floor(virtual[:2], here)
    assert found.value == repeatability.ASSUMED_VIRTUAL > repeatability.ASSUMED
    assert found.virtual
    bare = [placed(one, "none that the processor reports") for one in calm]
    assert repeatability.noise_floor(bare[:2], here).value == repeatability.ASSUMED
    assert repeatability.noise_floor(virtual, here).measured


def test_windows_of_older_code_and_a_window_listed_twice_say_nothing() -> None:
    before = Provenance(code="1" * 16, started_at="2025-01-01T00:00:00+00:00")
    older = [but(one, provenance=before) for one in windows((1.0, 3.0, 9.0))]
    newer = windows((1.0, 1.01, 1.02))
    (group,) = repeatability.groups([*older, *newer]).values()
    assert group == tuple(newer)
    assert repeatability.of([newer[0], newer[0], newer[1]]) is None


def test_the_first_measurement_counts_as_a_window_minutes_away_in_whatever_calls_for_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeats that follow each other do not show how the machine drifts: here 40 % within ten minutes."""
    repeats = [
        changed(one, "provenance", started_at=f"2026-01-01T10:10:0{one.cell.repeat}+00:00")
        for one in windows((1.0, 1.01, 1.02))
    ]
    first = but(record(cell(), latencies=(1.4,) * 8, key="f" * 16), provenance=repeats[0].provenance)
    first = changed(first, "provenance", started_at="2026-01-01T10:00:00+00:00")
    alone = repeatability.measured_floor(repeats, "test-machine", "cpu")
    known = repeatability.measured_floor([first, *repeats], "test-machine", "cpu")
    assert alone is not None
    assert known is not None
    assert alone < 0.1 < 0.5 < known
    found = repeatability.noise_floor([first, *repeats], [("test-machine", "cpu")])
    assert (found.value, found.repeats, found.apart_s) == (known, 0, (603.0,))
    assert "10 min 3 s" in repeat_table.noise_floor(found)
    taken = changed(first, "timing", turns="t", latencies_s=(1.0,) * 8)
    assert repeatability.measured_floor([taken, *repeats], "test-machine", "cpu") == alone, (
        "not its own window"
    )
    other = changed(first, "provenance", code="1" * 16)
    assert repeatability.measured_floor([other, *repeats], "test-machine", "cpu") == alone
    for one in [first, *repeats]:
        record_file.write(one, tmp_path)
    plan = planning.plan("batch_size", {"model": "llava-tiny", "device": "cpu", "results": str(tmp_path)})
    assert show._noise_floor(plan, [taken]) == found, "on the pages of notebooks"
    assert across_records.noise_floors([first, *repeats]) == {("test-machine", "cpu"): known}
    assert {kind["floor"] for kind in explorer.data([first, *repeats])["kinds"]} == {known}
    page = machine_page.page(Content((first, *repeats)))
    assert f"**{templates.percent(known)} %** on test-machine" in page
    assert "10 min 3 s" in page
    said: list[Any] = []
    monkeypatch.setattr(show, "display", said.append)
    show.show_repeats(plan, repeats)
    assert "4 windows" in said[0].data
    assert "10 min 3 s" in said[0].data
    shown = repeat_table.table([first, *repeats])
    assert [row[2].text for row in shown.rows] == [repeat_table.SHOWN, "1", "2", "3"]


def test_sentences_take_the_machines_own_threshold() -> None:
    low, high = cell(batch_size=2), cell(batch_size=4, samples=64)
    pair = [record(low, latencies=(1.0, 1.001) * 8), record(high, latencies=(1.2, 1.201) * 8)]
    assert "takes 20 % longer" in findings.text("batch_size", [low, high], pair, 0.05)
    assert "may be noise" in findings.text("batch_size", [low, high], pair, 0.3)
    pair[1] = record(high, latencies=(1.19, 1.191) * 8)
    assert "may be noise" in findings.text("batch_size", [low, high], pair), "assumed"


def test_repeats_are_found_in_a_results_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = windows((1.0, 1.1, 1.2))
    for one in [*kept, record(cell(), key="0" * 16)]:
        record_file.write(one, tmp_path)
    plan = planning.plan("batch_size", {"model": "llava-tiny", "device": "cpu", "results": str(tmp_path),
                                        "batch_sizes": [8, 16], "length": "natural"})  # fmt: skip
    said: list[tuple[Any, Any]] = []
    monkeypatch.setattr(show, "display", lambda shown, metadata=None: said.append((shown, metadata)))
    show.show_findings(plan, [record(each, latencies=(1.0,) * 8) for each in plan.cells])
    assert "A/A repeats of this machine" in said[-1][0].data
    assert said[-1][1] == {axes.NOISE_FLOOR: True}
    assert "3 windows have a spread of" in repeat_table.text(kept)
    assert len(repeat_table.table(kept).rows) == 3


def test_the_page_of_agreement_asks_for_every_combination_and_says_what_depends_on_the_batch() -> None:
    cells = planning.plan("agreement", {"model": "llava-tiny", "device": "cpu", "samples": 4}).cells
    assert {(each.batch_size, each.dtype) for each in cells} == {
        (size, dtype) for size in (1, 4, 8, 16) for dtype in ("fp32", "bf16")
    }
    found = [
        record(each, key=hashing.digest(each.model_dump()),
               answers=answers(4, 2 if each.dtype == "bf16" and each.batch_size == 16 else 1))
        for each in cells
    ]  # fmt: skip
    (matrix,) = agreement.matrices(found, ())
    table = answer_tables.agreement_table(matrix)
    assert "Partial" not in table.caption
    assert all(field.text != "-" for row in table.rows for field in row)
    said = say("answers", "by_batch", found=agreement.by_batch(found)).splitlines()
    assert said[0].startswith(
        "- fp32: no answer of 4 depends on the batch size (of other questions, up to 49 % still might). "
    )
    assert "bf16: answers depend" in said[1]
    assert "4, 4, 3 of 4" in said[1]


def test_the_machine_page_shows_sensors_conditions_and_what_is_assumed() -> None:
    card = SensorCard(
        sensor="GPU 0 energy", source="gpu", method="nvml_counter", period_s=0.1, step_j=7.5,
        resolution_s=0.001, updates=20, idle_power_w=75.0,
    )  # fmt: skip
    start = DeviceState(sm_clock_hz=1_980_000_000, power_cap_w=700.0, cpu_governor="performance")
    around = Conditions(
        start=start, end=start, throttled_s={"power cap": 1.0}, cpu_limit=2.0, cpus=4, other_load=0.2,
        contaminated=True,
    )  # fmt: skip
    gpu = {"name": "NVIDIA H200", "memory_bytes": 2**37, "driver": "580.1"}
    provenance = Provenance(
        code="0" * 16, started_at="2026-01-01T00:00:00+00:00", sensors=(card,), conditions=around,
        machine=machine.describe().model_dump(mode="json") | {"gpus": [gpu]},
    )  # fmt: skip
    refusal = EnergyRefusal(source="cpu", method="rapl", reason="readable by root alone")
    page = machine_page.page(Content((record(provenance=provenance, energy_refused=(refusal,)),)))
    for told in ("GPU 0 energy", "100 ms", "75.0 W", "readable by root alone", "1.98 GHz", "700 W",
                 "power cap", "performance", "2 cores", "1 of 1", "is an assumption"):  # fmt: skip
        assert told in page
    measured = machine_page.page(Content(tuple(windows((1.0, 1.01, 1.02)))))
    assert "Threshold" in measured
