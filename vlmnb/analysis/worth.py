"""What an optimization saved and could save, whether it keeps the score, and the cost of a right answer.

The bound is Amdahl's (Proceedings of the AFIPS Spring Joint Computer Conference, 1967): no more than the
phases take whose work a setting can change; of image tokens, no more than their share of it. Joules are
bounded by the same share at the original's mean power: phases with a higher power can save somewhat more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal

from vlmnb.analysis import matching, series
from vlmnb.records.record import Record
from vlmnb.spec import optimizations
from vlmnb.spec.optimizations.setting import PHASES, Phase
from vlmnb.stats import intervals
from vlmnb.stats.intervals import Interval
from vlmnb.types import Frozen

KEEPS = 0.99
"""Share of the original's score that passes, as MLPerf Inference asks of a closed division's model
(https://github.com/mlcommons/inference_policies)."""

Verdict = Literal["passed", "failed", "may be noise"]

_FIELDS: dict[Phase, Literal["vision_s", "prefill_s", "decode_s"]] = {
    "vision": "vision_s", "prefill": "prefill_s", "decode": "decode_s",
}  # fmt: skip


class Saving(Frozen):
    """What an optimization saved compared with the original, and the most that it could.

    Attributes:
        seconds: Seconds per batch that it saves at the original's number of decoding steps, so that shorter
            answers count as no saving; None with too few batches.
        bound_s: The most it could; ``bound_high_s``: the same with the upper ends of the phases' intervals.
        joules: Joules per sample, one reading of each window: their ratio is known to the noise floor of
            windows apart, and to ``series.APART`` at best. None where ``seconds`` is.
        bound_j: The most it could at the original's mean power.
        phases: Seconds that each phase of a batch lost, medians.
        disturbed: Whether background load disturbed the times that were compared.
    """

    seconds: Interval | None
    bound_s: float
    bound_high_s: float
    joules: Interval | None
    bound_j: float | None
    phases: dict[Phase, float]
    disturbed: bool

    @property
    def most(self) -> Phase:
        """Return the phase that lost the most seconds."""
        return max(self.phases, key=lambda name: self.phases[name])


class Gate(Frozen):
    """Whether an optimization keeps the original's score.

    Attributes:
        kept: Its score over the original's, question by question.
        spread: Largest relative change of the original's own score between its repeats and batch sizes.
        runs: Other runs of the original that the spread comes from.
    """

    kept: Interval
    spread: float
    runs: int

    @property
    def verdict(self) -> Verdict:
        """Return whether at least ``KEEPS`` of the score is kept, the interval widened by the spread."""
        if self.kept.low - self.spread >= KEEPS:
            return "passed"
        return "failed" if self.kept.high + self.spread < KEEPS else "may be noise"


def saving(original: Record, own: Record, noise_floor: float, confidence: float = 0.95) -> Saving | None:
    """Compare an optimization with the original at the same batch size; None if phases were not timed."""
    disturbed, (original, own, *_) = matching.disturbed(original, own), matching.matched(original, own)
    summaries = {name: original.phase(field) for name, field in _FIELDS.items()}
    theirs = {name: own.phase(field) for name, field in _FIELDS.items()}
    before = {name: found for name, found in summaries.items() if found}
    after = {name: found for name, found in theirs.items() if found}
    if len(before) < len(PHASES) or len(after) < len(PHASES):
        return None
    shares = _shares(original, own)
    bounds = [
        sum(share * getattr(before[name], end) for name, share in shares.items())
        for end in ("median", "high")
    ]

    def times(record: Record) -> tuple[float, ...]:
        return _at_steps_of(record, original)

    spent, now, latency = original.energy_j_per_sample, own.energy_j_per_sample, original.latency_s
    found = series.compared(original, own, times, noise_floor, confidence)
    whole = median(original.of_full_batches(times(original)) or [0.0])
    seconds = found and Interval(*(whole * (1 - end) for end in (found.ratio, found.high, found.low)))
    return Saving(
        seconds=seconds,
        bound_s=bounds[0],
        bound_high_s=bounds[1],
        joules=None if seconds is None or spent is None or now is None else _saved_j(spent, now, noise_floor),
        bound_j=None if spent is None or not latency else spent * min(1.0, bounds[0] / latency),
        phases={name: before[name].median - after[name].median for name in PHASES},
        disturbed=bool(disturbed),
    )


def speed_changed(original: Record, own: Record, noise_floor: float) -> bool:
    """Return whether the machine got faster or slower, beyond the noise floor, so that a saving says little.

    That shows in the original, where it is slower in what the setting does not change, or in either record,
    where one pass over the same batches takes longer than another.
    """
    original, own, turns, _ = matching.matched(original, own)
    shares = _shares(original, own)
    same = [(original.phase(f), own.phase(f)) for name, f in _FIELDS.items() if not shares.get(name)]
    pairs = [(before.median, after.median) for before, after in same if before and after]
    timings = [record.timing for record in (original, own) if record.timing]
    if turns:
        timings = []  # a machine that changes from one round to the next does so for both
    pairs += [(max(timing.passes_s), min(timing.passes_s)) for timing in timings]
    return any(slow > (1 + noise_floor) * fast for slow, fast in pairs)


def gate(original: Record, own: Record, others: Iterable[Record]) -> Gate | None:
    """Compare the scores of two records, question by question; None if there are none to compare.

    Repeats of the original, and the original at other batch sizes, are looked for among ``others``.
    """
    kept = _kept(original, own)
    if kept is None:
        return None
    runs = [other for other in others if _same_work(original, other)]
    shifts = [found.value for other in runs if (found := _kept(original, other))]
    return Gate(kept=kept, spread=max((abs(shift - 1) for shift in shifts), default=0.0), runs=len(shifts))


def seconds_per_right(record: Record) -> Interval | None:
    """Return the seconds per right answer: all seconds over the sum of the scores.

    They are those of the passes that the latency is taken over; None where there is no latency.
    """
    timing, scores = record.timing, _scores(record)
    if timing is None or record.latency is None or not any(scores.values()):
        return None
    loaded = record.loaded_passes
    counted = [at for at in range(timing.passes) if not loaded[at] or all(loaded)]
    count = len(timing.batch_samples) // timing.passes
    each: list[float] = []
    for i, size in enumerate(timing.batch_samples[:count]):
        each += [median(timing.latencies_s[at * count + i] for at in counted) / size] * size
    asked = zip(each, record.answers, strict=False)
    pairs = [(spent, scores[a.sample_id]) for spent, a in asked if a.sample_id in scores]
    seconds, right = zip(*pairs, strict=True)
    found = intervals.ratio(seconds, right)
    return _widened(found, right)


def joules_per_right(record: Record) -> Interval | None:
    """Return the joules per right answer; the interval is that of the accuracy alone."""
    joules, ends = record.energy_j_per_sample, record.accuracy_interval
    if joules is None or not record.accuracy or ends is None or not ends[0]:
        return None
    return Interval(value=joules / record.accuracy, low=joules / ends[1], high=joules / ends[0])


def _widened(found: Interval, scores: Sequence[float]) -> Interval:
    """Widen the interval of a cost per right answer if all scores are the same: a bootstrap shows none."""
    if len(set(scores)) > 1:
        return found
    low, high = (
        found.value * scores[0] / end for end in reversed(intervals.wilson(sum(scores), len(scores)))
    )
    return Interval(found.value, min(low, found.low), max(high, found.high))


def _saved_j(spent: float, now: float, noise_floor: float) -> Interval:
    apart = 1 + max(noise_floor, series.APART)
    return Interval(spent - now, spent - now * apart, spent - now / apart)


def _shares(original: Record, own: Record) -> dict[Phase, float]:
    """Return which share of each phase the settings that differ can save."""
    was, now = optimizations.of(original.cell), optimizations.of(own.cell)
    shares: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
    if was.dtype != now.dtype:
        return dict.fromkeys(PHASES, 1.0)
    for setting in now.settings:
        if setting.name in was.names:
            continue
        most = _of_tokens(original, own) if setting.reduction else dict.fromkeys(setting.touches, 1.0)
        for phase, share in most.items():
            shares[phase] = max(shares[phase], share)
    return shares


def _of_tokens(original: Record, own: Record) -> dict[Phase, float]:
    """Return the image tokens' share of the work of prefill and decoding that a reduction takes away.

    Of prefill the work that stays is squared: the scores of an attention grow with the square of the tokens,
    and where they are written and read they take more time than their FLOPs say. Of decoding it is the larger
    one of two shares: of the bytes that a step reads, and of its FLOPs.
    """
    before, after = original.flops, own.flops
    if not (before and after and before.prefill_formula and after.prefill_formula):
        return {"prefill": 1.0, "decode": 1.0}
    whole, rest = (p.projections + p.mlp + p.scores for p in (before.prefill_formula, after.prefill_formula))
    steps, left = before.per_token or 0, after.per_token or 0
    decode = 1 - left / steps if steps else 1.0
    memory, less = original.memory, own.memory
    if memory and less and memory.decode_weights_bytes and memory.cache_bytes and less.cache_bytes:
        read = memory.decode_weights_bytes + memory.cache_bytes
        decode = max(decode, (memory.cache_bytes - less.cache_bytes) / read)
    return {"prefill": 1 - (rest / whole) ** 2, "decode": max(0.0, decode)}


def _at_steps_of(record: Record, original: Record) -> tuple[float, ...]:
    """Return the seconds of each batch, decoding scaled to the original's median number of steps.

    Passes that yield several tokens are not scaled.
    """
    timing, base = record.timing, original.timing
    if timing is None or base is None:
        return ()
    steps = median(base.decode_steps) if base.decode_steps else 0
    guesses = optimizations.of(record.cell).guesses or not all(timing.decode_steps) or not steps
    batches = zip(timing.vision_s, timing.prefill_s, timing.decode_s, timing.decode_steps, strict=True)
    return tuple(v + p + (d if guesses else d / n * steps) for v, p, d, n in batches)


def _scores(record: Record) -> dict[str, float]:
    return {a.sample_id: a.score for a in record.answers if a.score is not None} if record.has_quality else {}


def _kept(original: Record, own: Record) -> Interval | None:
    """Return the score of a record over the original's, with an interval that has a width if none changes.

    Wilson's intervals of the shares of answers that were lost and gained (:func:`intervals.wilson`; scores
    between 0 and 1 vary less than it takes) are put together by the method of variance estimates recovery, as
    in ``comparison.compare``. More than all right is not possible.
    """
    before, after = _scores(original), _scores(own)
    names = [name for name in before if name in after]
    if not names or not any(before[name] for name in names):
        return None
    asked, whole = len(names), len(names) / sum(before[name] for name in names)
    changes = [after[name] - before[name] for name in names]
    lost, gained = sum(max(-each, 0.0) for each in changes), sum(max(each, 0.0) for each in changes)
    (fewest, most), (least, highest) = intervals.wilson(lost, asked), intervals.wilson(gained, asked)
    kept = 1 + whole * (gained - lost) / asked
    down = whole * math.hypot(most - lost / asked, gained / asked - least)
    up = whole * math.hypot(lost / asked - fewest, highest - gained / asked)
    return Interval(kept, max(kept - down, 0.0), max(kept, min(kept + up, whole)))


def _same_work(original: Record, other: Record) -> bool:
    """Return whether a record is another run of the original: a repeat, or one at another batch size."""
    free = {"batch_size": 0, "repeat": 0}
    same = other.cell.model_copy(update=free) == original.cell.model_copy(update=free)
    return same and other.key != original.key and other.hardware == original.hardware and other.status == "ok"
