"""Time the phases of generation from outside: vision encoding, the rest of the prefill, decoding.

Hooks record when vision encoding begins and ends and when each forward pass of the model ends. On a GPU they
put CUDA events into the stream, which are read after the batch is done: nothing waits inside the batch. The
prefill of a prompt that is read in chunks ends with the pass of the last chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from vlmnb.device.clock import is_cuda, now_s, synchronize


class Phases(NamedTuple):
    """One batch, in seconds; the three phases add up to the latency.

    Attributes:
        latency_s: From the inputs being on the device to the last token, the device synchronized.
        vision_s: Vision tower and projector (Fuyu: the patch embedding); 0 if no image was encoded.
        prefill_s: The rest of the time to the first token: generate's preparation and the prompt's pass
            through the language model.
        decode_s: From the end of the prompt's last forward pass to the last token.
        decode_steps: Forward passes after that.
    """

    latency_s: float
    vision_s: float
    prefill_s: float
    decode_s: float
    decode_steps: int


class PhaseClock:
    """Hooks on a model that time the phases of one batch after the other.

    Use as ``with PhaseClock(model, vision, "cpu") as clock: output, phases = clock.time(call)``.
    """

    def __init__(self, model: Any, vision: Sequence[Any], device: str) -> None:
        """Take the model and its vision modules in the order in which they run; place no hooks yet."""
        self._model, self._vision, self._device = model, list(vision), device
        self._hooks: list[Any] = []
        self._clear()

    def __enter__(self) -> Self:
        first, last = self._vision[0], self._vision[-1]
        self._hooks = [
            first.register_forward_pre_hook(self._encoding),
            last.register_forward_hook(self._encoding),
            self._model.register_forward_hook(self._pass_ended),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def time(self, call: Callable[[], Any], prompt_passes: int = 1) -> tuple[Any, Phases]:
        """Call the model's ``generate``; return its result and its phases.

        Args:
            call: Calls it.
            prompt_passes: Forward passes that the prompt takes.
        """
        self._clear(prompt_passes)
        synchronize(self._device)
        began_s, began = now_s(), stamp(self._device)
        output = call()
        ended = stamp(self._device)
        synchronize(self._device)
        latency_s = now_s() - began_s
        if self._prompt_read is None:
            made = f"{self._passes} forward passes, and a prompt takes {prompt_passes}"
            raise ValueError(f"generate made {made}: its phases cannot be timed")
        vision_s = between_s(self._encoded[0], self._encoded[-1]) if self._encoded else 0.0
        return output, Phases(
            latency_s=latency_s,
            vision_s=vision_s,
            prefill_s=between_s(began, self._prompt_read) - vision_s,
            decode_s=between_s(self._prompt_read, ended),
            decode_steps=self._passes - prompt_passes,
        )

    def _clear(self, prompt_passes: int = 1) -> None:
        self._encoded: list[Any] = []
        self._prompt_read = None
        self._passes, self._prompt_passes = 0, prompt_passes

    def _encoding(self, *_: Any) -> None:
        self._encoded.append(stamp(self._device))

    def _pass_ended(self, *_: Any) -> None:
        self._passes += 1
        if self._passes == self._prompt_passes:
            self._prompt_read = stamp(self._device)


def stamp(device: str) -> Any:
    """Return the present time: a CUDA event in the stream, or seconds on the clock."""
    if not is_cuda(device):
        return now_s()
    import torch

    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def between_s(start: Any, end: Any) -> float:
    """Return the seconds between two stamps, after the device has been synchronized."""
    # CUDA events count in milliseconds.
    return float(end - start) if isinstance(start, float) else float(start.elapsed_time(end)) / 1000
