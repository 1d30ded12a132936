"""Compare counts of FLOPs with the prompts that they would be passes over, and with each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.flops import MARGIN, Count, counts_of, is_multiple, larger_batches
from vlmnb.audit.rule import Draft, found, grouped, rule
from vlmnb.records.record import Record
from vlmnb.stats.formatting import format_si


@dataclass(frozen=True)
class Fit:
    """A count that is exactly a pass over a whole number of text tokens."""

    count: Count
    samples: int
    tokens: int

    def __str__(self) -> str:
        printed, cell = self.count.figure.printed, self.count.cell
        of = "" if self.samples == 1 else f", as of {self.samples} samples"
        return f"{printed} ({cell.device}, {cell.optimization}, batch {cell.batch_size}{of})"


@rule("reports")
def counts_fit_the_prompt_limit(records: Sequence[Record]) -> Iterator[Draft]:
    """A count fits at most as many text tokens as the prompt limit allows, the same for the same question."""
    fitting = [
        Fit(count, samples, tokens)
        for count in counts_of(records)
        for samples in count.batches
        if (1, samples) in count.readings() and (tokens := _exact(count, samples)) is not None
    ]
    for fits in grouped(fitting, lambda fit: fit.count.cell.model):
        above = [fit for fit in fits if fit.tokens > fit.count.cell.seq_len]
        if not above:
            continue
        cell = above[0].count.cell
        bound = expected_flops.most(cell.model, cell.image_size, cell.seq_len)
        alone = [fit for fit in fits if fit not in above and fit.samples == 1]
        figures = {
            f"Image and {cell.seq_len} text tokens": format_si(bound),
            **{str(fit): _tokens(fit) for fit in fits},
            "Slack of flops-of-the-geometry": f"{100 * MARGIN:.0f} %",
        }
        counts = " and ".join(dict.fromkeys(map(str, above)))
        lengths = " and ".join(dict.fromkeys(str(fit.tokens) for fit in above))
        others = "".join(f", and {fit} that over {fit.tokens}" for fit in alone)
        about = [fit.count.where for fit in fits]
        yield found("", about, figures, cell=cell, above=counts, tokens=lengths, others=others)


@rule("reports")
def batches_are_counted_alike(records: Sequence[Record]) -> Iterator[Draft]:
    """One way of counting: the larger batch is the same number of samples in every report."""
    rest: list[tuple[Count, Count]] = []
    whole: list[tuple[Count, Count]] = []
    for one, other in larger_batches(counts_of(records)):
        if one.cell.batch_size > 1 or one.cell.device != other.cell.device or other.rest < 2:
            continue
        if is_multiple(one, other, other.rest):
            rest.append((one, other))
        elif is_multiple(one, other, other.cell.batch_size):
            whole.append((one, other))
    if rest and whole:
        figures, both = {}, [*rest, *whole]
        for a, b in both:
            ratio = f"{b.figure.printed} / {a.figure.printed} = {b.number / a.number:.3f}"
            figures[f"{b.cell.model}, batch {b.cell.batch_size} over 1"] = ratio
        about = [count.where for pair in both for count in pair]
        yield found("", about, figures, last=rest[0][1], full=whole[0][1].cell)


def _exact(count: Count, samples: int) -> int | None:
    """Return the text tokens whose pass over some samples prints as the count, if only one number does."""
    cell = count.cell
    near = expected_flops.text_tokens(cell.model, cell.image_size, count.number / samples)
    if near is None:
        return None
    tried = range(max(0, near[0] - 2), near[0] + 3)
    flops = {tokens: samples * expected_flops.most(cell.model, cell.image_size, tokens) for tokens in tried}
    fits = [tokens for tokens, number in flops.items() if printed.prints(count.figure, float(number))]
    return fits[0] if len(fits) == 1 else None


def _tokens(fit: Fit) -> str:
    """Return the text tokens of a sample by eager attention, and by every other way of counting."""
    cell, ends = fit.count.cell, printed.ends(fit.count.figure)
    few, many = (expected_flops.text_tokens(cell.model, cell.image_size, end / fit.samples) for end in ends)
    others = f" ({few[0]} to {many[1]} by other ways of counting)" if few and many else ""
    return f"{fit.tokens} text tokens a sample{others}"
