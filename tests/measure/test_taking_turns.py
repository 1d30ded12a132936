"""Which cells take turns, in which order, and what is written of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from background import FourCores
from factory import but, cell, record

from vlmnb.analysis import matching
from vlmnb.device import load
from vlmnb.measure import turns
from vlmnb.measure.cells import measure_cells
from vlmnb.records import record_file
from vlmnb.records import turns as written
from vlmnb.records.resolved import Resolved, resolve_cell
from vlmnb.spec import planning


class Taking:
    """A cell whose batches take a time each, on a clock made by hand."""

    def __init__(self, name: str, cores: FourCores, seconds: float, batches: int, order: list[str]) -> None:
        self.name, self.cores, self.seconds, self.order = name, cores, seconds, order
        self.batches = list(range(batches))

    def take(self, batch: int) -> None:
        self.order.append(f"{self.name}{batch}")
        self.cores.work(self.seconds)


def test_every_round_spreads_the_batches_of_each_cell_over_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, order = FourCores(monkeypatch), list[str]()
    monkeypatch.setattr(turns, "now_s", lambda: cores.now.now_s)
    monkeypatch.setattr(turns, "EACH_S", 1.0)
    each: list[Any] = [Taking("a", cores, 0.1, 4, order), Taking("b", cores, 0.2, 2, order)]
    marks = turns._rounds(each)
    assert order == ["a0", "b0", "a1", "a2", "b1", "a3"] * 2, "two rounds of 0.8 s fit into 2 s, three do not"
    assert len(marks) == 3


def test_cells_are_first_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, order = FourCores(monkeypatch), list[str]()
    turns._rounds([Taking(name, cores, 0.3, 2, order) for name in "abc"])  # type: ignore[misc]
    assert order[:12] == ["a0", "b0", "c0", "a1", "b1", "c1", "c0", "b0", "a0", "c1", "b1", "a1"]


def test_rounds_go_on_until_one_was_without_background_load(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, order = FourCores(monkeypatch, others=2.0), list[str]()
    monkeypatch.setattr(turns, "now_s", lambda: cores.now.now_s)
    monkeypatch.setattr(turns, "EACH_S", 1.0)

    class Calmer(Taking):
        def take(self, batch: int) -> None:
            super().take(batch)
            cores.others = 2.0 if len(order) < 2 else 0.0

    each: list[Any] = [Calmer("a", cores, 0.9, 1, order)]
    marks = turns._rounds(each)
    assert [*map(load.is_high, load.shares(marks))] == [True, True, False]


def resolved(**changes: Any) -> Resolved:
    return resolve_cell(cell(**changes))


def test_cells_take_turns_with_their_like() -> None:
    like = [resolved(seq_len=200), resolved(seq_len=50)]
    others = [
        resolved(seq_len=100, dataset="coco-mini"),
        resolved(length="fixed"),
        resolved(optimization="compile"),
        resolved(seq_len=10),
        resolved(seq_len=20),
    ]
    measured = [(one, record(one.cell, key=one.key)) for one in [*like, *others]]
    slow = measured[-2][1]
    assert slow.timing
    measured[-2] = measured[-2][0], but(slow, timing=but(slow.timing, latencies_s=(9.0, 9.0)))
    measured[-1] = measured[-1][0], but(measured[-1][1], key="f" * 16)  # of other code
    assert [[one for one, _ in group] for group in turns.groups(measured)] == [like]


def test_optimizations_take_turns_with_those_of_their_batch_size() -> None:
    each = [resolved(batch_size=b, optimization=o) for b in (1, 4) for o in ("fp32", "sdpa")]
    found = turns.groups([(one, record(one.cell, key=one.key)) for one in each])
    assert [{one.cell.batch_size for one, _ in group} for group in found] == [{1}, {4}]
    sizes = [resolved(batch_size=b) for b in (1, 4)]
    assert len(turns.groups([(one, record(one.cell, key=one.key)) for one in sizes])) == 1


def test_models_that_are_too_large_together_take_turns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    each = [resolved(seq_len=n, optimization=o, dtype=o) for n in (200, 50) for o in ("fp32", "bf16")]
    measured = [(one, record(one.cell, key=one.key)) for one in each]
    with_weights = [(one, but(made, memory=but(made.memory, weights_bytes=10))) for one, made in measured]
    assert [len(group) for group in turns.groups(with_weights)] == [4]
    monkeypatch.setattr(turns, "TOGETHER_BYTES", 19)
    found = turns.groups(with_weights)
    assert [[one.cell.optimization for one, _ in group] for group in found] == [["fp32"] * 2, ["bf16"] * 2]


def test_what_was_measured_stands_if_turns_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no turns here")

    monkeypatch.setattr(turns, "_timed", broken)
    measured = [(one, record(one.cell, key=one.key)) for one in (resolved(seq_len=200), resolved(seq_len=50))]
    cleared: list[bool] = []
    slot: Any = SimpleNamespace(clear=lambda: cleared.append(True))
    turns.take(turns.groups(measured), slot, tmp_path)
    assert cleared
    (begun,) = written.read(tmp_path)
    assert (begun.timings, begun.tries) == ({}, 1)
    assert "no turns here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("known", "tries", "fresh", "again"),
    [
        (True, 0, 0, 0),
        (True, 0, 1, 1),
        (False, 0, 0, 1),
        (False, 1, 0, 1),
        (False, 2, 0, 0),
        (False, 2, 1, 1),
    ],
)
def test_turns_are_taken_again_if_a_cell_is_measured_or_they_did_not_end(
    tmp_path: Path, known: bool, tries: int, fresh: int, again: int
) -> None:
    measured = [(one, record(one.cell, key=one.key)) for one in (resolved(seq_len=200), resolved(seq_len=50))]
    keys = [made.key for _, made in measured]
    timings = {made.key: made.timing for _, made in measured if made.timing} if known else {}
    if known or tries:
        made = written.Turns(
            name=written.name(keys), started_at="2026-01-01T00:00:00+00:00", timings=timings, tries=tries
        )
        written.write(made, tmp_path, measured[0][1].hardware, "llava-tiny")
    assert len(turns.due(measured, set(keys[:fresh]), tmp_path)) == again


@pytest.mark.slow
def test_cells_of_one_notebook_take_turns(tmp_path: Path) -> None:
    asked = {"model": "llava-tiny", "device": "cpu", "dataset": "textvqa-mini", "samples": 24}
    cells = planning.plan("batch_size", asked | {"batch_sizes": [2, 4], "length": "natural"}).cells
    made = measure_cells(cells, tmp_path)
    (taken,) = written.read(tmp_path)
    assert set(taken.timings) == {one.key for one in made}
    own, _ = record_file.read_all(tmp_path)
    assert all(one.timing and not one.timing.turns for one in own), "records keep the times of their windows"
    shown = written.shown(made, [taken])
    for one, batches in zip(shown, (12, 6), strict=True):
        timing = one.timing
        assert timing
        assert timing.passes >= 1
        assert len(timing.latencies_s) == batches * timing.passes
        assert sum(timing.latencies_s) <= timing.loop_s <= (taken.seconds or 0.0)
        for latency, *phases in zip(
            timing.latencies_s, timing.vision_s, timing.prefill_s, timing.decode_s, strict=True
        ):
            assert sum(phases) == pytest.approx(latency, rel=1e-3)
    assert matching.in_turns(*shown)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    measure_cells(cells, tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.json")}, "nothing is timed anew"
    next(tmp_path.rglob("turns/*.json")).unlink()  # as if stopped before
    measure_cells(cells, tmp_path)
    assert before.keys() == set(tmp_path.rglob("*.json"))
    assert written.read(tmp_path)[0].timings.keys() == taken.timings.keys()


@pytest.mark.slow
def test_settings_with_models_of_their_own_take_turns_too(tmp_path: Path) -> None:
    asked = {"model": "llava-tiny", "device": "cpu", "dataset": "textvqa-mini", "samples": 8, "batch_size": 4}
    settings = ["fp32", "bf16", "static_cache", "visual_tokens-50%-grid", "compile"]
    cells = planning.plan("optimization", asked | {"optimizations": settings, "length": "natural"}).cells
    made = measure_cells(cells, tmp_path)
    (taken,) = written.read(tmp_path)
    expected = {one.key for one in made if one.status == "ok" and one.cell.optimization != "compile"}
    assert set(taken.timings) == expected
    assert len(expected) == 4
