"""Rules between measured records: what must not change, what must not fall, what must not be twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations, pairwise
from statistics import median
from typing import Literal

from vlmnb.analysis import answer_changes, base_configuration
from vlmnb.audit.rule import Finding, finding, rules
from vlmnb.records.record import Record
from vlmnb.spec.optimizations import DTYPES, base_dtype
from vlmnb.stats import comparison, intervals
from vlmnb.views.findings import ASSUMED_DRIFT

CONFIDENCE = 0.99
"""Of an interval that shows a difference: many pairs are compared, and one in twenty would often be wrong."""

CHANCE = 0.01
"""Probability below which changed answers are no chance, divided by the number of pairs compared."""

SAME_POWER = 0.005
"""Spread of mean power that no counter shows over different work, as for the reports."""

FEWEST_WORKLOADS = 3
"""Different workloads from which a constant power says something."""

FEWEST_EQUAL = 3
"""Times that two records must share to be one record twice: a clock has nanoseconds, so one would do."""

FALLEN_MEMORY = 0.05
"""Share by which peak memory of a GPU may fall as the work grows: kernels choose their workspace by shape."""

Size = Literal["batch_size", "image_size", "seq_len"]
SIZES: dict[Size, str] = {"batch_size": "batch size", "image_size": "image size", "seq_len": "prompt budget"}
KERNEL = ("device", "dtype", "optimization")


def flops_do_not_depend_on_kernel(records: Sequence[Record]) -> Iterator[Finding]:
    """A cell has the same FLOPs on every device, in every precision and with every kernel."""
    counted = [r for r in records if r.flops and r.flops.torch]
    for group in _groups(counted, lambda r: (_but(r, *KERNEL, "length", "max_new_tokens"), _prompts(r))):
        values = {r.flops.torch for r in group if r.flops}
        if len(values) > 1:
            low, high = (pick(group, key=_flops) for pick in (min, max))
            yield finding(
                "error",
                [low, high],
                {f"{r.cell.device}, {r.cell.optimization}": str(_flops(r)) for r in (low, high)},
                "The same prompts have different FLOPs with another device, precision or kernel: products "
                "were missed, or the prompts are not the same.",
                "That fewer operations were executed does not follow.",
            )


def answers_do_not_depend_on_setting(records: Sequence[Record]) -> Iterator[Finding]:
    """Answers do not depend on batch size, device or kernel, beyond what rounding flips either way."""
    scored = [r for r in records if r.has_quality]
    pairs = []
    for group in _groups(scored, lambda r: (_but(r, *KERNEL, "batch_size"), r.hardware, r.provenance.data)):
        first = min(group, key=lambda r: (r.cell.batch_size, r.cell.optimization not in DTYPES, r.cell.dtype))
        pairs += [
            (first, other) for other in group if other is not first and _questions(first) == _questions(other)
        ]
    for first, other in pairs:
        mine, theirs = _errors(first), _errors(other)
        more = sum(theirs[name] > mine[name] for name in mine)
        fewer = sum(theirs[name] < mine[name] for name in mine)
        if comparison.sign_test(fewer, more) > CHANCE / len(pairs):
            continue
        yield finding(
            "warning",
            [first, other],
            {
                "WER": f"{first.wer:.4g} and {other.wer:.4g}",
                "Answers with more errors": str(more),
                "With fewer": str(fewer),
            },
            f"Batch size, device or kernel changed the answers one way: {more} of {len(mine)} have more "
            f"errors, {fewer} fewer. Latency and energy of the two are of different answers.",
            "Whether padding, precision or the kernel did it cannot be told from two records.",
        )


def latency_grows_with_size(records: Sequence[Record]) -> Iterator[Finding]:
    """Latency does not fall, beyond noise, as batch, image or prompt budget grow."""
    for field, name, small, large in _steps(records):
        found = _difference(small, large)
        if found is None or found.differ != "yes" or found.ratio >= 1:
            continue
        steps = [
            median(r.timing.decode_steps) if r.timing and r.timing.decode_steps else 0 for r in (small, large)
        ]
        shorter = steps[1] < steps[0]
        yield finding(
            "note" if shorter else "warning",
            [small, large],
            {f"{name} {getattr(r.cell, field)}": f"{median(r.full_batches_s):.4g} s" for r in (small, large)}
            | {
                "Ratio": f"{found.ratio:.3f}, {found.low:.3f} to {found.high:.3f}",
                "Decoding steps": f"{steps[0]:g} and {steps[1]:g}",
            },
            f"A batch takes less time with the larger {name}"
            + (": its answers are shorter." if shorter else ", though there is no less to do."),
            "The cost of the larger size itself cannot be read off natural answers; fixed length tells it."
            if shorter
            else "Whether the machine changed between the two cannot be told without repeats.",
        )


def memory_grows_with_size(records: Sequence[Record]) -> Iterator[Finding]:
    """Peak memory of a GPU does not fall as batch, image or prompt budget grow."""
    for field, name, small, large in _steps(records):
        if not small.cell.device.startswith("cuda") or not small.memory or not large.memory:
            continue  # resident memory of a process keeps what earlier cells took
        low, high = small.memory.peak_bytes, large.memory.peak_bytes
        if low and high and high < low * (1 - FALLEN_MEMORY):
            yield finding(
                "warning",
                [small, large],
                {
                    f"{name} {getattr(small.cell, field)}": f"{low} B",
                    f"{name} {getattr(large.cell, field)}": f"{high} B",
                },
                f"Peak memory falls as the {name} grows: one of the peaks is not of its window alone.",
                "Shorter answers take a smaller cache; whether that explains it the peaks do not say.",
            )


def no_record_twice(records: Sequence[Record]) -> Iterator[Finding]:
    """No two records hold the same times, and no two models the same answers."""
    timed = [r for r in records if r.timing and len(r.timing.latencies_s) >= FEWEST_EQUAL]
    for group in _groups(timed, _course):
        if len({r.key for r in group}) > 1:
            firsts = [r.timing.latencies_s[0] for r in group if r.timing]
            yield finding(
                "error",
                group,
                {
                    "Latencies": f"{len(_course(group[0]))} in the same proportions",
                    "First": ", ".join(f"{seconds:.9g} s" for seconds in sorted(set(firsts))),
                },
                f"{len(group)} records hold the very same times"
                + (": a result was copied." if len(set(firsts)) == 1 else " times a factor: one was copied."),
                "Which of them was measured cannot be told.",
            )
    varied = [r for r in records if len({a.answer for a in r.answers}) >= FEWEST_EQUAL]
    for group in _groups(varied, lambda r: tuple((a.sample_id, a.answer) for a in r.answers)):
        models = {r.cell.model: r for r in group}
        if len(models) > 1:
            yield finding(
                "warning",
                models.values(),
                {"Answers": f"{len(group[0].answers)} equal"},
                f"{' and '.join(models)} gave the same answers to every question: answers of one may stand "
                "under the other.",
                "Two good models may agree on easy questions.",
            )


def power_follows_the_work(records: Sequence[Record]) -> Iterator[Finding]:
    """Mean power differs between workloads; a constant one is an estimate."""
    reads = [
        (record, reading.source, reading.method, reading.energy_j / seconds)
        for record in records
        if record.timing
        for reading in record.energy
        if reading.energy_j > 0 and (seconds := reading.window_s or sum(record.timing.latencies_s)) > 0
    ]
    groups: dict[tuple[str, str, str], list[tuple[Record, float]]] = {}
    for record, source, method, watts in reads:
        groups.setdefault((record.hardware, source, method), []).append((record, watts))
    for (_, device, way), found in groups.items():
        values = [watts for _, watts in found]
        works = {(r.cell.model, r.cell.batch_size) for r, _ in found}
        spread = (max(values) - min(values)) / median(values)
        if len(works) < FEWEST_WORKLOADS or spread > SAME_POWER:
            continue
        yield finding(
            "note" if way == "model" else "warning",
            [r for r, _ in found],
            {
                "Source": f"{device}, {way}",
                "Power": f"{median(values):.4g} W",
                "Spread": f"{100 * spread:.2f} %",
                "Workloads": str(len(works)),
            },
            f"Power of the {device} is the same over {len(works)} workloads"
            + (
                ", as it must be for a model: its joules are seconds in another unit."
                if way == "model"
                else ": it is an estimate and not a measurement."
            ),
            "What was really used cannot be concluded.",
        )


def optimization_is_faster(records: Sequence[Record]) -> Iterator[Finding]:
    """An optimization is not slower than the original, beyond noise."""
    timed = [r for r in records if _comparable(r)]
    for group in _groups(timed, lambda r: (_but(r, "optimization", "dtype"), r.hardware)):
        base = _original(group)
        for other in group:
            if base is None or other.cell.optimization in DTYPES:
                continue
            found = _difference(base, other)
            if found is not None and found.differ == "yes" and found.ratio > 1:
                yield finding(
                    "warning",
                    [base, other],
                    {
                        base.cell.optimization: f"{median(base.full_batches_s):.4g} s",
                        other.cell.optimization: f"{median(other.full_batches_s):.4g} s",
                        "Ratio": f"{found.ratio:.3f}, {found.low:.3f} to {found.high:.3f}",
                    },
                    f"{other.cell.optimization} is slower than {base.cell.optimization} here.",
                    "It may be faster on another machine, or for longer work.",
                )


def optimization_keeps_the_answers(records: Sequence[Record]) -> Iterator[Finding]:
    """An optimization changes no more answers than another batch size of the original does."""
    scored = [r for r in records if r.has_quality]
    for group in _groups(scored, lambda r: (_but(r, "optimization", "dtype"), r.hardware)):
        base = _original(group)
        noise = next((r for r in scored if base is not None and _other_batch(base, r)), None)
        for other in group:
            if base is None or noise is None or other is base or _questions(other) != _questions(base):
                continue
            found = answer_changes.drift(base, other, noise)
            if found.answers is None or found.p_value is None or found.p_value > CHANCE:
                continue
            changed = found.answers.total - found.answers.identical
            yield finding(
                "warning",
                [base, other, noise],
                {
                    f"Answers changed by {other.cell.optimization}": f"{changed} of {found.answers.total}",
                    f"By batch {noise.cell.batch_size}": f"{found.noise} of {found.answers.total}",
                    "Chance": f"{found.p_value:.2g}",
                },
                f"{other.cell.optimization} changes {changed} of {found.answers.total} answers, more than "
                "rounding at another batch size does: it is not the same model at another speed.",
                "Whether the new answers are worse is another question; the WER and the scores tell that.",
            )


def repeats_agree(records: Sequence[Record]) -> Iterator[Finding]:
    """Records of one cell on one machine have one value, beyond noise."""
    timed = [r for r in records if _comparable(r)]
    for group in _groups(timed, lambda r: (_but(r), r.hardware)):
        ordered = sorted(group, key=lambda r: r.provenance.started_at)
        for before, after in pairwise(ordered):
            found = _difference(before, after)
            if found is not None and found.differ == "yes":
                changed = before.provenance.code != after.provenance.code
                same = before.provenance.packages == after.provenance.packages
                yield finding(
                    "warning",
                    [before, after],
                    {
                        "First": f"{median(before.full_batches_s):.4g} s",
                        "Then": f"{median(after.full_batches_s):.4g} s",
                        "Ratio": f"{found.ratio:.3f}, {found.low:.3f} to {found.high:.3f}",
                        "Measuring code": "changed" if changed else "the same",
                        "Packages": "the same" if same else "changed",
                    },
                    "One cell was measured twice with different results.",
                    "Which of the two is right cannot be told; the newer one is shown.",
                )


def _original(group: Sequence[Record]) -> Record | None:
    """The record of a model's base precision, which optimizations are held against."""
    cell = group[0].cell
    entry = base_configuration.entry_of(cell.model)
    name = base_dtype(entry.base_dtype, cell.device) if entry else None
    return next((r for r in group if r.cell.optimization == name), None)


