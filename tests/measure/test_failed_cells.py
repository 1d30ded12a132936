"""What stops one cell becomes its record; the other cells and what was measured are kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from factory import cell

from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.flops import formula
from vlmnb.flops.flop_count import FlopCount
from vlmnb.measure import cells, failures, flop_counting, loading
from vlmnb.measure.cells import measure_cell, measure_cells
from vlmnb.measure.loading import ModelSlot
from vlmnb.records.resolved import resolve_cell


class Panic(BaseException):
    """As tokenizers raises it: no Exception."""


def raising(error: BaseException) -> Any:
    def raise_it(*_: object, **__: object) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "tried", "status"),
    [
        (failures.NotEnoughTokens("r"), False, "not_enough_tokens"),
        (failures.NotApplicable("r"), False, "not_applicable"),
        (failures.Unsupported("r"), False, "unsupported"),
        (MemoryError(), False, "out_of_memory"),
        (torch.OutOfMemoryError("r"), True, "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried"), True, "out_of_memory"),
        (OSError("r"), False, "failed"),
        (KeyError("r"), True, "unsupported"),
        (Panic("r"), False, "failed"),
    ],
)
def test_an_exception_has_a_status_and_a_reason(error: BaseException, tried: bool, status: str) -> None:
    found, reason = failures.of(error, tried=tried)
    assert found == status
    assert reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    "error", [OSError("no file"), ZeroDivisionError("by zero"), Panic("index out of range")]
)
def test_any_error_of_a_library_costs_one_cell_only(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(slots.HELD, "cpu")
    monkeypatch.setattr(loading, "require", lambda missing: None)
    monkeypatch.setattr(cells, "_get_ready", lambda missing: None)
    monkeypatch.setattr(ModelSlot, "get", raising(error))
    wanted = [cell(batch_size=size) for size in (1, 2)]
    made = measure_cells(wanted, tmp_path)
    assert [record.status for record in made] == ["failed", "failed"]
    assert all(type(error).__name__ in record.reason for record in made)
    assert len(list(tmp_path.rglob("*.json"))) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), UserError("mend it")])
def test_what_the_user_ends_or_can_mend_is_no_record(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelSlot, "get", raising(error))
    with pytest.raises(type(error)):
        measure_cell(resolve_cell(cell()), ModelSlot(), {})


def test_a_formula_that_fails_leaves_the_counters_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flop_counting, "_by_counters", lambda *_: FlopCount(fvcore=7, torch=8))
    monkeypatch.setattr(flop_counting, "_shapes", raising(ValueError("no place")))
    monkeypatch.setattr(formula, "prefill", raising(KeyError("newfamily")))
    one = {"input_ids": torch.zeros(1, 5), "pixel_values": torch.zeros(1, 3, 8, 8)}
    monkeypatch.setattr(flop_counting, "encode", lambda *_: one)
    configuration = loading.configuration(resolve_cell(cell()))
    config = SimpleNamespace(to_json_string=lambda use_diff: "{}")
    loaded: Any = SimpleNamespace(
        configuration=configuration, family=configuration.family, model=SimpleNamespace(config=config)
    )
    batch: Any = SimpleNamespace(samples=[1, 2], prompts=[SimpleNamespace(text_tokens=5)] * 2)
    made = flop_counting.count(loaded, batch, 64, {})
    assert (made.fvcore, made.torch, made.formula, made.decode_torch) == (14, 16, None, None)
    assert "newfamily" in made.note
    assert "no place" in made.note
    monkeypatch.setattr(flop_counting, "encode", raising(RuntimeError("broken")))
    nothing = flop_counting.count(loaded, batch, 64, {})
    assert nothing.executed is None
    assert "broken" in nothing.note
