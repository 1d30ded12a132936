"""Compare measured records: what must not change, what must not fall, what must not occur twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from statistics import median
from typing import Literal

from vlmnb.analysis import agreement, matching, series, titles
from vlmnb.analysis.repeatability import noise_floor
from vlmnb.audit.rule import Draft, found, grouped, rule
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.optimizations import DTYPES, base_dtype
from vlmnb.stats import comparison
from vlmnb.views.templates import clear_of

CONFIDENCE = 0.99
"""Confidence that a difference needs: of the many pairs compared, one in twenty would often be wrong."""

CHANCE = 0.01
"""Probability below which changed answers are no chance, divided by the number of pairs compared."""

FEWEST_EQUAL = 3
"""Times that two records must share to be one record twice: a clock has nanoseconds, so one would do."""

FALLEN_MEMORY = 0.05
"""Share by which peak memory of a GPU may fall as the work grows: kernels choose their workspace by shape."""

SAME_POWER = 0.005
"""Spread of mean power that no counter shows over different work: a processor's power moves by more than
half a percent with temperature alone."""

FEWEST_WORKLOADS = 3
"""Different workloads from which a constant power means something."""

Size = Literal["batch_size", "image_size", "seq_len"]
SIZES: dict[Size, str] = {"batch_size": "batch size", "image_size": "image size", "seq_len": "prompt length"}
KERNEL = ("device", "dtype", "optimization")


@rule("measured")
def flops_do_not_depend_on_kernel(records: Sequence[Record]) -> Iterator[Draft]:
    """A cell has the same FLOPs on every device, in every precision and with every kernel."""
    counted = [r for r in records if r.flops and r.flops.torch]
    # Data and processor make prompts of the same cell differ.
    for group in grouped(
        counted,
        lambda r: (
            _but(r, *KERNEL, "length", "max_new_tokens"),
            r.provenance.data,
            r.provenance.processor,
            optimizations.of(r.cell).reduction,
        ),
    ):
        low, high = (pick(group, key=_flops) for pick in (min, max))
        if _flops(low) != _flops(high):
            figures = {f"{r.cell.device}, {r.cell.optimization}": str(_flops(r)) for r in (low, high)}
            yield found(about=[low, high], figures=figures)


@rule("measured")
def answers_do_not_depend_on_setting(records: Sequence[Record]) -> Iterator[Draft]:
    """Answers do not depend on batch size, device or kernel, beyond what rounding changes either way."""
    scored = [r for r in records if r.wer is not None]
    pairs = []
    scored = [r for r in scored if not optimizations.of(r.cell).reduction]  # which is meant to change answers
    for group in grouped(scored, lambda r: (_but(r, *KERNEL, "batch_size"), r.hardware, r.provenance.data)):
        first = min(group, key=lambda r: (r.cell.batch_size, r.cell.optimization not in DTYPES, r.cell.dtype))
        pairs += [(first, r) for r in group if r is not first and _questions(first) == _questions(r)]
    for first, other in pairs:
        mine, theirs = ({a.sample_id: a.word_errors or 0 for a in r.answers} for r in (first, other))
        more, fewer = (sum(sign * theirs[name] > sign * mine[name] for name in mine) for sign in (1, -1))
        if comparison.sign_test(fewer, more) <= CHANCE / len(pairs):
            yield found(about=[first, other], first=first, other=other, more=more, fewer=fewer, all=len(mine))


@rule("measured")
def latency_grows_with_size(records: Sequence[Record]) -> Iterator[Draft]:
    """Latency does not fall, beyond noise, as batch, image or prompt grow."""
    floors = noise_floors(records)
    for field, name, small, large in _steps(records):
        difference = _difference(small, large, floors)
        if difference is not None and difference.ratio < 1:
            steps = [median((r.timing and r.timing.decode_steps) or [0]) for r in (small, large)]
            both = matching.matched(small, large)[:2]
            figures = {f"{name} {getattr(r.cell, field)}": _latency(r) for r in both}
            case = "shorter answers" if steps[1] < steps[0] else "no less to do"
            yield found(case, [small, large], figures, name=name, ratio=_ratio(difference), steps=steps)


@rule("measured")
def memory_grows_with_size(records: Sequence[Record]) -> Iterator[Draft]:
    """Peak memory of a GPU does not fall as batch, image or prompt grow."""
    for field, name, small, large in _steps(records):
        if not small.cell.device.startswith("cuda") or not small.memory or not large.memory:
            continue  # the resident memory of a process keeps what earlier cells took
        low, high = small.memory.peak_bytes, large.memory.peak_bytes
        if low and high and high < low * (1 - FALLEN_MEMORY):
            peaks = ((small.cell, low), (large.cell, high))
            figures = {f"{name} {getattr(cell, field)}": f"{peak} B" for cell, peak in peaks}
            yield found(about=[small, large], figures=figures, name=name)


@rule("measured")
def no_record_twice(records: Sequence[Record]) -> Iterator[Draft]:
    """No two records hold the same times, and no two models the same answers."""
    timed = [r for r in records if r.timing and len(r.timing.latencies_s) >= FEWEST_EQUAL]
    for group in grouped(timed, _course):
        if len({r.key for r in group}) > 1:
            firsts = sorted({r.timing.latencies_s[0] for r in group if r.timing})
            case, first = "copied" if len(firsts) == 1 else "scaled", ", ".join(f"{s:.9g} s" for s in firsts)
            yield found(case, group, records=len(group), latencies=len(_course(group[0])), first=first)
    varied = [r for r in records if len({a.answer for a in r.answers}) >= FEWEST_EQUAL]
    for group in grouped(varied, lambda r: tuple((a.sample_id, a.answer) for a in r.answers)):
        models = {r.cell.model: r for r in group}
        if len(models) > 1:
            answers, names = len(group[0].answers), " and ".join(models)
            yield found("same answers", models.values(), answers=answers, models=names)


@rule("measured")
def power_follows_the_work(records: Sequence[Record]) -> Iterator[Draft]:
    """Mean power differs between workloads; a constant one is an estimate."""
    readings = [
        (record, reading, reading.energy_j / seconds)
        for record in records
        if record.timing
        for reading in record.energy
        if reading.energy_j > 0 and (seconds := reading.window_s or sum(record.timing.latencies_s)) > 0
    ]
    for group in grouped(readings, lambda one: (one[0].hardware, one[1].source, one[1].method)):
        reading = group[0][1]
        workloads = len({(r.cell.model, r.cell.batch_size) for r, _, _ in group})
        power = constant_power([watts for _, _, watts in group], workloads)
        if power is not None:
            case = "model" if reading.method == "model" else "counter"
            about = [r for r, _, _ in group]
            yield found(case, about, reading=reading, power=power, workloads=workloads)


@rule("measured")
def optimization_is_faster(records: Sequence[Record]) -> Iterator[Draft]:
    """An optimization other than a precision is not slower than the original, beyond noise."""
    floors = noise_floors(records)
    for base, other in optimized([r for r in records if comparable(r)]):
        difference = None if other.cell.optimization in DTYPES else _difference(base, other, floors)
        if difference is not None and difference.ratio > 1:
            figures = {r.cell.optimization: _latency(r) for r in matching.matched(base, other)[:2]}
            ratio = _ratio(difference)
            yield found("", [base, other], figures, base=base.cell, other=other.cell, ratio=ratio)


@rule("measured")
def optimization_keeps_the_answers(records: Sequence[Record]) -> Iterator[Draft]:
    """An optimization changes no more answers than another batch size of the original does."""
    scored = [r for r in records if r.has_quality]
    for base, other in optimized(scored):
        noise = agreement.noise_of(base, scored)
        if noise is None or _questions(other) != _questions(base):
            continue
        change = agreement.change(base, other, noise)
        if change.answers is None or change.p_value is None or change.p_value > CHANCE:
            continue
        name, total = other.cell.optimization, change.answers.total
        changed = total - change.answers.identical
        figures = {
            f"Answers changed by {name}": f"{changed} of {total}",
            f"By batch {noise.cell.batch_size}": f"{change.noise} of {total}",
        }
        about, chance = [base, other, noise], "less than 0.001"
        if change.p_value >= 0.001:
            chance = f"{change.p_value:.3f}"
        of = {"model": other.cell.model, "dataset": other.cell.dataset}
        yield found("", about, figures, name=name, chance=chance, changed=changed, total=total, **of)


@rule("measured")
def repeats_agree(records: Sequence[Record]) -> Iterator[Draft]:
    """Records of one cell on one machine have one value, beyond the noise floor."""
    floors = noise_floors(records)
    for group in grouped([r for r in records if comparable(r)], lambda r: (_but(r), r.hardware)):
        for before, after in pairwise(sorted(group, key=lambda r: r.provenance.started_at)):
            difference = _difference(before, after, floors)
            if difference is None:
                continue
            was, now = before.provenance, after.provenance
            same = {"Measuring code": was.code == now.code, "Packages": was.packages == now.packages}
            figures = {"First": _latency(before), "Then": _latency(after), "Ratio": _ratio(difference)}
            figures |= {name: "the same" if alike else "changed" for name, alike in same.items()}
            yield found(about=[before, after], figures=figures)


def constant_power(watts: Sequence[float], workloads: int) -> tuple[float, float] | None:
    """Return the median of powers that are the same over enough workloads, and their relative spread."""
    usual = median(watts)
    spread = (max(watts) - min(watts)) / usual
    return (usual, spread) if workloads >= FEWEST_WORKLOADS and spread <= SAME_POWER else None


def optimized(records: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Yield each record with the one of its model's base precision, which it is compared with."""
    for group in grouped(records, lambda r: (_but(r, "optimization", "dtype"), r.hardware)):
        cell = group[0].cell
        entry = titles.entry_of(cell.model)
        name = base_dtype(entry.base_dtype, cell.device) if entry else None
        base = next((r for r in group if r.cell.optimization == name), None)
        yield from ((base, other) for other in group if base is not None and other is not base)