def _other_batch(base: Record, other: Record) -> bool:
    """Whether a record differs from another in the batch size alone."""
    same = other.hardware == base.hardware and _but(other, "batch_size") == _but(base, "batch_size")
    return same and other.cell.batch_size != base.cell.batch_size and _questions(other) == _questions(base)


def _difference(first: Record, second: Record) -> comparison.Difference | None:
    """How the latencies of two records differ; None where there are too few to tell."""
    a, b = first.full_batches_s, second.full_batches_s
    if min(intervals.median_interval(list(x), CONFIDENCE).confidence for x in (a, b)) < CONFIDENCE:
        return None
    return comparison.compare(a, b, paired=False, drift=ASSUMED_DRIFT, confidence=CONFIDENCE)


def _comparable(record: Record) -> bool:
    """Whether latencies may be compared: there are some, and nobody else used the machine."""
    conditions = record.provenance.conditions
    return bool(record.full_batches_s) and not (conditions and conditions.contaminated)


def _steps(records: Sequence[Record]) -> Iterator[tuple[Size, str, Record, Record]]:
    """Pairs of records that differ in one size alone, the smaller first."""
    timed = [r for r in records if _comparable(r)]
    for field, name in SIZES.items():
        for group in _groups(timed, partial(_setting, field=field)):
            ordered = sorted(group, key=lambda r: r.provenance.started_at)
            newest = {getattr(r.cell, field): r for r in ordered}
            for small, large in combinations(sorted(newest), 2):
                yield field, name, newest[small], newest[large]


