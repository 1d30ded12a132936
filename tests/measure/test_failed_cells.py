"""What stops one cell becomes its record; the other cells and what was measured are kept."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from factory import cell, record
from transformers import AutoConfig

from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.flops.flop_count import FlopCount
from vlmnb.measure import cells, failures, flop_counting, loading, peak_rates
from vlmnb.measure.cells import measure_cell, measure_cells
from vlmnb.measure.loading import ModelSlot
from vlmnb.records.resolved import resolve_cell


class Panic(BaseException):
    """As tokenizers raises it: no Exception."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError


def raising(error: BaseException) -> Any:
    def raise_it(*_: object, **__: object) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (failures.NotEnoughTokens("r"), "not_enough_tokens"),
        (failures.NotApplicable("r"), "not_applicable"),
        (failures.Unsupported("r"), "unsupported"),
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("r"), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried"), "out_of_memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "out_of_memory",
        ),
        (OSError("r"), "failed"),
        (Panic("r"), "failed"),
        (SystemExit(), "failed"),
        (RecursionError(), "failed"),
        (Unprintable(), "failed"),
    ],
)
def test_an_exception_has_a_status_and_a_reason(error: BaseException, status: str) -> None:
    found, reason = failures.of(error)
    assert found == status
    assert reason
    assert "\n" not in reason


def test_what_a_library_refuses_names_the_library_and_its_function() -> None:
    with pytest.raises(failures.CallFailed) as refused, failures.calling(None):
        AutoConfig.for_model("of_2030")
    assert re.fullmatch(
        r"transformers [\d.]+, for_model in configuration_auto.py", failures.raised_in(refused.value)
    )
    with pytest.raises(KeyError) as own:
        raising(KeyError("bad"))()
    assert failures.raised_in(own.value) == ""


@pytest.mark.parametrize(
    "error", [OSError("no file"), ZeroDivisionError("by zero"), Panic("index out of range"), SystemExit(3)]
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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("mend it")])
def test_what_the_user_ends_or_can_mend_is_no_record(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelSlot, "get", raising(error))
    with pytest.raises(type(error)):
        measure_cell(resolve_cell(cell()), ModelSlot(), {})


def loaded(generate: Any = None) -> Any:
    """What measuring asks of a loaded model."""
    decoder = SimpleNamespace(config=SimpleNamespace(_attn_implementation="eager"))
    configuration = SimpleNamespace(optimization=resolve_cell(cell()).optimization)
    return SimpleNamespace(
        configuration=configuration, geometry="", template="", notes=(), processor_source="",
        model=SimpleNamespace(generate=generate), decoder=decoder, engine=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fails", "status"),
    [
        ("the optimized model", "unsupported"),
        ("every model", "failed"),
        ("preparing", "failed"),
        ("loading", "unsupported"),
    ],
)
@pytest.mark.parametrize("optimization", ["prompt_lookup", "bnb-8bit", "compile"])
def test_unsupported_is_what_the_model_can_do_without_the_optimization(
    optimization: str, fails: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = raising(KeyError("bad"))
    models = [loaded(bad), loaded(bad if fails == "every model" else lambda **_: None)]
    batches = [SimpleNamespace(inputs={"input_ids": torch.zeros(1, 5)})]
    refused = raising(failures.Unsupported("bad"))
    monkeypatch.setattr(ModelSlot, "get", refused if fails == "loading" else lambda *_: models.pop(0))
    monkeypatch.setattr(cells, "prepare", bad if fails == "preparing" else lambda *_: batches)
    monkeypatch.setattr(cells, "timed", lambda cell, generate, batches: generate(batches[0].inputs))
    monkeypatch.setattr(cells.Generator, "of", lambda _, loaded, __: cells.Generator(loaded, {}, {}, None))
    made = measure_cell(resolve_cell(cell(optimization=optimization)), ModelSlot(), {})
    assert made.status == status
    assert "bad" in made.reason


@pytest.mark.parametrize("error", [ValueError("no place"), Panic("no place"), SystemExit("no place")])
def test_what_fails_after_the_measurement_is_a_note_and_the_times_are_kept(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = record()
    meters = SimpleNamespace(
        energy=SimpleNamespace(refused=(), cards=(), emissions={}), readings=kept.energy, conditions=None,
        memory=SimpleNamespace(usage=kept.memory),
    )  # fmt: skip
    window = SimpleNamespace(timing=kept.timing, warmup_s=0.0, meters=meters, outputs=[], heard=None)
    monkeypatch.setattr(ModelSlot, "get", lambda *_: loaded())
    monkeypatch.setattr(cells, "prepare", lambda *_: [SimpleNamespace(inputs={})])
    monkeypatch.setattr(cells.Generator, "of", lambda *_: SimpleNamespace(probe=raising(error), reduce=None))
    monkeypatch.setattr(cells, "timed", lambda *_: window)
    for where, name in ((cells, "memory_of"), (cells, "score"), (cells, "count"), (peak_rates, "measured")):
        monkeypatch.setattr(where, name, raising(error))
    made = measure_cell(resolve_cell(cell(optimization="sdpa")), ModelSlot(), {})
    assert (made.status, made.timing, made.energy) == ("ok", kept.timing, kept.energy)
    assert made.memory == kept.memory
    assert [note.split()[0] for note in made.notes] == ["memory", "answers", "probe", "ceilings", "flops"]
    assert all("no place" in note for note in made.notes)


def test_logits_that_are_no_numbers_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.zeros(2, 1, 7)
    logits[1, 0, 3:5] = torch.tensor([torch.nan, torch.inf])
    made = SimpleNamespace(logits=tuple(logits), sequences=torch.zeros(1, 9), past_key_values=None)
    monkeypatch.setattr(cells.Generator, "_generate", lambda *_, **__: made)
    loaded: Any = SimpleNamespace(engine=None)
    with pytest.raises(failures.NotMeasured, match="2 of 14 are not numbers"):
        cells.Generator(loaded, {}, {}, None).probe({"input_ids": torch.zeros(1, 5)})


def test_a_formula_that_fails_leaves_the_counters_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flop_counting, "_by_counters", lambda *_: FlopCount(fvcore=7, torch=8))
    monkeypatch.setattr(flop_counting, "_shapes", raising(ValueError("no place")))
    one = {"input_ids": torch.zeros(1, 5), "pixel_values": torch.zeros(1, 3, 8, 8)}
    monkeypatch.setattr(flop_counting, "encode", lambda *_: one)
    config = SimpleNamespace(to_json_string=lambda use_diff: "{}")
    loaded: Any = SimpleNamespace(
        configuration=loading.configuration(resolve_cell(cell())), model=SimpleNamespace(config=config),
        family=SimpleNamespace(decoder_shape=raising(KeyError("newfamily"))),
    )  # fmt: skip
    batch: Any = SimpleNamespace(samples=[1, 2], prompts=[SimpleNamespace(text_tokens=5, images=1)] * 2)
    made = flop_counting.count(resolve_cell(cell()), loaded, batch, {})
    assert (made.fvcore, made.torch, made.formula, made.decode_torch) == (14, 16, None, None)
    assert "newfamily" in made.note
    assert "no place" in made.note
