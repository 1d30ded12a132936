"""The finder of GPUs holds what ``vlmnb fit`` answers."""

from __future__ import annotations

from typing import Any

import factory
import pytest

from vlmnb import models
from vlmnb.analysis import titles
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
    model, kind, batch, place, seconds, tokens, key, dataset = found
    assert dataset == titles.dataset_title(cell.dataset)
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
    model, setting, batch, machine, seconds, answers, key, _, dataset = found
    assert dataset == titles.dataset_title(cell.dataset)
    assert (model, setting, batch, machine, key) == ("fuyu-8b", "bf16", 1, fast.hardware, "b" * 16)
    assert seconds == 8.0
    assert answers.startswith("exactly 4 tokens, so not comparable"), "the bounds are for 64"


def test_without_a_gpu_the_record_is_that_of_the_pages_though_another_is_faster() -> None:
    entry = models.get("smolvlm-tiny")
    cell = factory.cell(
        model=entry.name, dataset=entry.speed_dataset, optimization="fp32", dtype="fp32", image_size=64,
        seq_len=entry.seq_lens[0], batch_size=1, max_new_tokens=entry.max_new_tokens,
    )  # fmt: skip

    def timed(key: str, seconds: float, **changes: Any) -> Record:
        return factory.timed((seconds,), factory.but(cell, **changes), key=key * 16)

    others = [
        timed("b", 1.0, dataset="scienceqa-mini"),
        timed("c", 2.0, optimization="bf16", dtype="bf16"),
        timed("d", 3.0, length="fixed", max_new_tokens=8),
    ]
    of_pages = timed("a", 9.0)
    for known, key in (([*others, of_pages], "a"), (others, "d"), (others[:2], "c"), (others[:1], "b")):
        (found,) = finder.on_cpus(known)
        assert found[6] == key * 16
    assert finder.on_cpus([of_pages])[0][5] == f"at most {entry.max_new_tokens} tokens"


def test_of_one_cell_the_newest_record_counts() -> None:
    cell = factory.cell(model="llava-1.5-7b", optimization="bf16", dtype="bf16", image_size=224, seq_len=200)
    old = factory.timed((1.0,), cell, key="a" * 16)
    later = old.provenance.model_copy(update={"started_at": old.provenance.started_at.replace("20", "21", 1)})
    new = factory.timed((9.0,), cell, key="b" * 16).model_copy(update={"provenance": later})
    (found,) = finder.on_cpus([new, old])
    assert found[6] == new.key


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
