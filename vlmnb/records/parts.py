"""The types that a record is made of: answers, times, profiles of layers or preparing, provenance."""

from __future__ import annotations

import re
from typing import Any, Literal

from vlmnb.device.state import Conditions
from vlmnb.meters.readings import EnergyReading, EnergyRefusal, MemoryUsage, SensorCard
from vlmnb.types import Frozen

Component = Literal["vision", "projector", "attention", "mlp", "other", "head"]
STEPS = ("decode", "resize", "normalise", "tokenize", "copy")
"""Steps from a stored picture and a question to tensors on the device, in this order."""

_REPEATED = re.compile(r"(.{1,40}?)(?:\s*\1){4,}", re.DOTALL)


class Answer(Frozen):
    """One sample: the question, the answer and its score.

    Attributes:
        prompt: The text after truncation to the prompt length.
        text_tokens: Tokens of the text prompt with its template, without image tokens.
        image_tokens: Tokens that stand for its images.
        images: How many images the prompt has.
        output_tokens: Generated tokens, the end mark included.
        word_errors: Substitutions, deletions and insertions against the first reference.
        reference_words: Words of the first reference.
        score: Accuracy of the sample in [0, 1] by its data set's rule, or None where it has none.
        note: Why a score is missing, or how to read it; empty for most answers.
    """

    sample_id: str
    prompt: str
    answer: str
    references: tuple[str, ...]
    choices: tuple[str, ...] | None = None
    text_tokens: int
    image_tokens: int
    images: int = 1
    output_tokens: int
    word_errors: int | None = None
    reference_words: int | None = None
    score: float | None = None
    note: str = ""

    def says_nothing(self, longest: int) -> bool:
        """Return whether the answer has no text, or repeats one text up to ``longest``, its limit."""
        text = self.answer.strip()
        return not text or (self.output_tokens >= longest and bool(_REPEATED.fullmatch(text)))


class VisualTokens(Frozen):
    """How many image tokens reach the decoder where an optimization reduces them.

    Attributes:
        kept: Tokens that are left of a picture.
        of: Tokens that the picture has.
        beside: Tokens that stand beside them, such as line ends; none of the two counts them.
    """

    kept: int
    of: int
    beside: int = 0


class FailedSample(Frozen):
    """A row of the data set that was chosen and could not be used, such as one with a damaged picture.

    Attributes:
        row: Its place in the data set, from 0.
        id: The sample's id.
        reason: What is wrong with it.
    """

    row: int
    id: str
    reason: str


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
        contaminated: Whether that share is too high to quote the pass; False without one: see :meth:`loaded`.
        loop_s: Seconds of the whole measured loop, first batch to last, with the harness between batches.
        preprocess_s: Seconds of preparing each batch (of one pass), which are no part of the latency:
            decoding and processing its pictures, tokenization and copying.
        first_call_s: Seconds of the first warm-up batch, which for a compiled model holds the compilation.
        turns: Name of the turns in which the batches were timed (``records.turns``); empty if they were
            timed in the record's own window.
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
    turns: str = ""

    @property
    def harness_share(self) -> float:
        """Return the share of the loop outside every batch's time, such as reading counters."""
        return 1 - sum(self.latencies_s) / self.loop_s

    @property
    def passes_s(self) -> list[float]:
        """Return the seconds of each pass over all batches."""
        each = len(self.latencies_s) // self.passes
        return [sum(self.latencies_s[at * each : (at + 1) * each]) for at in range(self.passes)]

    def loaded(self, window: bool) -> tuple[bool, ...]:
        """Return for each pass whether it had background load; ``window``: whether the window as a whole had.

        Of a pass that was too short for a reading, the readings next to it on either side decide, and the
        window where there are none. Without background load in the window as a whole it had none.
        """
        if not window or None not in self.pass_loads:
            return self.contaminated
        marks = zip(self.pass_loads, self.contaminated, strict=True)
        known = [(at, marked) for at, (share, marked) in enumerate(marks) if share is not None]

        def around(at: int) -> bool:
            before = [marked for i, marked in known if i <= at][-1:]
            after = [marked for i, marked in known if i >= at][:1]
            return any(before + after) or not known

        return tuple(around(at) for at in range(self.passes))


