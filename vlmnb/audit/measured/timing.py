"""Check that the batches of a record are complete and that steps and tokens match."""

from __future__ import annotations

from collections.abc import Iterator

from vlmnb.audit.rule import Draft, found, record_rule
from vlmnb.records.record import Record
from vlmnb.spec import optimizations

PER_BATCH = ("latencies_s", "vision_s", "prefill_s", "decode_s", "decode_steps", "batch_samples")

MOST_FAILED = 0.25
"""Share of the samples beyond which measuring refuses a cell."""


@record_rule
def every_batch_is_counted(record: Record) -> Iterator[Draft]:
    """Every pass has every usable sample once, in full batches and a rest; all lists are as long."""
    timing, cell = record.timing, record.cell
    if timing is None:
        return
    usable = cell.samples - len(record.failed_samples)
    full, rest = divmod(usable, cell.batch_size)
    expected = ((cell.batch_size,) * full + ((rest,) if rest else ())) * timing.passes
    lengths = {name: len(values) for name in PER_BATCH if (values := getattr(timing, name))}
    lengths["batches"] = len(expected)
    complete = timing.batch_samples == expected and len(record.answers) in (0, usable)
    if len(set(lengths.values())) > 1 or not complete:
        yield found(
            figures={name: str(length) for name, length in lengths.items()},
            samples_a_pass=sum(timing.batch_samples) / timing.passes,
            answers=len(record.answers),
        )


@record_rule
def failed_samples_are_few(record: Record) -> Iterator[Draft]:
    """Few samples of a measured cell could not be used, and none of them has an answer."""
    failed = {each.id for each in record.failed_samples}
    answered = failed & {answer.sample_id for answer in record.answers}
    if record.status == "ok" and (answered or len(failed) > MOST_FAILED * record.cell.samples):
        yield found(failed=len(failed), answered=len(answered))


@record_rule
def steps_are_tokens(record: Record) -> Iterator[Draft]:
    """Decoding steps of a batch are the tokens of its longest answer less one; fewer with prompt lookup."""
    timing = record.timing
    if timing is None or not timing.decode_steps or not record.answers:
        return
    batches, start = len(timing.batch_samples) // timing.passes, 0
    for batch, size in enumerate(timing.batch_samples[:batches]):
        longest = max((a.output_tokens for a in record.answers[start : start + size]), default=1)
        start += size
        steps = set(timing.decode_steps[batch::batches])
        # Prompt lookup guesses several tokens a step.
        guessing = optimizations.of(record.cell).guesses and max(steps) < longest
        if steps != {longest - 1} and not guessing:
            shown = ", ".join(map(str, sorted(steps)))
            yield found(batch=batch + 1, batches=batches, longest=longest, steps=shown)
            return
