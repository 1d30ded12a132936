"""Compare counts of FLOPs that reports print with each other, with the geometry and with the prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from vlmnb.audit import expected_flops
from vlmnb.audit.reports import printed
from vlmnb.audit.reports.printed import CellFigure
from vlmnb.audit.rule import Draft, found, grouped, rule
from vlmnb.fit import shape
from vlmnb.records.record import Record
from vlmnb.spec.cell import DEVICES
from vlmnb.stats.formatting import enumerated, format_si

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
        cell, ways = self.cell, {}
        low = expected_flops.least(cell.model, cell.image_size, 0) * (1 - MARGIN)
        high = expected_flops.most(cell.model, cell.image_size, cell.seq_len) * (1 + MARGIN)
        for factor in CONVENTIONS:
            for samples in self.batches:
                flops = self.number * factor / samples
                if low <= flops <= high:
                    tokens = expected_flops.text_tokens(cell.model, cell.image_size, flops)
                    ways[factor, samples] = tokens or (0, 0)
        return ways


@dataclass(frozen=True)
class Fit:
    """A count that is exactly a pass over a whole number of text tokens."""

    count: Count
    samples: int
    tokens: int

    def __str__(self) -> str:
        printed, cell = self.count.figure.printed, self.count.cell
        of = "" if self.samples == 1 else f", as of {self.samples} samples"
        return f"{printed} ({DEVICES[cell.device]}, {cell.optimization}, batch {cell.batch_size}{of})"


@rule("reports")
def flops_do_not_depend_on_setting(records: Sequence[Record]) -> Iterator[Draft]:
    """The same question takes the same FLOPs on every device and with every attention kernel."""
    preferred = ((r, r.reported.figure("flops")) for r in records if r.reported)
    counts = [Count(record, figure) for record, figure in preferred if figure and figure.value]
    families = [(name, group) for name in FREE for group in printed.families(counts, name)]
    for name, group in families:
        lows, highs = zip(*(printed.ends(count.figure) for count in group), strict=True)
        if max(lows) > min(highs):
            changes = ", ".join(f"{100 * (c.number / group[0].number - 1):+.1f} %" for c in group[1:])
            shown = [str(getattr(c.cell, name)) for c in group]
            figures = {
                f"{name} {DEVICES.get(value, value)}": c.figure.printed
                for value, c in zip(shown, group, strict=True)
            }
            values = {"name": name, "changes": changes, "cell": group[0].cell}
            yield found("", [c.where for c in group], figures, **values)


@rule("reports")
def flops_of_the_geometry(records: Sequence[Record]) -> Iterator[Draft]:
    """A count lies between the image alone and the image with a full prompt, by the model's geometry."""
    for group in grouped(counts_of(records), lambda c: (c.cell.model, c.figure.printed, c.cell.batch_size)):
        first, cell, size = group[0], group[0].cell, group[0].cell.batch_size
        readings, picture = first.readings(), shape.of(cell.model).image_tokens(cell.image_size)
        if (1, size) in readings:
            continue
        low = expected_flops.least(cell.model, cell.image_size, 0)
        high = expected_flops.most(cell.model, cell.image_size, cell.seq_len)
        few = first.per_sample < low
        figures = {
            "Printed": f"{first.figure.printed}, batch {size}",
            "A sample": format_si(first.per_sample),
            f"Image alone ({picture} tokens), at least": format_si(low),
            f"Image and {cell.seq_len} text tokens": format_si(high),
            "Slack of both": f"{100 * MARGIN:.0f} %",
        } | {
            f"As {CONVENTIONS[factor]} over {samples}": f"{span(tokens)} text tokens a sample"
            for (factor, samples), tokens in readings.items()
        }
        values = {
            "count": first, "ratio": first.per_sample / (low if few else high),
            "bound": "less than its image alone takes" if few else "more than a full prompt takes",
            "ways": ", or ".join(_way(factor, samples, size) for factor, samples in readings),
            "inferred": f"; that there are {cell.samples} samples is inferred" if size > 1 else "",
        }  # fmt: skip
        yield found("other readings" if readings else "no pass", [c.where for c in group], figures, **values)


