"""The catalogue of GPUs: rates that are possible, and what was compared with which document."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
from markupsafe import escape

from vlmnb.errors import UserError
from vlmnb.fit import answer, answer_text, gpus, page
from vlmnb.fit.gpus import Gpu

ONE_RATE = ("Instinct MI210", "Radeon PRO W7900", "Radeon RX 7900 XTX", "Radeon RX 7900 XT")
"""CDNA 2 and RDNA 3 multiply 8 bits as fast as 16."""


def ratio(gpu: Gpu) -> float:
    """How many times faster 8 bits are multiplied than 16 with 32-bit accumulation."""
    if gpu.name in ONE_RATE:
        return 1
    return 4 if gpu.name.startswith("GeForce RTX") else 2  # GeForce RTX: 32-bit accumulation at half the rate


def test_rates_of_two_widths_are_in_the_proportion_of_the_matrix_engine() -> None:
    both = [gpu for gpu in gpus.catalogue() if gpu.fp16_tflops and gpu.int8_tops]
    assert len(both) > 70
    for gpu in both:
        assert gpu.fp16_tflops
        assert gpu.int8_tops == pytest.approx(ratio(gpu) * gpu.fp16_tflops, rel=0.015), gpu.name


def test_bf16_starts_with_ampere_and_every_nvidia_gpu_has_a_capability() -> None:
    for gpu in gpus.catalogue():
        assert (gpu.compute_capability is not None) == (gpu.vendor == "NVIDIA"), gpu.name
        if gpu.vendor == "NVIDIA" and gpu.fp16_tflops:
            assert gpu.bf16_tflops == (gpu.fp16_tflops if gpu.compute_capability >= 8 else None), gpu.name


def test_every_document_is_used_and_its_kind_explained(project: Path) -> None:
    named = {key for gpu in gpus.catalogue() for key in gpu.sources}
    named |= {check.source for gpu in gpus.catalogue() for check in gpu.checked}
    assert named == set(gpus.sources())
    text = (project / "data" / "README.md").read_text(encoding="utf-8")
    for kind in get_args(gpus.Kind):
        assert kind in text
    for figure in gpus.FIELDS:
        assert figure in text


def test_the_readme_counts_what_was_compared(project: Path) -> None:
    text = " ".join((project / "data" / "README.md").read_text(encoding="utf-8").split())
    found = gpus.catalogue()
    given = sum(len(gpu.given) for gpu in found)
    left = [gpu.uncompared for gpu in found if gpu.uncompared]
    missing = sum(map(len, left))
    assert f"Of {given} figures {given - missing} were compared so." in text
    assert f"The other {missing}, of {len(left)} GPUs," in text


def test_a_figure_is_compared_once_and_only_where_there_is_one() -> None:
    for gpu in gpus.catalogue():
        compared = [figure for check in gpu.checked for figure in check.figures]
        assert len(compared) == len(set(compared)), gpu.name
        assert set(compared) | set(gpu.uncompared) == set(gpu.given), gpu.name


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [("memory_gib", "-5", "memory_gib"), ("vendor", "Acme", "vendor"), ("name", "T4", "twice"),
     ("source", "nowhere", "unknown source"), ("fp16_tflops", "many", "fp16_tflops"),
     ("checked", "nowhere:memory", "unknown source 'nowhere'"), ("checked", "page:weight", "checked"),
     ("checked", "page:", "checked"), ("checked", "page:fp16", "fp16 is compared, but the row has none")],
)  # fmt: skip
def test_a_wrong_row_is_named_by_its_line(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, value: str, told: str
) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(project / "data" / "gpu-sources.csv", tmp_path / "data")
    with (project / "data" / "gpus.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0][column] = value  # a Tesla K20c, without rates
    with (tmp_path / "data" / "gpus.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.setenv("VLMNB_ROOT", str(tmp_path))
    gpus.catalogue.cache_clear()
    gpus.sources.cache_clear()
    try:
        with pytest.raises(UserError, match=told) as error:
            gpus.catalogue()
    finally:
        gpus.catalogue.cache_clear()
        gpus.sources.cache_clear()
    line = 2 + max(at for at, row in enumerate(rows) if row[column] == value)  # a name: where it stands again
    assert f"gpus.csv, line {line}: " in str(error.value)


def test_a_reader_sees_by_row_what_was_compared() -> None:
    assert answer_text.compared(gpus.get("RTX 4090")) == "all"
    assert answer_text.compared(gpus.get("H200 SXM")) == "not year"
    assert answer_text.compared(gpus.get("Radeon AI PRO R9700")) == "0 of 6"
    told = answer_text.documents(gpus.get("H200 SXM"))
    assert told.endswith("(vendor); not compared: year")
    fit = answer.of("llava-1.5-7b", "fp16", answer.load_of("llava-1.5-7b"))
    table = page.gpu_table(fit)
    assert '<th scope="col" class="text">Compared</th>' in table
    assert escape(answer_text.documents(gpus.get("GeForce RTX 5060"))) in table
    sources = page.sources(fit)
    assert "List of Nvidia graphics processing units" in sources
    assert "(encyclopedia)" in sources
    assert "]()" not in sources


def test_every_gpu_has_a_source_and_names_are_unique() -> None:
    found = gpus.catalogue()
    assert len(found) > 100
    assert {gpu.vendor for gpu in found} == {"NVIDIA", "AMD", "Intel", "Apple"}
    assert {gpu.segment for gpu in found} >= {"data-centre", "workstation", "consumer", "unified"}
    for gpu in found:
        assert gpus.get(gpu.name) == gpu
        assert all(gpus.sources()[key].address.startswith("http") for key in gpu.sources)
        assert (gpu.price_usd is None) or "page" in gpu.sources


def test_rates_are_dense() -> None:
    """Data sheets give the rate with sparsity, twice as much, in larger type."""
    known = {"H200 SXM": 989.5, "H100 SXM": 989.5, "A100 SXM 80GB": 312, "L4": 121, "GeForce RTX 4090": 165.2}
    assert {name: gpus.get(name).fp16_tflops for name in known} == known


def test_the_pages_own_gpus_are_all_there_with_its_prices() -> None:
    listed = {name: gpu for gpu in gpus.catalogue() for name in gpu.page_names}
    assert len(listed) == 30
    assert listed["NVIDIA RTX 3050 6GB"].price_usd == 169
    assert listed["NVIDIA Tesla K20c"].memory_gib == 5
    assert listed["NVIDIA P102-100"].bandwidth_gb_s == 440
    assert sum(gpu.price_usd is not None for gpu in gpus.catalogue()) == 6


@pytest.mark.parametrize(
    ("asked", "found"),
    [("rtx 4090", "GeForce RTX 4090"), ("RTX4090", "GeForce RTX 4090"), ("rtx-4090", "GeForce RTX 4090"),
     ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090"), ("RTX 4090 24GB", "GeForce RTX 4090"),
     ("AD102 [GeForce RTX 4090] (rev a1)", "GeForce RTX 4090"),
     ("NVIDIA GeForce RTX 3090, 24564 MiB", "GeForce RTX 3090"), ("RTX 4090 24 GB VRAM", "GeForce RTX 4090"),
     ("0, NVIDIA GeForce RTX 3060, 12288 MiB", "GeForce RTX 3060 12GB"), ("Tesla T4, 15109 MiB", "T4"),
     ("NVIDIA GeForce RTX 4060 Ti, 8188 MiB", "GeForce RTX 4060 Ti 8GB"), ("L40S (44.99 GiB)", "L40S"),
     ("NVIDIA A100-SXM4-40GB, 40536", "A100 SXM 40GB"), ("NVIDIA GB10, [N/A]", "DGX Spark (GB10)"),
     ("4070tisuper", "GeForce RTX 4070 Ti SUPER"), ("3090", "GeForce RTX 3090"),
     ("3090 ti", "GeForce RTX 3090 Ti"), ("GTX1080Ti", "GeForce GTX 1080 Ti"),
     ("4060 Ti 16 GB", "GeForce RTX 4060 Ti 16GB"), ("RTX 3080 10GB", "GeForce RTX 3080 10GB"),
     ("A100-SXM4-80GB", "A100 SXM 80GB"), ("GPU 0: NVIDIA H200 (UUID: GPU-6a-b)", "H200 SXM"),
     ("Tesla V100-SXM2-32GB", "V100 SXM2 32GB"), ("nvidia a100 80gb pcie", "A100 PCIe 80GB"),
     ("NVIDIA H100 80GB HBM3", "H100 SXM"), ("H100 NVL", "H100 NVL"), ("H200", "H200 SXM"), ("L40", "L40"),
     ("L40S", "L40S"), ("Tesla T4", "T4"), ("RTX A6000", "RTX A6000"), ("RTX 6000 Ada", "RTX 6000 Ada"),
     ("RTX 6000 Ada Generation", "RTX 6000 Ada"), ("mi300x", "Instinct MI300X"),
     ("W7900", "Radeon PRO W7900"), ("Jetson Orin Nano Super Developer Kit", "Jetson Orin Nano Super"),
     ("7900XTX", "Radeon RX 7900 XTX"), ("Intel(R) Arc(TM) A770 Graphics 16GB", "Arc A770 16GB"),
     ("Apple M2 Ultra", "M2 Ultra"), ("M4 Max (40-core GPU)", "M4 Max 40-core"),
     ("GB10", "DGX Spark (GB10)"), ("Spark", "DGX Spark (GB10)"),
     ("Jetson Orin Nano Super", "Jetson Orin Nano Super"), ("Orin NX 16 GB", "Jetson Orin NX 16GB")],
)  # fmt: skip
def test_a_gpu_is_found_as_people_and_drivers_write_it(asked: str, found: str) -> None:
    assert gpus.get(asked).name == found


@pytest.mark.parametrize(
    ("asked", "near"),
    [("V100-SXM3-32GB", "V100 SXM2 32GB"),
     ("Quadro RTX 6000", "RTX 6000 Ada"),
     ("RTX 4090 Laptop GPU", "GeForce RTX 4090"), ("RTX 4090D", "GeForce RTX 4090"),
     ("RTX 3060 Laptop", "GeForce RTX 3060 12GB"),
     ("RTX 3080 12GB", "GeForce RTX 3080 10GB"), ("RTX 4070 Max-Q", "GeForce RTX 4070"),
     ("RTX 2080", "GeForce RTX 2080 Ti"), ("GTX 4090", "GeForce RTX 4090"), ("GRID T4-16Q", "T4"),
     ("A100-SXM4-40GB MIG 1g.5gb", "A100 SXM 40GB"), ("MIG 1g.10gb", ""), ("A10G", "A10"),
     ("NVIDIA L40-48Q", "L40"), ("GH200 480GB", "H200 SXM"), ("Tesla V100-PCIE-32GB", "V100 PCIe 16GB"),
     ("Apple M2", "M2 Ultra"), ("M3 Max", "M3 Max 40-core"), ("MI300A", "Instinct MI300X"),
     ("RX 9070", "RX 9070 XT"), ("RTX 3060", "GeForce RTX 3060 12GB"), ("H200 SXN", "H200 SXM"),
     ("NVIDIA GeForce RTX 3080, 12288 MiB", "GeForce RTX 3080 10GB"), ("RTX 4090, 48G", "GeForce RTX 4090"),
     ("NVIDIA A100-SXM4-40GB, 81920 MiB", "A100 SXM 80GB"), ("A10G, 23028 MiB", "A10"), ("24564 MiB", ""),
     ("NVIDIA GeForce RTX 4090 Laptop GPU, 16376 MiB", "GeForce RTX 4090"),
     ("RTX 6000", "RTX 6000 Ada"), ("A100", "could be several; give one of: A100 SXM 80GB"),
     ("Orin NX", "memory; data/gpus.csv has Jetson Orin NX 16GB; or")],
)  # fmt: skip
def test_a_gpu_that_is_not_there_is_refused_with_those_near_it(asked: str, near: str) -> None:
    with pytest.raises(UserError) as error:
        gpus.get(asked)
    assert near in str(error.value)


def test_a_name_without_its_memory_lists_the_cards_of_that_name_and_no_other() -> None:
    stripped: dict[str, list[str]] = {}
    for gpu in gpus.catalogue():
        if (bare := re.sub(r" \d+GB\b", "", gpu.name)) != gpu.name:
            stripped.setdefault(bare, []).append(gpu.name)
    assert len(stripped) > 20
    for bare, cards in stripped.items():
        for spelled in (bare, f"NVIDIA {bare}") if gpus.get(cards[0]).vendor == "NVIDIA" else (bare,):
            with pytest.raises(UserError, match="needs its memory") as error:
                gpus.get(spelled)
            assert f"data/gpus.csv has {' and '.join(cards)};" in str(error.value)
    with pytest.raises(UserError, match=r"another memory; data/gpus\.csv has GeForce RTX 3060 12GB;"):
        gpus.get("RTX 3060 8GB")


def test_a_row_has_the_highest_speed_that_its_name_stands_for() -> None:
    nano, kit, nx = (gpus.get(f"Jetson Orin {name}") for name in ("Nano 8GB", "Nano Super", "NX 16GB"))
    for gpu in (nano, kit):
        assert (gpu.bandwidth_gb_s, gpu.int8_tops, gpu.power_w) == (
            102.4,
            pytest.approx(67 / 2, rel=0.01),
            25,
        )
    assert (nx.fp16_tflops, nx.int8_tops) == (
        15,
        30,
    )  # 100 sparse TOPS, less 40 of the accelerators beside the GPU
    assert gpus.get("Jetson Orin NX 16GB Super").int8_tops > nx.int8_tops
    assert gpus.get("B200").bandwidth_gb_s == 8000