def noise_floors(records: Sequence[Record]) -> dict[tuple[str, str], float]:
    """Return the noise floor of each machine and device, which the book's sentences use as well."""
    places = {(record.hardware, record.cell.device) for record in records}
    return {place: noise_floor(records, [place]).value for place in places}


def _difference(
    first: Record, second: Record, floors: Mapping[tuple[str, str], float]
) -> comparison.Difference | None:
    """Return how the latencies of two records differ; None if they do not, or there are too few."""
    floor = floors[first.hardware, first.cell.device]
    found = series.compared(first, second, matching.latencies, floor, CONFIDENCE)
    enough = found is not None and 1 - 0.5 ** (found.n - 1) >= CONFIDENCE
    return found if found and enough and found.differ == "yes" else None


def comparable(record: Record) -> bool:
    """Return whether a record has latencies measured without background load."""
    return bool(record.full_batches_s) and not record.window_under_load


def _steps(records: Sequence[Record]) -> Iterator[tuple[Size, str, Record, Record]]:
    """Yield pairs of records that differ in one size alone, the smaller first."""
    ordered = sorted((r for r in records if comparable(r)), key=lambda r: r.provenance.started_at)
    for field, name in SIZES.items():
        alike = [(_but(record, field), record) for record in ordered]
        for group in grouped(alike, lambda one: (one[0], one[1].hardware)):
            newest = {getattr(record.cell, field): record for _, record in group}
            for small, large in combinations(sorted(newest), 2):
                yield field, name, newest[small], newest[large]


def _latency(record: Record) -> str:
    return f"{median(record.full_batches_s):.4g} s"


def _ratio(found: comparison.Difference) -> str:
    ratio, low, high = (clear_of(value, 1, 3) for value in (found.ratio, found.low, found.high))
    return f"{ratio}, {low} to {high} ({100 * CONFIDENCE:g} % interval)"


def _but(record: Record, *fields: str) -> str:
    """Return a cell without some fields."""
    return record.cell.model_dump_json(exclude=set(fields))


def _course(record: Record) -> tuple[str, ...]:
    """Return latencies as shares of the first, which a scaled copy shares, with more digits than a clock."""
    times = record.timing.latencies_s if record.timing else ()
    return tuple(f"{seconds / times[0]:.12g}" if times[0] else "" for seconds in times)


def _flops(record: Record) -> int:
    return (record.flops.torch or 0) if record.flops else 0


def _questions(record: Record) -> set[str]:
    return {answer.sample_id for answer in record.answers}
