"""This machine's memory: what does not fit is refused before it is allocated."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from factory import cell

from vlmnb.device import host_memory
from vlmnb.measure import failures, loading
from vlmnb.records.resolved import resolve_cell


@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_weights_that_do_not_fit_are_out_of_memory_before_any_is_allocated(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = loading.configuration(resolve_cell(cell(model="llava-tiny", weights=weights)))
    monkeypatch.setattr(host_memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=10**6))
    with pytest.raises(MemoryError) as caught:
        loading.load(wanted)
    status, reason = failures.of(caught.value)
    assert status == "out_of_memory"
    assert "GB are free" in reason


def test_freed_memory_goes_back_to_the_system() -> None:
    held = [torch.ones(1 << 16) for _ in range(2000)]  # 256 KiB each, half of which are freed
    before = host_memory.psutil.Process().memory_info().rss
    del held[::2]
    host_memory.give_back()
    assert host_memory.psutil.Process().memory_info().rss < before - 150e6
