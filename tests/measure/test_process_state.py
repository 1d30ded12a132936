"""Cells do not depend on those before them: settings of torch, compiled code, optimizations in any order."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo.config as dynamo
import torch._inductor.config as inductor
from torch._dynamo.utils import counters
from torch.utils.flop_counter import FlopCounterMode

from vlmnb.measure import process_state
from vlmnb.measure.cells import measure_cells
from vlmnb.measure.loading import ModelSlot
from vlmnb.spec import planning
from vlmnb.spec.optimizations import torch_compile


def state() -> list[Any]:
    return [read() for read, _ in process_state._settings()]


def a_library() -> None:
    """Change ten settings and fail."""
    torch.set_default_dtype(torch.bfloat16)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cudnn.benchmark = True
    torch.backends.mkldnn.enabled = False
    inductor.coordinate_descent_tuning = dynamo.fail_on_recompile_limit_hit = True
    raise ZeroDivisionError


def test_what_a_library_changes_is_put_back() -> None:
    before = state()
    with process_state.of_a_cell():
        with pytest.raises(ZeroDivisionError):
            a_library()
        assert sum(one != other for one, other in zip(before, state(), strict=True)) == 10
    assert state() == before


def test_a_cell_begins_with_a_gpu_whose_memory_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: called.append("wait"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: called.append("free"))
    with process_state.of_a_cell():
        assert called == ["wait", "free"]


def test_a_broken_cuda_context_is_found_before_the_next_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        ModelSlot().clear()


def test_a_step_that_is_no_cuda_graph_is_counted() -> None:
    process_state.forget_compiled()
    counters["inductor"]["cudagraph_skips"] += 2
    assert process_state.compilation().cuda_graphs_skipped == 2
    process_state.forget_compiled()
    assert process_state.compilation().cuda_graphs_skipped == 0


def decoder(width: int = 4) -> Any:
    """A model whose decoder is one layer, compiled without a C++ compiler."""
    made = torch.nn.Linear(width, width)
    plain = made.forward
    made.forward = lambda inputs_embeds: plain(inputs_embeds)  # type: ignore[method-assign]
    return SimpleNamespace(get_decoder=lambda: made)


def test_shapes_of_any_number_of_cells_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    model = decoder()
    torch_compile.compile_decoder(model, "cpu")
    forward = model.get_decoder().forward
    for rows in range(2, 2 * dynamo.recompile_limit):
        # Counting before the first call turns compiling off for good, without a message.
        with process_state.of_a_cell(), FlopCounterMode(display=False):
            forward(inputs_embeds=torch.ones(rows, 1, 4))
        with process_state.of_a_cell(), torch_compile.compiled_only():
            forward(inputs_embeds=torch.ones(rows, 1, 4))
            assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1

    def in_one_cell() -> None:
        with process_state.of_a_cell(), torch_compile.compiled_only():
            for rows in range(2, 2 * dynamo.recompile_limit):
                forward(inputs_embeds=torch.ones(rows, 1, 4))

    with pytest.raises(RuntimeError, match="its limit"):
        in_one_cell()


@pytest.mark.slow
def test_optimizations_in_any_order_get_the_same_code_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, before = [], state()
    for order in (["torchao-int8", "compile", "bf16+compile"], ["bf16+compile", "compile", "torchao-int8"]):
        results = tmp_path / order[0]
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(results / "code"))
        asked = {"model": "llava-tiny", "device": "cpu", "length": "natural", "samples": 4, "batch_size": 4}
        plan = planning.plan("optimization", asked | {"dataset": "easy-vqa", "optimizations": order})
        made = {record.cell.optimization: record for record in measure_cells(plan.cells, results)}
        found.append({n: (r.status, r.compilation, r.provenance.attention) for n, r in sorted(made.items())})
        assert state() == before
    assert found[0] == found[1]
    assert [status for status, *_ in found[0].values()] == ["ok"] * 3
