"""The finder of GPUs holds what ``vlmnb fit`` answers."""

from __future__ import annotations

from typing import Any

import factory
import pytest

from vlmnb.fit import answer, finder, gpus, model_facts
from vlmnb.records.record import Record


@pytest.mark.parametrize(
    ("model", "kind", "batch", "context"),
    [("llava-1.5-7b", "fp16", 8, 4096), ("qwen2.5-vl-3b", "Q4_K_M", 1, 0), ("fuyu-8b", "nf4", 64, 0)],
)
def test_memory_and_gpus_are_those_of_fit(model: str, kind: str, batch: int, context: int) -> None:
    found = finder.data([model])
    ours = found["models"][model]
    fit = answer.of(model, kind, answer.load_of(model, batch_size=batch, context=context))
    assert ours["licence"] == model_facts.published()[model].licence
    needed = ours["bytes"][kind][found["batches"].index(batch)][ours["contexts"].index(context)]
    assert needed == fit.memory.total_bytes
    rows = {row.gpu.name: row for row in fit.gpus}
    number = list(found["quantizations"]).index(kind)
    for gpu, theirs in zip(gpus.newest_first(), found["gpus"], strict=True):
        obstacle = ours["obstacles"].get(kind) or theirs["obstacles"][number]
        runs = theirs["usable"] >= needed and not obstacle
        assert runs == rows[gpu.name].runs
        prefill_flops, step_flops, prefill_bytes, step_bytes, steps = ours["work"][kind][
            found["batches"].index(batch)
        ]
        rate = theirs["rates"][number] or float("inf")
        prefill, step = (
            max(size / theirs["bandwidth"], flops / rate)
            for size, flops in ((prefill_bytes, prefill_flops), (step_bytes, step_flops))
        )
        assert prefill + steps * step == pytest.approx(rows[gpu.name].bound.total_s)
        assert (theirs["rates"][number] > 0) == rows[gpu.name].bound.compute_known


def test_a_record_of_a_gpu_takes_the_place_of_the_bound_if_image_and_prompt_are_the_finders() -> None:
    cell = factory.cell(
        model="fuyu-8b", weights="random", length="fixed", device="cuda", optimization="fp16", dtype="fp16",
        image_size=224, seq_len=200, batch_size=4, samples=48, max_new_tokens=16,
    )  # fmt: skip
    where = {"code": "0" * 16, "machine": {"gpus": [{"name": "NVIDIA H200"}]}}
    made = factory.timed(of=cell, key="a" * 16, provenance=where, answers=factory.answers(48, 0))
    other = factory.but(made, key="b" * 16, cell=factory.but(cell, seq_len=50))
    (found,) = finder.measured([made, other])
    model, kind, batch, place, seconds, tokens, key = found
    assert (model, kind, batch, tokens, key) == ("fuyu-8b", "fp16", 4, 3, "a" * 16)
    assert gpus.newest_first()[place].name == "H200 SXM"
    assert seconds == pytest.approx(made.latency_s / 4)


def test_an_image_that_the_processor_enlarges_is_the_finders() -> None:
    cell = factory.cell(model="llava-1.5-7b", optimization="bf16", dtype="bf16", image_size=224, seq_len=200)
    (found,) = finder.on_cpus([factory.timed(of=cell)])
    assert found[0] == "llava-1.5-7b"


def test_a_machine_without_a_gpu_has_the_fastest_record_of_each_batch_size() -> None:
    cell = factory.cell(
        model="fuyu-8b", weights="random", length="fixed", optimization="bf16", dtype="bf16",
        image_size=224, seq_len=200, batch_size=1, samples=1, max_new_tokens=4,
    )  # fmt: skip

    def timed(key: str, seconds: float, **changes: Any) -> Record:
        return factory.timed((seconds,), factory.but(cell, **changes), key=key * 16)

    slow, fast = timed("a", 9.0), timed("b", 8.0)
    others = [
        timed("c", 1.0, seq_len=50),
        timed("d", 2.0, optimization="static_cache"),
        timed("e", 3.0, repeat=1),
    ]
    (found,) = finder.on_cpus([slow, *others, fast])
    model, setting, batch, machine, seconds, answer, key, _ = found
    assert (model, setting, batch, machine, key) == ("fuyu-8b", "bf16", 1, fast.hardware, "b" * 16)
    assert (seconds, answer) == (8.0, "exactly 4")


def test_only_contexts_that_a_model_was_trained_for_are_offered() -> None:
    ours = finder.data(["llava-1.5-7b"])["models"]["llava-1.5-7b"]
    assert ours["contexts"] == [0, 1024, 2048, 4096]


def test_the_table_opens_with_gpus_that_the_current_torch_supports() -> None:
    listed = gpus.newest_first()
    assert sorted(gpu.name for gpu in listed) == sorted(gpu.name for gpu in gpus.catalogue())
    assert [gpu.old for gpu in listed] == sorted(gpu.old for gpu in listed)
    years = [gpu.year or 0 for gpu in listed if not gpu.old]
    assert years == sorted(years, reverse=True)
    assert years[0] >= 2025
    assert {gpus.get(name).old for name in ("Tesla K20c", "V100 SXM2 16GB", "GTX 1080 Ti")} == {True}
    assert {gpus.get(name).old for name in ("T4", "RTX 4090", "H100 SXM 80GB", "M5")} == {False}
    rows = finder.gpu_table().split("<tr")[2:]
    assert [", old" in row for row in rows] == [gpu.old for gpu in listed]
