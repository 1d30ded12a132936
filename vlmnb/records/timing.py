"""The raw times in a record, one per timed batch."""

from __future__ import annotations

from vlmnb.types import Frozen


class Timing(Frozen):
    """Raw times of generation, one entry per timed batch, in order; passes follow one another.

    Attributes:
        warmup_batches: Batches generated before, untimed.
        latencies_s: Seconds from a batch's inputs being on the device to its last token.
        vision_s: Seconds of them in vision tower and projector.
        prefill_s: Seconds of them in the rest of the time to the first token.
        decode_s: Seconds of them from the first token to the last.
        decode_steps: Forward passes after the first.
        batch_samples: Samples in each batch; the last may be short of the batch size.
        passes: How often all batches were timed.
        pass_loads: Background load of each pass, as share of all cores, 0 to 1; None if it was too short.
        contaminated: Whether that share is too high to quote the pass; False if it was too short.
        loop_s: Seconds of the whole measured loop, first batch to last, with the harness between batches.
        preprocess_s: Seconds of image processing and tokenization of each batch (of one pass), which are no
            part of the latency.
        first_call_s: Seconds of the first warm-up batch, which for a compiled model holds the compilation.
    """

    warmup_batches: int
    latencies_s: tuple[float, ...]
    vision_s: tuple[float, ...] = ()
    prefill_s: tuple[float, ...] = ()
    decode_s: tuple[float, ...] = ()
    decode_steps: tuple[int, ...] = ()
    batch_samples: tuple[int, ...]
    passes: int = 1
    pass_loads: tuple[float | None, ...]
    contaminated: tuple[bool, ...]
    loop_s: float
    preprocess_s: tuple[float, ...] = ()
    first_call_s: float

    @property
    def harness_share(self) -> float:
        """Return the share of the loop outside every batch's time, such as reading counters."""
        return 1 - sum(self.latencies_s) / self.loop_s

    @property
    def clean_passes(self) -> int:
        """Return the number of passes without background load."""
        return self.passes - sum(self.contaminated)