class Shown(Timing):
    """Times that a page shows of a record, beside all others that it has: see ``records.turns``.

    Attributes:
        window: Times of the record's own window.
        each: Times of all turns that it took with other records of the page, the oldest first. If there are
            none while other records of the page have some, the page shows the record's own window.
    """

    window: Timing
    each: tuple[Timing, ...]


def of_window(timing: Timing | None) -> Timing | None:
    """Return the times of the record's own window, whichever of its times are given."""
    return timing.window if isinstance(timing, Shown) else timing


class Ceilings(Frozen):
    """Peak rates of the device: the highest that the sweep of the record, or its process, had seen.

    Attributes:
        flops_per_s: Floating-point operations per second of a large matrix product.
        bytes_per_s: Bytes read and written per second by a large copy.
        method: What was done how often.
        other_load: Background load in the quietest try, as share of all cores, 0 to 1; None if not known.
        contaminated: Whether every try had background load, so that the device may reach more.
        product_s: Seconds of the shortest product of each try; ``copy_s`` of the shortest copy.
        loads: Background load of each try.
        began_at: When the first try began, which may be before the record's own measurement.
    """

    flops_per_s: float
    bytes_per_s: float
    method: str
    other_load: float | None = None
    contaminated: bool = False
    product_s: tuple[float, ...] = ()
    copy_s: tuple[float, ...] = ()
    loads: tuple[float, ...] = ()
    began_at: str = ""


class LayerPart(Frozen):
    """One part of the model in a forward pass over a batch of prompts.

    Attributes:
        depth: Number of its layer, counted from the input; None if there is only one.
        weight_bytes: Bytes of its parameters.
        activation_bytes: Bytes of its inputs and outputs.
        flops: FLOPs of one call, 2 per multiply-add; None if they could not be counted.
        in_pass_s: Seconds within each hooked pass.
        replay_s: Mean seconds of a call when the part is called again and again on the same inputs; None
            for the work of a larger part outside the parts within it, which cannot be called alone.
        replays: Calls in the window of ``energy``, of all parts that share it.
        energy: Readings over all replays.
        energy_parts: Parts that were replayed in turn in that window: 1, or all equal ones if a window for
            each would take too long. Then the energy of each is their mean.
        energy_refused: Counters that could not be read for the window, with the reason.
    """

    name: str
    component: Component
    depth: int | None
    parameters: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0
    flops: int | None = None
    in_pass_s: tuple[float, ...]
    replay_s: float | None = None
    replays: int = 0
    energy: tuple[EnergyReading, ...] = ()
    energy_parts: int = 1
    energy_refused: tuple[EnergyRefusal, ...] = ()


class LayerProfile(Frozen):
    """Forward passes over one batch of prompts, whole and by part.

    Attributes:
        forward_s: Seconds of each pass without hooks.
        hooked_s: Seconds of each pass with hooks; the two kinds of passes alternate.
        parts: The parts of the model in the order in which they run.
    """

    forward_s: tuple[float, ...]
    hooked_s: tuple[float, ...]
    parts: tuple[LayerPart, ...]
    ceilings: Ceilings


class Asked(Frozen):
    """All questions about all pictures, asked in one way in one window, once or in several passes.

    Attributes:
        question_s: Seconds of each question, from its tensors being on the device to its last token.
        keep_s: Seconds of making what is kept, for each picture; empty where nothing is kept.
        tokens: New tokens of each question, of the first pass.
    """

    question_s: tuple[float, ...]
    keep_s: tuple[float, ...] = ()
    tokens: tuple[tuple[int, ...], ...]
    energy: tuple[EnergyReading, ...] = ()
    energy_refused: tuple[EnergyRefusal, ...] = ()
    memory: MemoryUsage | None = None


