"""The machine's description: stable names, no demands on what is installed, honest load."""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from background import FourCores
from sensorfakes import Draw, FakeClock, FakeNvml

from vlmnb.device import machine
from vlmnb.device.load import SHORTEST_LOAD_WINDOW_S, BackgroundLoad
from vlmnb.device.state import Gpu


@pytest.mark.parametrize(
    ("cpu", "gpus", "slug"),
    [
        ("AMD EPYC", (), "amd-epyc-8c"),
        ("AMD EPYC 7763 64-Core Processor", (), "amd-epyc-7763-8c"),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", (), "intel-xeon-platinum-8375c-8c"),
        ("AMD Ryzen 7 5800U with Radeon Graphics", (), "amd-ryzen-7-5800u-8c"),
        ("Apple M2", (), "apple-m2-8c"),
        ("???", (), "cpu-8c"),
        ("AMD EPYC", ("NVIDIA H200",), "h200"),
        ("AMD EPYC", ("NVIDIA A100-SXM4-80GB",) * 2, "a100-sxm4-80gb"),
        ("AMD EPYC", ("NVIDIA GeForce RTX 4090",), "rtx-4090"),
        ("AMD EPYC", ("Tesla T4",), "t4"),
    ],
)
def test_slug(cpu: str, gpus: tuple[str, ...], slug: str) -> None:
    assert machine.slug_of(cpu, 8, gpus) == slug


def test_fingerprint_is_of_the_hardware() -> None:
    base = machine.fingerprint_of("cpu", 8, 24 * 2**30, ("h200",))
    for reported in (24 * 2**30 - 10**7, 23.5 * 2**30 + 1, 23.5 * 2**30 - 1):
        assert machine.fingerprint_of("cpu", 8, int(reported), ("h200",)) == base
    assert machine.fingerprint_of("cpu", 8, 31 * 2**30, ("h200",)) != base
    assert (
        len({base, machine.fingerprint_of("cpu", 9, 24 * 2**30, ()), machine.fingerprint_of("x", 8, 1, ())})
        == 3
    )


def test_a_virtual_machine_is_recognized(tmp_path: Path) -> None:
    cpuinfo, dmi = tmp_path / "cpuinfo", tmp_path / "dmi"
    assert machine.virtualization(cpuinfo, dmi) == ""
    cpuinfo.write_text("model name\t: Cortex\nFeatures\t: fp asimd\n")
    assert machine.virtualization(cpuinfo, dmi) == "", "no flag could tell"
    cpuinfo.write_text("model name\t: AMD EPYC\nflags\t\t: fpu vme svm\n")
    assert machine.virtualization(cpuinfo, dmi).startswith("none")
    cpuinfo.write_text("model name\t: AMD EPYC\nflags\t\t: fpu hypervisor lahf_lm\n")
    assert machine.virtualization(cpuinfo, dmi) == "virtual machine"
    dmi.mkdir()
    (dmi / "sys_vendor").write_text("Amazon EC2\n")
    (dmi / "product_name").write_text("m7a.large\n")
    assert machine.virtualization(cpuinfo, dmi) == "virtual machine (Amazon EC2 m7a.large)"


def test_describe_this_machine() -> None:
    here = machine.describe()
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", here.slug)
    assert here.logical_cores >= here.physical_cores >= 1
    assert here.memory_bytes > 2**28
    assert {"torch", "codecarbon", "jiwer"} <= here.packages.keys()
    machine.describe.cache_clear()
    assert machine.describe() == here
    assert machine.Machine.model_validate_json(here.model_dump_json()) == here


class OneGpu(FakeNvml):
    """pynvml on a machine with one GPU; some functions fail."""

    def __init__(self, *broken: str) -> None:
        super().__init__(Draw(FakeClock(), 80.0, 0.1), broken)
        self.answers |= {"nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetCount": 1,
                         "nvmlDeviceGetHandleByIndex": "handle",
                         "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=150 * 10**9)}  # fmt: skip


@pytest.fixture(autouse=True)
def _forget() -> object:
    machine.describe.cache_clear()
    yield
    machine.describe.cache_clear()


def test_a_gpu_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", OneGpu())
    here = machine.describe()
    expected = Gpu(
        name="NVIDIA H200", uuid="GPU-b", memory_bytes=150 * 10**9, driver="580.1", power_limit_w=700, index=0
    )
    assert here.gpus == (expected,)
    assert here.slug == "h200"


def test_a_gpu_may_keep_its_memory_and_limit_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetEnforcedPowerLimit", "nvmlShutdown")
    monkeypatch.setitem(sys.modules, "pynvml", OneGpu(*broken))
    here = machine.describe()
    assert here.gpus[0].memory_bytes == here.memory_bytes
    assert here.gpus[0].power_limit_w is None


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetName", None])
def test_a_driver_that_fails_or_no_package_means_no_gpu(
    broken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", broken and OneGpu(broken))
    assert machine.describe().gpus == ()


def test_background_load_is_what_is_busy_and_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, load = FourCores(monkeypatch, others=1.0), BackgroundLoad()
    assert load.share() == pytest.approx(0.25)
    assert cores.now.now_s == SHORTEST_LOAD_WINDOW_S
    cores.work(10)
    assert load.share() == pytest.approx(0.25)
    assert cores.now.now_s == 10 + SHORTEST_LOAD_WINDOW_S


def test_background_load_of_this_machine_is_a_fraction() -> None:
    assert 0 <= BackgroundLoad().share() <= 1


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(machine).failed == 0
