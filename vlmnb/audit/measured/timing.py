"""Check that the batches of a record are complete and that steps and tokens match."""

from __future__ import annotations

from collections.abc import Iterator

from vlmnb.audit.rule import WHICH, Finding, contradiction, error, record_rule
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.cell import Cell

PER_BATCH = ("latencies_s", "vision_s", "prefill_s", "decode_s", "decode_steps", "batch_samples")


@record_rule
def every_batch_is_counted(record: Record) -> Iterator[Finding]:
    """Every pass has every sample of the cell once, in full batches and a rest; all lists are as long."""
    timing, wanted = record.timing, record.cell.samples
    if timing is None:
        return
    expected = _batches(record.cell) * timing.passes
    lengths = {name: len(values) for name in PER_BATCH if (values := getattr(timing, name))}
    lengths["batches"] = len(expected)
    complete = timing.batch_samples == expected and len(record.answers) in (0, wanted)
    if len(set(lengths.values())) > 1 or not complete:
        yield contradiction(
            {name: str(length) for name, length in lengths.items()}
            | {
                "passes": str(timing.passes),
                "Samples a pass": f"{sum(timing.batch_samples) / timing.passes:g}",
                "Samples of the cell": str(wanted),
                "Answers": str(len(record.answers)),
            },
            "Batches, passes and answers do not match: some were counted twice or not at all.",
        )


@record_rule
def steps_are_tokens(record: Record) -> Iterator[Finding]:
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
            yield error(
                {
                    "Batch": f"{batch + 1} of {batches}",
                    "Longest answer": f"{longest} tokens",
                    "Steps": ", ".join(map(str, sorted(steps))),
                },
                "Decoding steps and tokens do not match: a time per token is divided by the wrong number.",
                f"Passes may also have given different answers. {WHICH}",
            )
            return


def _batches(cell: Cell) -> tuple[int, ...]:
    """Return the samples in each batch of a pass."""
    full, rest = divmod(cell.samples, cell.batch_size)
    return (cell.batch_size,) * full + ((rest,) if rest else ())