class Reused(Frozen):
    """The same questions in the same order, asked plainly and with something of each picture kept.

    Attributes:
        sample_ids: The question's sample, question by question; the questions of a picture are together.
        prompt_tokens: Length of each prompt.
        prefix_tokens: Tokens with which all prompts of a picture begin, picture by picture.
        kept_bytes: Memory of what is kept of a picture, picture by picture.
        plain: Nothing is kept: every question encodes its picture and its whole prompt.
        kept: The cell's way.
    """

    sample_ids: tuple[str, ...]
    prompt_tokens: tuple[int, ...]
    prefix_tokens: tuple[int, ...]
    kept_bytes: tuple[int, ...]
    plain: Asked
    kept: Asked


class Prepared(Frozen):
    """All batches of a cell, prepared again and again in one way.

    Attributes:
        backend: ``pil`` or ``torchvision`` for the image processor, ``cached`` for pixels that were kept.
        threads: Threads that prepared batches at the same time.
        processor: Class of the image processor.
        reason: Why it could not be done here; then there are no numbers.
        round_s: Seconds of each round over all batches.
        steps: Seconds of the threads together in each step, by round.
        samples: Samples that the energy is of.
    """

    backend: str
    threads: int
    processor: str = ""
    reason: str = ""
    round_s: tuple[float, ...] = ()
    steps: dict[str, tuple[float, ...]] = {}
    samples: int = 0
    energy: tuple[EnergyReading, ...] = ()
    energy_refused: tuple[EnergyRefusal, ...] = ()


class Preprocessing(Frozen):
    """The preparation of some batches in several ways, and what the model takes for the same batches.

    Attributes:
        batches: Number of full batches of a round.
        model_s: Seconds of the model for each batch, from its tensors to the last token.
    """

    batches: int
    model_s: tuple[float, ...]
    ways: tuple[Prepared, ...]


class Provenance(Frozen):
    """What the numbers came from.

    Attributes:
        code: Fingerprint of the measuring code, without comments and docstrings.
        weights: Revision of the weights.
        geometry: How a checkpoint's geometry differs from that of the model it is named after, by
            ``geometry.differences``; empty if it does not.
        processor: Where tokenizer and image processor came from: ``checkpoint``, or ``stand-in``, whose
            texts have exactly the tokens of the prompt length.
        template: File of the checkpoint's chat template, or ``own`` for the family's, and a digest.
        data: Revision of the data set.
        packages: Versions of the packages that can change a number.
        tools: What else on the machine decides whether and how the cell's optimization works, such as a
            compiler.
        machine: Description of the machine.
        threads: Threads that torch computed with.
        tuning: How these threads waited (``OMP_WAIT_POLICY``) and what else the environment set of
            ``slots.TUNING``; empty in records that did not note it.
        attention: Attention implementation that the model reported while it was timed.
        other_load: Background load during the window, as share of all cores, 0 to 1.
        conditions: Clocks, power, throttling and limits around the window.
        sensors: Calibrations of the energy counters on this machine.
        started_at: UTC, ISO 8601.
        seconds: Seconds spent on the cell in all, loading included.
        stages: What they were spent on, in order; what is in no stage is the difference.
    """

    code: str
    weights: str = ""
    geometry: str = ""
    processor: str = ""
    template: str = ""
    data: str = ""
    packages: dict[str, str] = {}
    tools: dict[str, str] = {}
    machine: dict[str, Any] = {}
    threads: int | None = None
    tuning: dict[str, str] = {}
    attention: str = ""
    other_load: float | None = None
    conditions: Conditions | None = None
    sensors: tuple[SensorCard, ...] = ()
    started_at: str = ""
    seconds: float | None = None
    stages: dict[str, float] = {}
