"""Times in a record: raw, one per timed batch."""

from __future__ import annotations

from vlmnb.types import Frozen


class Timing(Frozen):
    """Raw times of generation, one entry per timed batch, in order; passes follow one another.

    Attributes:
        warmup_batches: Batches generated before, untimed.
        latencies_s: Seconds from a batch's inputs being on the device to its last token.
        vision_s: Of these, vision tower and projector.
        prefill_s: Of these, the rest of the time to the first token.
        decode_s: Of these, from the first token to the last.
        decode_steps: Forward passes after the first.
        batch_samples: Samples in each batch; the last may be short of the batch size.
        passes: How often all batches were timed, one after the other.
        pass_loads: Share of all cores, 0 to 1, that other processes used during each pass; None where the
            pass was too short to tell. Empty in records that did not look.
        contaminated: Whether that share makes the pass unfit to be quoted, for each pass; one that was too
            short to tell is not.
        loop_s: Seconds of the whole measured loop, first batch to last, with what the harness does between
            batches; None in records that did not look.
        preprocess_s: Seconds of image processing and tokenization of each batch (of one pass), not part of
            the latency.
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
    pass_loads: tuple[float | None, ...] = ()
    contaminated: tuple[bool, ...] = ()
    loop_s: float | None = None
    preprocess_s: tuple[float, ...] = ()
    first_call_s: float

    @property
    def harness_share(self) -> float | None:
        """Share of the measured loop that is outside every batch's time: reading counters and the like."""
        return 1 - sum(self.latencies_s) / self.loop_s if self.loop_s else None

    @property
    def clean_passes(self) -> int:
        """Passes that other processes did not disturb."""
        return self.passes - sum(self.contaminated)
