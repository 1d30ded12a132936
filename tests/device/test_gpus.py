"""Which GPUs there are, by NVML or by torch, which of them a process may use, and what names the machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from factory import cell, record
from sensorfakes import Draw, FakeClock, FakeNvml

from vlmnb.device import gpus, machine, nvml, slots
from vlmnb.device.state import Gpu
from vlmnb.meters.counters import nvml_counter
from vlmnb.records.resolved import resolve_cell

T4, A100 = "Tesla T4", "NVIDIA A100-SXM4-80GB"


def gpu(uuid: str, index: int, name: str = A100, gib: int = 80) -> Gpu:
    return Gpu(name=name, uuid=uuid, memory_bytes=gib * 2**30, driver="1", index=index)


THREE = (gpu("GPU-aa1", 0), gpu("GPU-ab2", 1), gpu("MIG-c3", 2))


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for cached in (machine.describe, nvml.gpu_of):
        cached.cache_clear()
    yield
    for cached in (machine.describe, nvml.gpu_of):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        ("1", ["GPU-ab2"]),
        ("GPU-ab2,0", ["GPU-ab2", "GPU-aa1"]),
        ("0,7,1", ["GPU-aa1"]),
        ("", []),
        ("0,", ["GPU-aa1"]),
        (" 1 , 0", ["GPU-ab2", "GPU-aa1"]),
        ("-1", []),
        ("-1,0", []),
        ("0,-1,1", ["GPU-aa1"]),
        ("NoDevFiles", []),
        ("GPU-aa", ["GPU-aa1"]),
        ("GPU-ab,GPU-aa1", ["GPU-ab2", "GPU-aa1"]),
        ("GPU-a", []),
        ("GPU-x,0", []),
        ("MIG-c", ["MIG-c3"]),
        ("0,0", []),
        ("1,GPU-ab", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(
    monkeypatch: pytest.MonkeyPatch, allowed: str, left: list[str]
) -> None:
    assert gpus.visible(THREE) == THREE
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    monkeypatch.setattr(gpus, "of_machine", lambda memory: THREE)
    assert [one.uuid for one in gpus.visible(THREE)] == left
    assert [slot.name for slot in slots.gpus()] == left, "one lock per GPU, however it is named"


def test_a_machine_with_two_kinds_of_gpu_measures_one(monkeypatch: pytest.MonkeyPatch) -> None:
    both = (gpu("GPU-t", 0, T4, 16), gpu("GPU-a", 1), gpu("GPU-b", 2))
    monkeypatch.setattr(gpus, "of_machine", lambda memory: both)
    seen = {}
    for allowed in (None, "1", "GPU-b", "0", "2,0", ""):
        machine.describe.cache_clear()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if allowed is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
        here = machine.describe()
        seen[allowed] = (here.slug, here.fingerprint, [slot.name for slot in slots.gpus()])
    slug, fingerprint, names = seen[None]
    assert (slug, names) == ("a100-sxm4-80gb", ["GPU-a", "GPU-b"])
    assert {seen[bound][:2] for bound in ("1", "GPU-b", "2,0", "")} == {(slug, fingerprint)}
    assert seen["0"][0] == "t4"
    assert seen["0"][1] != fingerprint
    assert (seen["0"][2], seen["2,0"][2], seen[""][2]) == (["GPU-t"], ["GPU-b"], [])


class Divided(FakeNvml):
    """pynvml with a GPU that is divided into two instances."""

    def __init__(self, named: bool) -> None:
        super().__init__(Draw(FakeClock(), 80.0, 0.1))
        self.answers |= {"nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetHandleByIndex": "whole",
                         "nvmlDeviceGetCount": 1, "nvmlDeviceGetMaxMigDeviceCount": 7}  # fmt: skip
        self.named = named

    def __getattr__(self, name: str) -> Any:
        def of_part(handle: str, *asked: Any) -> Any:
            part = handle.startswith("MIG-")
            if name == "nvmlDeviceGetMigMode":
                return [0, 0] if part else [1, 1]
            if name == "nvmlDeviceGetMigDeviceHandleByIndex":
                if asked[0] > 1:
                    raise self.NVMLError("Not Found")
                return f"MIG-{asked[0]}"
            if name == "nvmlDeviceGetUUID":
                return handle
            if name == "nvmlDeviceGetName":
                return A100 + " MIG 1g.10gb" * (part and self.named)
            return SimpleNamespace(total=10 * 10**9)

        asked_of_part = ("MigMode", "DeviceHandleByIndex", "UUID", "Name", "MemoryInfo")
        return of_part if name.endswith(asked_of_part) else super().__getattr__(name)


@pytest.mark.parametrize(("named", "slug"), [(True, "-mig-1g.10gb"), (False, "-mig-10gb")])
def test_an_instance_of_a_divided_gpu_is_not_the_whole(
    monkeypatch: pytest.MonkeyPatch, named: bool, slug: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Divided(named))
    assert machine.describe().slug == f"a100-sxm4-80gb{slug}"
    assert [slot.name for slot in slots.gpus()] == ["MIG-0", "MIG-1"]


class CudaAlone:
    """torch.cuda where NVML cannot be used."""

    def __init__(self, name: str, uuid: str | None = None) -> None:
        self.name, self.uuid = name, uuid

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def get_device_name(self, device: int) -> str:
        return self.name

    def get_device_properties(self, device: int) -> Any:
        if self.uuid is None:
            raise AssertionError("an older torch")
        return SimpleNamespace(uuid=f"{self.uuid}-{device}", total_memory=2**34)


@pytest.mark.parametrize("uuid", [None, "b"])
def test_a_gpu_that_nvml_does_not_know_is_named_by_torch(
    monkeypatch: pytest.MonkeyPatch, uuid: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(gpus, "SIGNS", ())
    found = []
    for name in (A100, T4, "AMD Instinct MI300X"):
        fake = SimpleNamespace(cuda=CudaAlone(name, uuid), device=str)
        monkeypatch.setitem(sys.modules, "torch", fake)
        machine.describe.cache_clear()
        here = machine.describe()
        found.append((here.slug, resolve_cell(cell(device="cuda")).key))
        assert len(here.gpus) == 2
        assert [slot.visible for slot in slots.gpus()] == ["0", "1"]
        assert len({slot.name for slot in slots.gpus()}) == 2
    assert [slug for slug, _ in found] == ["a100-sxm4-80gb", "t4", "amd-instinct-mi300x"]
    assert len({key for _, key in found}) == 3
    none, refused = nvml_counter.attach("cuda")
    assert none == []
    made = record(cell(device="cuda"), energy=(), energy_refused=tuple(refused))
    assert made.energy_j_per_sample is None
    assert "NVML cannot be used" in made.energy_reason


AMD = tuple(gpu(f"GPU-{i}", i).model_copy(update={"driver": ""}) for i in range(4))


@pytest.mark.parametrize(
    ("hidden", "left", "bound"),
    [
        ({}, "0123", "0123"),
        ({"HIP_VISIBLE_DEVICES": "2,0"}, "20", "20"),
        ({"HIP_VISIBLE_DEVICES": "2", "CUDA_VISIBLE_DEVICES": "1"}, "2", "2"),
        ({"CUDA_VISIBLE_DEVICES": "1"}, "1", "1"),
        ({"ROCR_VISIBLE_DEVICES": "3,1"}, "31", "01"),
        ({"ROCR_VISIBLE_DEVICES": "GPU-3,GPU-1", "HIP_VISIBLE_DEVICES": "1"}, "1", "1"),
        ({"HIP_VISIBLE_DEVICES": ""}, "", ""),
    ],
)
def test_what_hides_gpus_of_amd(
    monkeypatch: pytest.MonkeyPatch, hidden: dict[str, str], left: str, bound: str
) -> None:
    monkeypatch.setattr(gpus, "of_machine", lambda memory: AMD)
    for name, value in hidden.items():
        monkeypatch.setenv(name, value)
    assert [one.uuid for one in gpus.visible(AMD)] == [f"GPU-{i}" for i in left]
    made = [slots.environment(slot, 1) for slot in slots.gpus()]
    names = {"CUDA_VISIBLE_DEVICES"} | ({"HIP_VISIBLE_DEVICES"} & hidden.keys())
    assert [{each[name] for name in names} for each in made] == [{i} for i in bound]
    assert [one.uuid for one in gpus.visible(THREE)] == [
        one.uuid for one in THREE if "CUDA_VISIBLE_DEVICES" not in hidden or one.index == 1
    ]


def test_without_torch_in_this_process_another_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(gpus, "SIGNS", ("/dev/null",))
    monkeypatch.setattr(gpus, "version", lambda name: "9.9")
    for hiding in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.setenv(hiding, "1")
    asked = []

    def run(command: list[str], env: dict[str, str], **_: object) -> Any:
        hidden = [name for name in env if name.endswith("VISIBLE_DEVICES")]
        asked.append((command[-1], hidden, env["CUDA_DEVICE_ORDER"]))
        return SimpleNamespace(stdout="\n".join(one.model_dump_json() for one in THREE))

    monkeypatch.setattr(subprocess, "run", run)
    assert gpus.of_machine(5) == THREE
    assert asked == [("5", [], "PCI_BUS_ID")], "not what this process is bound to"
    monkeypatch.setattr(gpus, "version", lambda name: "9.9+cpu")
    assert gpus.of_machine(5) == ()


def test_a_notebook_by_hand_sees_the_gpu_that_it_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "of_machine", lambda memory: (gpu("GPU-t", 0, T4, 16), gpu("GPU-a", 1)))
    monkeypatch.setattr(
        slots, "held", lambda names, on_wait: held.append(names) or slots.contextlib.nullcontext()
    )
    monkeypatch.delenv(slots.HELD, raising=False)
    held: list[list[str]] = []
    with slots.by_hand(["cuda"], print):
        assert slots.os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a"
        assert slots.os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    with slots.by_hand(["cpu"], print):
        pass
    assert [sorted(names) for names in held] == [["GPU-a"], ["GPU-a", "GPU-t", "cpu"]]