def _groups(records: Iterable[Record], key: Callable[[Record], Hashable]) -> list[list[Record]]:
    """Records with the same key, where there are two or more."""
    groups: dict[Hashable, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return [group for group in groups.values() if len(group) > 1]


def _setting(record: Record, field: str) -> Hashable:
    return _but(record, field), record.hardware


def _but(record: Record, *fields: str) -> str:
    """A cell without some fields."""
    return record.cell.model_dump_json(exclude=set(fields))


def _course(record: Record) -> tuple[str, ...]:
    """Latencies as shares of the first, to more digits than a clock has: a scaled copy has the same ones."""
    times = record.timing.latencies_s if record.timing else ()
    return tuple(f"{seconds / times[0]:.12g}" if times[0] else "" for seconds in times)


def _prompts(record: Record) -> tuple[str, str]:
    """What makes prompts of the same cell differ."""
    return record.provenance.data, record.provenance.processor


def _flops(record: Record) -> int:
    return (record.flops.torch or 0) if record.flops else 0


def _errors(record: Record) -> dict[str, int]:
    return {answer.sample_id: answer.word_errors or 0 for answer in record.answers}


def _questions(record: Record) -> set[str]:
    return {answer.sample_id for answer in record.answers}


RULES = rules(
    "measured",
    (
        flops_do_not_depend_on_kernel, answers_do_not_depend_on_setting, latency_grows_with_size,
        memory_grows_with_size, no_record_twice, power_follows_the_work, optimization_is_faster,
        optimization_keeps_the_answers, repeats_agree,
    ),
)  # fmt: skip