@rule("reports")
def flops_of_the_batch_named(records: Sequence[Record]) -> Iterator[Draft]:
    """A count belongs to the batch that the header names."""
    for one, other in larger_batches(counts_of(records)):
        if one.cell.batch_size == 1 and other.rest >= 2 and is_multiple(one, other, other.rest):
            figures = {f"Batch {c.cell.batch_size}, {c.cell.dataset}": c.figure.printed for c in (one, other)}
            values = {"ratio": other.number / one.number, "full": other.cell.samples // other.cell.batch_size}
            yield found("", [one.where, other.where], figures, one=one, other=other, **values)


@rule("reports")
def flops_in_one_unit(records: Sequence[Record]) -> Iterator[Draft]:
    """All counts are in one unit."""
    known: dict[int, list[Count]] = {1: [], 2: []}
    for count in counts_of(records):
        fitting = {factor for factor, _ in count.readings()}
        if len(fitting) == 1:
            known[fitting.pop()].append(count)
    if known[1] and known[2]:
        figures = {
            CONVENTIONS[factor]: "; ".join(sorted({f"{c.cell.model} {c.figure.printed}" for c in counts}))
            for factor, counts in known.items()
        }
        names = [enumerated(sorted({c.cell.model for c in counts})) for counts in known.values()]
        about = [c.where for counts in known.values() for c in counts]
        yield found("", about, figures, names=names, units=[*CONVENTIONS.values()])


@rule("reports")
def flops_of_a_batch(records: Sequence[Record]) -> Iterator[Draft]:
    """FLOPs of a sample at batch 16 and at batch 1 differ by no more than prompts can."""
    for counts in grouped(counts_of(records), lambda count: count.cell.model):
        low = min(counts, key=lambda c: c.number / min(c.batches))
        high = max(counts, key=lambda c: c.per_sample)
        cell, few, many = high.cell, low.number / min(low.batches), high.per_sample
        full_prompt = expected_flops.most(cell.model, cell.image_size, cell.seq_len)
        possible = full_prompt / expected_flops.least(cell.model, cell.image_size, 0)
        if many / few > possible * (1 + MARGIN):
            about, ratio = [low.where, high.where], many / few
            yield found(about=about, low=low, high=high, few=few, many=many, ratio=ratio, possible=possible)


@rule("reports")
def flops_follow_the_prompt(records: Sequence[Record]) -> Iterator[Draft]:
    """Prompts of different data sets take different FLOPs."""
    seen: set[tuple[str, str]] = set()
    for one, other in larger_batches(counts_of(records)):
        a, b = one.cell, other.cell
        if a.dataset == b.dataset or (a.model, b.dataset) in seen:
            continue
        times, (low, high) = b.batch_size / a.batch_size, printed.ends(other.figure)
        if is_multiple(one, other, times) and high / low < 1 + MARGIN:
            seen.add((a.model, b.dataset))
            figures = {
                f"{a.dataset}, batch {a.batch_size}": one.figure.printed,
                f"{b.dataset}, batch {b.batch_size}": other.figure.printed,
                f"{times:g} times the first": format_si(one.number * times),
            }
            yield found("", [one.where, other.where], figures, one=a, other=b)


def counts_of(records: Sequence[Record]) -> list[Count]:
    """Return every different count of every cell whose geometry is known."""
    known = [record for record in records if expected_flops.geometry(record.cell.model)]
    counts = [Count(one.record, one.figure) for one in printed.numbers(known, "flops") if one.number]
    return [same[0] for same in grouped(counts, lambda one: (one.record.key, f"{one.number:.6g}"))]


def is_multiple(one: Count, other: Count, factor: float) -> bool:
    """Return whether a count is so many times another, to the printed digits."""
    low, high = printed.ends(one.figure)
    return printed.overlap((low * factor, high * factor), printed.ends(other.figure))


def span(tokens: tuple[int, int]) -> str:
    """Return a range of text tokens in words."""
    return f"{tokens[0]}" if tokens[0] == tokens[1] else f"{tokens[0]} to {tokens[1]}"


def larger_batches(counts: Sequence[Count]) -> Iterator[tuple[Count, Count]]:
    """Yield each count with those of larger batches of the same model and optimization."""
    for one, other in product(counts, repeat=2):
        a, b = one.cell, other.cell
        if (a.model, a.optimization) == (b.model, b.optimization) and a.batch_size < b.batch_size:
            yield one, other


def _way(factor: int, samples: int, size: int) -> str:
    """Return how a count would have to be made to be one pass."""
    ways = {"counted as multiply-adds": factor == 2, f"of the last batch of {samples}": samples != size}
    return " and ".join(way for way, holds in ways.items() if holds)


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
