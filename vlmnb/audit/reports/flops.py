"""Compare counts of FLOPs that reports print with each other and with the geometry of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import CellFigure
from vlmnb.audit.rule import Finding, error, grouped, note, rule, warning
from vlmnb.fit import shape
from vlmnb.records.record import Record

MARGIN = 0.05
"""Relative slack of the formula: norms, softmax and rotary angles, which it leaves out, and some twenty
tokens of a template in addition to a limit of 200."""

FREE = ("device", "optimization")
"""What FLOPs do not depend on: the reports' optimizations change kernels and not the products."""

CONVENTIONS = {1: "2 FLOPs a multiply-add", 2: "1 FLOP a multiply-add"}
"""The two conventions, by the factor that brings a count to the first."""


@dataclass(frozen=True)
class Count(CellFigure):
    """A printed count of one cell."""

    @property
    def rest(self) -> int:
        """Return the samples of the last batch, where they are fewer than a batch; else 0."""
        return self.cell.samples % self.cell.batch_size

    @property
    def batches(self) -> tuple[int, ...]:
        """Return the numbers of samples it may count: a full batch, and the last one if it is smaller."""
        return (self.cell.batch_size, self.rest) if self.rest else (self.cell.batch_size,)

    @property
    def per_sample(self) -> float:
        """Return FLOPs of one sample of a full batch, as printed."""
        return self.number / self.cell.batch_size

    def readings(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Return the ways to read it as one pass over prompts within the limit.

        Returns:
            Fewest and most text tokens a sample, by convention and by samples of the batch.
        """
        cell, found = self.cell, {}
        low = expected_flops.least(cell.model, cell.image_size, 0) * (1 - MARGIN)
        high = expected_flops.most(cell.model, cell.image_size, cell.seq_len) * (1 + MARGIN)
        for factor in CONVENTIONS:
            for samples in self.batches:
                flops = self.number * factor / samples
                if low <= flops <= high:
                    tokens = expected_flops.text_tokens(cell.model, cell.image_size, flops)
                    found[factor, samples] = tokens or (0, 0)
        return found


@rule("reports")
def flops_do_not_depend_on_setting(records: Sequence[Record]) -> Iterator[Finding]:
    """The same question takes the same FLOPs on every device and with every kernel."""
    preferred = ((r, r.reported.figure("flops")) for r in records if r.reported)
    counts = [Count(record, figure) for record, figure in preferred if figure and figure.value]
    for name in FREE:
        for group in printed.families(counts, name):
            values = [printed.ends(count.figure) for count in group]
            if max(low for low, _ in values) <= min(high for _, high in values):
                continue
            cell = group[0].cell
            changes = ", ".join(f"{100 * (c.number / group[0].number - 1):+.1f} %" for c in group[1:])
            yield error(
                {f"{name} {getattr(c.cell, name)}": c.figure.printed for c in group}
                | {"Compared with the first": changes},
                f"The count of {cell.model} on {cell.dataset} at batch {cell.batch_size} changes with the "
                f"{name} ({changes}), which changes how products are computed and not which.",
                "Prompts may differ in length, or a counter missed operations inside compiled or fused "
                "kernels; that fewer operations were executed does not follow.",
                about=[c.where for c in group],
            )


@rule("reports")
def flops_of_the_geometry(records: Sequence[Record]) -> Iterator[Finding]:
    """A count lies between the image alone and the image with a full prompt, by the model's geometry."""
    for group in grouped(counts_of(records), lambda c: (c.cell.model, c.figure.printed, c.cell.batch_size)):
        first, cell, size = group[0], group[0].cell, group[0].cell.batch_size
        readings, picture = first.readings(), shape.of(cell.model).image_tokens(cell.image_size)
        if (1, size) in readings:
            continue
        low = expected_flops.least(cell.model, cell.image_size, 0)
        high = expected_flops.most(cell.model, cell.image_size, cell.seq_len)
        figures = {
            "Printed": f"{first.figure.printed}, batch {size}",
            "A sample": expected_flops.shown(first.per_sample),
            f"Image alone ({picture} tokens), at least": expected_flops.shown(low),
            f"Image and {cell.seq_len} text tokens": expected_flops.shown(high),
            "Slack of both": f"{100 * MARGIN:.0f} %",
        }
        few = first.per_sample < low
        meaning = (
            f"{first.figure.printed} of {cell.model} at batch {size} is, at 2 FLOPs a multiply-add, "
            + ("less than its image alone takes" if few else "more than a full prompt takes")
        )
        about = [c.where for c in group]
        if readings:
            inferred = f"; that there are {cell.samples} samples is inferred" if size > 1 else ""
            yield warning(
                figures
                | {
                    f"As {CONVENTIONS[factor]} over {samples}": f"{span(tokens)} text tokens a sample"
                    for (factor, samples), tokens in readings.items()
                },
                f"{meaning}. It can be a whole forward pass only if it is "
                f"{', or '.join(_way(factor, samples, size) for factor, samples in readings)}.",
                "A counter that misses operations would give as small a number. Neither unit nor batch is "
                f"stated{inferred}.",
                about=about,
            )
        else:
            yield error(
                figures | {"Compared with that bound": f"{first.per_sample / (low if few else high):.2f}"},
                f"{meaning}, and so it is as multiply-adds and for a last, smaller batch: it is no forward "
                "pass over the prompts that the header describes.",
                "It may be several passes, other prompts, or a typing error; see figures-stand-in-their-log.",
                about=about,
            )


@rule("reports")
def flops_of_the_batch_named(records: Sequence[Record]) -> Iterator[Finding]:
    """A count belongs to the batch that the header names."""
    for one, other in _larger(counts_of(records)):
        a, b, rest = one.cell, other.cell, other.rest
        if a.batch_size == 1 and rest >= 2 and is_multiple(one, other, rest):
            yield warning(
                {
                    f"Batch 1, {a.dataset}": one.figure.printed,
                    f"Batch {b.batch_size}, {b.dataset}": other.figure.printed,
                    "Ratio": f"{other.number / one.number:.3f}",
                    "Samples": f"{b.samples} = {b.samples // b.batch_size} x {b.batch_size} + {rest}",
                },
                f"{other.figure.printed} is {rest} times {one.figure.printed}, to the printed digits: the "
                f"count seems to be that of the last, smaller batch of {rest}, with prompts padded to one "
                "length.",
                f"It may be chance; that there are {b.samples} samples is inferred. If it holds, the batch's "
                f"own count is {b.batch_size}/{rest} of what is printed; see batches-are-counted-alike.",
                about=[one.where, other.where],
            )


@rule("reports")
def flops_in_one_unit(records: Sequence[Record]) -> Iterator[Finding]:
    """All counts are in one unit."""
    known: dict[int, list[Count]] = {1: [], 2: []}
    for count in counts_of(records):
        fitting = {factor for factor, _ in count.readings()}
        if len(fitting) == 1:
            known[fitting.pop()].append(count)
    if known[1] and known[2]:
        names = {
            factor: ", ".join(sorted({c.cell.model for c in counts})) for factor, counts in known.items()
        }
        yield warning(
            {
                CONVENTIONS[factor]: "; ".join(sorted({f"{c.cell.model} {c.figure.printed}" for c in counts}))
                for factor, counts in known.items()
            },
            f"As passes over one prompt, counts of {names[1]} fit only {CONVENTIONS[1]} and counts of "
            f"{names[2]} only {CONVENTIONS[2]}: FLOPs of different reports must not be compared.",
            "No unit is stated. It may be one unit, and operations that the counter missed.",
            about=[c.where for counts in known.values() for c in counts],
        )


@rule("reports")
def flops_of_a_batch(records: Sequence[Record]) -> Iterator[Finding]:
    """FLOPs of a sample at batch 16 and at batch 1 differ by no more than prompts can."""
    for counts in grouped(counts_of(records), lambda count: count.cell.model):
        low = min(counts, key=lambda c: c.number / min(c.batches))
        high = max(counts, key=lambda c: c.per_sample)
        cell, few, many = high.cell, low.number / min(low.batches), high.per_sample
        full_prompt = expected_flops.most(cell.model, cell.image_size, cell.seq_len)
        possible = full_prompt / expected_flops.least(cell.model, cell.image_size, 0)
        ratio = many / few
        if ratio > possible * (1 + MARGIN):
            fewest, most = expected_flops.shown(few), expected_flops.shown(many)
            yield error(
                {
                    "Least a sample": f"{fewest} ({low.figure.printed}, batch {low.cell.batch_size})",
                    "Most a sample": f"{most} ({high.figure.printed}, batch {cell.batch_size})",
                    "Ratio": f"{ratio:.2f}",
                    "Largest that prompts allow": f"{possible:.2f}",
                },
                f"Counts of {cell.model} lie between {fewest} and {most} a sample, a ratio of {ratio:.1f}; "
                f"prompts of no text and of {cell.seq_len} tokens differ by at most {possible:.1f}.",
                "At least one of them is not that of one forward pass; the two alone do not show which one.",
                about=[low.where, high.where],
            )


@rule("reports")
def flops_follow_the_prompt(records: Sequence[Record]) -> Iterator[Finding]:
    """Prompts of different data sets take different FLOPs."""
    seen: set[tuple[str, str]] = set()
    for one, other in _larger(counts_of(records)):
        a, b = one.cell, other.cell
        if a.dataset == b.dataset or (a.model, b.dataset) in seen:
            continue
        times, (low, high) = b.batch_size / a.batch_size, printed.ends(other.figure)
        if is_multiple(one, other, times) and high / low < 1 + MARGIN:
            seen.add((a.model, b.dataset))
            yield note(
                {
                    f"{a.dataset}, batch {a.batch_size}": one.figure.printed,
                    f"{b.dataset}, batch {b.batch_size}": other.figure.printed,
                    f"{times:g} times the first": expected_flops.shown(one.number * times),
                },
                f"{a.model} has the same FLOPs a sample on {a.dataset} and on {b.dataset}, to the printed "
                "digits: the count does not follow the questions.",
                "All may share one counted input or padded length; see batches-are-counted-alike.",
                about=[one.where, other.where],
            )


def counts_of(records: Sequence[Record]) -> list[Count]:
    """Return every different count of every cell whose geometry is known."""
    found: dict[tuple[str, str], Count] = {}
    for record in records:
        if expected_flops.geometry(record.cell.model) is None:
            continue
        for figure in printed.figures(record):
            if figure.quantity == "flops" and figure.value:
                found.setdefault((record.key, f"{figure.value:.6g}"), Count(record, figure))
    return list(found.values())


def is_multiple(one: Count, other: Count, factor: float) -> bool:
    """Return whether a count is so many times another, to the printed digits."""
    low, high = printed.ends(one.figure)
    return printed.overlap((low * factor, high * factor), printed.ends(other.figure))


def span(tokens: tuple[int, int]) -> str:
    """Return a range of text tokens in words."""
    return f"{tokens[0]}" if tokens[0] == tokens[1] else f"{tokens[0]} to {tokens[1]}"


def _larger(counts: Sequence[Count]) -> Iterator[tuple[Count, Count]]:
    """Yield each count with those of larger batches of the same model and optimization."""
    for one in counts:
        for other in counts:
            a, b = one.cell, other.cell
            if (a.model, a.optimization) == (b.model, b.optimization) and a.batch_size < b.batch_size:
                yield one, other


def _way(factor: int, samples: int, size: int) -> str:
    """Return how a count would have to be made to be one pass."""
    ways = ["counted as multiply-adds"] * (factor == 2) + [f"of the last batch of {samples}"] * (
        samples != size
    )
    return " and ".join(ways)
