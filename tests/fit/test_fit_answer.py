"""What a buyer reads off ``vlmnb fit`` and the table of GPUs: who runs it, for how much, in which memory."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vlmnb.fit import answer, answer_text, gpus, model_facts, page, quantize, shape
from vlmnb.fit.choice import Constraint

NO_IMAGES = "llama.cpp has no code for its images: the GGUF rows are arithmetic, nothing runs them"

Run = Callable[..., str]


@pytest.mark.parametrize("kind", ["Q8_0", "Q6_K", "Q4_K_M"])
def test_nothing_runs_fuyu_under_gguf_anywhere(kind: str) -> None:
    found = answer.of("fuyu-8b", kind, answer.load_of("fuyu-8b"), constraint=Constraint(vram_gib=80))
    assert found.obstacle == NO_IMAGES
    assert not any(row.runs for row in found.gpus)
    assert {answer_text.verdict(row) for row in found.gpus} == {"no: llama.cpp has no code for its images"}
    assert all(one.gpu is None for one in found.best)
    assert found.own
    assert not found.own.runs
    content = json.loads(answer_text.as_json(found))
    assert not any(row["runs"] for row in content["gpus"])
    assert [one["quantization"] for one in content["by_quantization"] if one["obstacle"]] == [
        "Q8_0", "Q6_K", "Q4_K_M",
    ]  # fmt: skip
    lines, own = "\n".join(answer_text.lines(found)), answer_text.own_memory(found)
    for text in (page.best(found), page.unrun(found), lines, own):
        assert NO_IMAGES in text.replace("\\", "")
    assert ">yes<" not in page.gpu_table(found)


def test_the_published_facts_of_fuyu_say_the_same() -> None:
    assert NO_IMAGES.partition("llama.cpp ")[2] in model_facts.published()["fuyu-8b"].gguf
    assert not quantize.obstacle(shape.of("fuyu-8b"), quantize.get("nf4"))
    assert not quantize.obstacle(shape.of("llava-1.5-7b"), quantize.get("Q4_K_M"))


def test_no_quantization_that_nothing_runs_is_recommended(run: Run) -> None:
    text = run("fuyu-8b", "--vram", "10")
    assert "It does not fit 10 GiB under fp16" in text
    assert "missing; nf4 would fit." in text
    text = run("fuyu-8b", "--vram", "8")
    assert "no other quantization here would fit and run" in text
    text = run("fuyu-8b", "--quantization", "Q4_K_M", "--vram", "8")
    assert NO_IMAGES in text
    assert "It fits" not in text
    assert "Fastest" not in text


def test_the_answer_for_a_memory_comes_first_and_without_the_catalogue(run: Run) -> None:
    lines = run("llava-1.5-7b", "--vram", "16").splitlines()
    assert lines[1].startswith("It fits 16 GiB under fp16 with ")
    assert not [line for line in lines if line.startswith(" NVIDIA ")]
    assert any("--json lists them" in line for line in lines)


@pytest.mark.parametrize(
    ("gib", "said"),
    [
        ("4", "does not fit"),
        ("4.3", "may or may not fit"),
        ("4.6", "just about fits"),
        ("5.2", "It fits 5.2 GiB"),
    ],
)
def test_an_answer_closer_than_what_is_assumed_says_so(gib: str, said: str, run: Run) -> None:
    text = " ".join(run("qwen2.5-vl-3b", "--quantization", "Q4_K_M", "--vram", gib).split())
    assert said in text
    assert ("less than the 0.50 GB that are assumed" in text) == (gib in ("4.3", "4.6"))


def test_a_gpu_that_just_about_has_room_is_marked() -> None:
    load = answer.load_of("qwen2.5-vl-3b", context=32_000)
    fit = answer.of("qwen2.5-vl-3b", "Q4_K_M", load, constraint=Constraint(vram_gib=6))
    (verdict,) = {answer_text.verdict(row) for row in fit.gpus if row.runs}
    assert verdict == "just about"
    assert {row.uncertain for row in fit.gpus if row.runs} == {True}
    assert fit.best[0].why.endswith("it fits just about")


def test_what_the_memory_assumes_is_named(run: Run) -> None:
    text = " ".join(run("qwen2.5-vl-3b", "--image-size", "1932").split())
    assert "sdpa attention" in text
    assert "47.25 GB" in text  # eager
    assert "whole context of 128000 tokens takes 4.72 GB" in text
    counted = json.loads(run("qwen2.5-vl-3b", "--image-size", "1932", "--attention", "eager", "--json"))
    assert counted["memory"]["activations_bytes"] == counted["eager_bytes"] > 47e9
    assert "did you mean 'eager'" in run("qwen2.5-vl-3b", "--attention", "egaer")


def test_gpus_left_out_for_want_of_a_price_or_a_power_limit_are_counted() -> None:
    load = answer.load_of("llava-1.5-7b")
    free = answer.of("llava-1.5-7b", "Q4_K_M", load)
    cheap = answer.of("llava-1.5-7b", "Q4_K_M", load, constraint=Constraint(price_usd=160))
    (left,) = cheap.left_out
    assert (left.unknown, left.gpus) == ("price", 109)
    assert left.running == sum(row.runs and row.gpu.price_usd is None for row in free.gpus)
    assert "Left out: 109 GPUs of" in " ".join(answer_text.lines(cheap))
    assert cheap.best[0].why.endswith(f"; {left.running} more that run it are without one")
    assert not free.left_out
    assert free.best[0].gpu == cheap.best[0].gpu
    modest = answer.of("llava-1.5-7b", "Q4_K_M", load, constraint=Constraint(power_w=100))
    (left,) = modest.left_out
    assert left.unknown == "power limit"
    assert "Apple" in left.vendors
    assert not any(row.gpu.vendor == "Apple" for row in modest.gpus)


def test_a_limited_figure_is_in_the_table_with_the_source_of_prices(run: Run) -> None:
    arguments = ("llava-1.5-7b", "--quantization", "Q4_K_M", "--max-price", "100")
    text = run(*arguments)
    (row,) = (line for line in text.splitlines() if line.startswith(" NVIDIA GeForce GTX 1060 6GB "))
    assert row.split()[5:9] == ["6", "192", "120", "80"]
    assert "USD: 6 of 115 GPUs have a price" in text
    assert gpus.sources()["page"].address in text


def test_the_published_memory_figures_are_explained_on_the_terminal_too() -> None:
    names = ("llava-1.5-7b", "fuyu-8b")
    fits = (answer.of(name, "fp16", answer.load_of(name)) for name in names)
    text, other = (" ".join(answer_text.lines(fit)) for fit in fits)
    for claimed in ("14.7 GB (-3 %", "7.6 GB", "6.3 GB", "4.5 GB (-22 %"):
        assert claimed in text
    assert "7.1 billion parameters x bits / 8 + 0.5 GB" in text
    assert "7.1 billion" not in other


@pytest.mark.parametrize(
    ("name", "gib"), [("T4", 15), ("L4", 22.5), ("A10", 22.5), ("A40", 45), ("L40S", 45), ("A30", 24)]
)
def test_memory_is_as_labelled_and_what_ecc_takes_is_not_counted(name: str, gib: float) -> None:
    assert gpus.get(name).usable_bytes == gib * 2**30


def test_every_gpu_is_labelled_on_one_basis() -> None:
    assert gpus.get("H200 SXM").memory_gib == gpus.get("H200 NVL").memory_gib == 141
    assert all(gpu.memory_gib == int(gpu.memory_gib) for gpu in gpus.catalogue())
    for gpu in gpus.catalogue():
        assert not gpu.ecc_inside or (gpu.vendor, gpu.segment) == ("NVIDIA", "data-centre")


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_bound_of_a_gpu_can_be_read_per_image_and_at_a_price(batch_size: int) -> None:
    fit = answer.of("llava-1.5-7b", "fp16", answer.load_of("llava-1.5-7b", batch_size=batch_size))
    found = re.findall(r'data-units="([^"]*)" data-amount="hire ([\d.e+-]+)"', page.gpu_table(fit))
    bounds = [row.bound.total_s / batch_size for row in fit.gpus if row.runs]
    assert len(found) == len(bounds) > 10
    for (units, hours), image_s in zip(found, bounds, strict=True):
        (ms, _), (rate, _) = json.loads(html.unescape(units))
        assert float(ms.rstrip("*")) == pytest.approx(1000 * image_s, rel=0.005)
        assert float(rate.rstrip("*")) == pytest.approx(1 / image_s, rel=0.005)
        assert float(hours) == pytest.approx(1000 * image_s / 3600, rel=1e-5)


def test_whether_it_runs_stands_beside_the_name_that_stays_in_sight(project: Path) -> None:
    table = page.gpu_table(answer.of("llava-1.5-7b", "fp16", answer.load_of("llava-1.5-7b")))
    heads = re.findall(r"<th scope=\"col\"[^>]*>([^<]*)</th>", table)
    assert heads[:4] == ["GPU", "Runs it", "Batch up to", "At least"]
    rows = re.findall(r"<tr>(<th scope=\"row\".*?)</tr>", table)
    assert {row.count("<td") for row in rows} == {len(heads) - 1}
    assert "vlmnb-sticky" in table
    assert "table.vlmnb-sticky td:first-child" in (project / "book" / "_static" / "book.css").read_text()
    assert "the bound comes from the bandwidth alone" in table
