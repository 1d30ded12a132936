"""Memory: the peak of a window, the weights of a model, and the keys and values it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vlmnb.device.clock import is_cuda, synchronize
from vlmnb.meters.readings import MemoryUsage
from vlmnb.models.generic import structure

PROCESS = Path("/proc/self")


class MemoryMeter:
    """Peak memory of the work inside a ``with`` block; ``usage`` is filled in when the block ends.

    On a GPU: what torch's allocator handed out (*allocated*), and what it held with its cache (*reserved*);
    the CUDA context is in neither, and what a CUDA graph needs within itself is in the second alone. On any
    device, resident memory of this process, everything it has loaded included; Linux keeps the peak and
    forgets an earlier one on request (``clear_refs`` in the manual page proc(5)); other systems do not.

    Open it inside the energy window (``with EnergyMeter(d) as energy, MemoryMeter(d) as memory``): what
    codecarbon loads when it is first used would count as a peak otherwise.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self.usage = MemoryUsage(peak_bytes=None, baseline_bytes=None, method="the window is not closed yet")

    def __enter__(self) -> Self:
        self._resident_bytes, self._failure = None, ""
        self._allocated_bytes = self._reserved_bytes = 0
        if is_cuda(self._device):
            import torch

            synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._allocated_bytes = torch.cuda.memory_allocated(self._device)
            self._reserved_bytes = torch.cuda.memory_reserved(self._device)
        try:
            self._resident_bytes = _resident("VmRSS")
            (PROCESS / "clear_refs").write_text("5")
        except (OSError, ValueError) as error:
            self._failure = f"no peak of resident memory here: {type(error).__name__}: {error}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        peak, baseline = None if self._failure else _resident("VmHWM"), self._resident_bytes
        self.usage = MemoryUsage(
            peak_bytes=peak, baseline_bytes=baseline,
            process_peak_bytes=peak, process_baseline_bytes=baseline,
            method=self._failure or "resident memory of the process (VmHWM after clear_refs)",
        )  # fmt: skip
        if is_cuda(self._device):
            import torch

            of_gpu = {
                "peak_bytes": torch.cuda.max_memory_allocated(self._device),
                "baseline_bytes": self._allocated_bytes,
                "method": "torch.cuda.max_memory_allocated",
                "reserved_peak_bytes": torch.cuda.max_memory_reserved(self._device),
                "reserved_baseline_bytes": self._reserved_bytes,
            }
            self.usage = self.usage.model_copy(update=of_gpu)


def _resident(field: str) -> int:
    """Return a field of ``/proc/self/status``, which is given in kB, in bytes."""
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{PROCESS / 'status'} has no {field}")


def weights_by_type(model: Any) -> dict[str, int]:
    """Return the bytes of a torch module's parameters and buffers as they lie in memory, by type of element.

    Tensors that share their storage, such as tied embeddings, count once. So do the scales that a
    quantization library keeps beside or within its packed weights.
    """
    return _by_type(model.modules(), buffers=True)


def decode_weights_bytes(model: Any, decoder: Any) -> int:
    """Return the bytes of the parameters that a decoding step reads: the decoder's and the output head's.

    Of tables of embeddings a step reads one row per sample, which is negligible.
    """
    from torch import nn

    unread = {module for module in decoder.modules() if isinstance(module, nn.Embedding)}
    unread |= {part for one in structure.keys_of_images(decoder) for part in one.modules()}
    read = [module for module in decoder.modules() if module not in unread]
    return sum(_by_type([*read, *model.get_output_embeddings().modules()], buffers=False).values())


def _by_type(modules: Iterable[Any], buffers: bool) -> dict[str, int]:
    sizes: dict[int, tuple[str, int]] = {}
    for module in modules:
        held = [*module._parameters.values(), *(module._buffers.values() if buffers else ())]
        # bitsandbytes moves the scales of its 8 bits from the weight into a state when the layer is called.
        held.append(getattr(getattr(module, "state", None), "SCB", None))
        for tensor in (part for each in held for part in _parts(each)):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = (str(tensor.dtype).removeprefix("torch."), storage.nbytes())
    found: Counter[str] = Counter()
    for name, size in sizes.values():
        found[name] += size
    return dict(found.most_common())


def _parts(held: Any) -> Iterator[Any]:
    """Yield the tensors that a parameter is made of, with the scales of a quantized one."""
    if hasattr(held, "__tensor_flatten__"):  # torchao's weights are a tensor made of tensors
        for name in held.__tensor_flatten__()[0]:
            yield from _parts(getattr(held, name))
    elif hasattr(held, "untyped_storage"):
        yield held
        for name in ("quant_state", "SCB"):  # of bitsandbytes' 4 bits and 8 bits
            yield from _parts(getattr(held, name, None))
    elif hasattr(held, "absmax"):
        for scales in vars(held).values():
            yield from _parts(scales)
