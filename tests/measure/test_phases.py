"""Phases of generation by hooks, on a stand-in for a model whose parts sleep by a fake clock."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from factory import cell, timed
from sensorfakes import FakeClock
from torch import nn

from vlmnb.measure import phases as phase_clock
from vlmnb.measure.phases import PhaseClock
from vlmnb.views import detail_table
from vlmnb.views.table import render


class Part(nn.Module):
    """Takes a number of seconds."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def forward(self, x: Any) -> Any:
        self.clock.now_s += self.seconds
        return x


class Model(nn.Module):
    """A vision part of two modules, a decoder, and a loop that prepares for half a second."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.tower, self.projector, self.decoder = Part(clock, 2.0), Part(clock, 1.0), Part(clock, 4.0)

    def forward(self, x: Any, first: bool) -> Any:
        return self.decoder(self.projector(self.tower(x)) if first else x)

    def generate(self, tokens: int, chunks: int = 1) -> torch.Tensor:
        self.clock.now_s += 0.5
        for step in range(chunks - 1 + tokens):
            self(torch.zeros(1), step == 0)
        return torch.zeros(tokens)


def test_phases_are_told_apart_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(phase_clock, "now_s", lambda: clock.now_s)
    model = Model(clock)
    with PhaseClock(model, [model.tower, model.projector], "cpu") as phases:
        output, taken = phases.time(lambda: model.generate(3))
        assert len(output) == 3
        assert (taken.vision_s, taken.prefill_s, taken.decode_s) == (3.0, 4.5, 8.0)
        assert taken.decode_steps == 2
        assert taken.vision_s + taken.prefill_s + taken.decode_s == taken.latency_s
        alone = phases.time(lambda: model.generate(1))[1]
        assert (alone.decode_s, alone.decode_steps) == (0.0, 0)
        in_chunks = phases.time(lambda: model.generate(3, chunks=4), 4)[1]
        assert (in_chunks.vision_s, in_chunks.prefill_s, in_chunks.decode_s) == (3.0, 16.5, 8.0)
        assert in_chunks.decode_steps == 2
        with pytest.raises(ValueError, match="2 forward passes, and a prompt takes 3"):
            phases.time(lambda: model.generate(2), 3)
    assert not model._forward_hooks
    assert not model.tower._forward_pre_hooks


def test_the_table_of_fixed_length_shows_phases_and_tokens_per_second() -> None:
    point = cell(length="fixed", samples=16, max_new_tokens=11)
    made = timed(
        (0.22,) * 8, point, vision_s=(0.02,) * 8, prefill_s=(0.1,) * 8, decode_s=(0.1,) * 8,
        decode_steps=(10,) * 8,
    )  # fmt: skip
    table = detail_table.phase_table("batch_size", [point], [made])
    shown = {head: field.text for head, field in zip(table.columns, table.rows[0], strict=True)}
    assert "11 tokens" in table.caption
    assert shown["Time to first token, s"].startswith("0.12")
    assert shown["Time per output token, s"].startswith("0.01")
    assert shown["Output tokens per s"] == "100.0"
    assert shown["Verdict"] == "stable"
    assert "Word error" not in render(table)
