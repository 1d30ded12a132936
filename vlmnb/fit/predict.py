"""Predicted latency and energy: the roofline with efficiency factors fitted on records, or a reason why not.

    seconds = a x (prefill bound) + b x (decoding bound) + c x (layers entered)
    joules  = u x (power limit) x seconds

``1 / a`` and ``1 / b`` are the shares of the bound that are reached, ``c`` the time that a layer takes
however small its work is, ``u`` the share of the power limit that is drawn. All are fitted to relative errors
and are never negative. There is a prediction only if it could be checked: its error is the error on records
that the factors were not fitted on, of another model on the same GPU, or else of another GPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from statistics import median
from typing import NamedTuple

import numpy as np

from vlmnb.fit import bounds, gpus, quantize, shape
from vlmnb.fit.bounds import Bound, Work
from vlmnb.fit.gpus import Gpu
from vlmnb.fit.memory import Load
from vlmnb.fit.quantize import Quantization
from vlmnb.fit.shape import Shape
from vlmnb.records.indexed_record import fitted_on
from vlmnb.records.record import Record
from vlmnb.types import Frozen

FEWEST = 6
"""Records that a fit of three factors needs at least."""
OTHER_SIZE = 0.15
"""Share by which memory differs between models of one name; drivers report up to 7 % less than the label."""


class Observation(Frozen):
    """A measured batch, with its work; seconds up to the first token and for each after it may be unknown."""

    gpu: Gpu
    model: str
    quantization: str
    work: Work
    latency_s: float
    prefill_s: float | None = None
    step_s: float | None = None
    energy_j: float | None = None
    key: str

    @property
    def bound(self) -> Bound:
        """Return the least time of the batch on its GPU."""
        return bounds.bound(self.work, quantize.get(self.quantization), self.gpu)


class Factors(NamedTuple):
    """The factors of both bounds with the seconds for each layer entered; the share of the power limit."""

    latency: np.ndarray
    power_share: float | None


class Prediction(Frozen):
    """The expected cost of a batch; errors are medians of |predicted / measured - 1| of held-out records."""

    prefill_s: float
    decode_s: float
    latency_s: float
    samples_per_s: float
    energy_j_per_sample: float | None
    latency_error: float
    worst_error: float
    energy_error: float | None
    held_out: str
    records: int


def observations(records: Iterable[Record]) -> tuple[Observation, ...]:
    """Return the newest usable record of each cell and machine, on GPUs of the catalogue."""
    ordered = sorted(records, key=lambda record: record.provenance.started_at)
    newest = {(record.hardware, record.cell): record for record in ordered if fitted_on(record)}
    return tuple(found for record in newest.values() if (found := observed(record)) is not None)


def observed(record: Record) -> Observation | None:
    """Return one record as an observation, or None if it lacks a needed figure."""
    cell, known = record.cell, fitted_on(record)
    gpu = gpus.reported(known[0]) if known else None
    if known is None or gpu is None or record.latency is None or not record.one_square_image:
        return None
    if not _of_that_size(record, gpu):
        return None
    of, chosen = shape.of(cell.model), quantize.get(known[1])
    load = measured_load(record)
    energy = record.energy_j_per_sample
    return Observation(
        gpu=gpu, model=cell.model, quantization=chosen.name, work=bounds.work(of, chosen, load),
        latency_s=record.latency.median, prefill_s=record.ttft_s.median if record.ttft_s else None,
        step_s=record.tpot_s.median if record.tpot_s else None,
        energy_j=energy * cell.batch_size if energy else None, key=record.key,
    )  # fmt: skip


def _of_that_size(record: Record, gpu: Gpu) -> bool:
    """Return whether the measured GPU is no slice, and no card of another size under the same name."""
    size = (record.provenance.machine.get("gpus") or [{}])[0].get("memory_bytes")
    return size is None or abs(size / gpu.memory_bytes - 1) < OTHER_SIZE


def predict(
    of: Shape, quantization: Quantization, load: Load, gpu: Gpu, known: Sequence[Observation]
) -> Prediction | str:
    """Predict latency and energy of a batch on a GPU from what is known; return the reason if that fails."""
    same = [one for one in known if one.quantization == quantization.name]
    if not known:
        return "the results folder has no record of a GPU of the catalogue, so there is nothing to fit on"
    if not same:
        return f"no record was measured under {quantization.name}, so there is nothing to fit on"
    asked = bounds.work(of, quantization, load)
    least = bounds.bound(asked, quantization, gpu)
    here = [one for one in same if one.gpu.name == gpu.name]
    if len(here) >= FEWEST and len({one.model for one in here}) > 1:
        used, what = here, f"other models on {gpu.title}"
        errors, energy_errors = _held_out(used, attrgetter("model"))
    else:
        used, what = [one for one in same if _alike(one.gpu, gpu) and one.bound.compute_known], "other GPUs"
        if reason := _against(gpu, least, here, used):
            return reason
        errors, energy_errors = _held_out(used, attrgetter("gpu.name"))
    if not errors:
        return "too few records are left to fit on when some are held out"
    factors = fit(used)
    prefill, decode = (float(parts @ factors.latency) for parts in _parts(asked, least))
    total, share, power = prefill + decode, factors.power_share, gpu.power_w
    if total < least.total_s:
        return "factors fitted on the records give less than the lower bound, which cannot be"
    return Prediction(
        prefill_s=prefill, decode_s=decode, latency_s=total, samples_per_s=load.batch_size / total,
        energy_j_per_sample=share * power * total / load.batch_size if share and power else None,
        latency_error=median(errors), worst_error=max(errors),
        energy_error=median(energy_errors) if energy_errors else None, held_out=what, records=len(used),
    )  # fmt: skip


def fit(known: Sequence[Observation]) -> Factors:
    """Return the factors that make the relative errors least, none below zero.

    Where the phases were timed, the prompt's pass and the decoding count as an observation each.
    """
    rows = [row for one in known for row in _rows(one)]
    matrix = np.array([parts for parts, _ in rows]) / np.array([seconds for _, seconds in rows])[:, None]
    best, least = np.zeros(3), float("inf")
    # Least squares without negative factors: three are few enough to try all choices of them.
    for chosen in (list(c) for size in (1, 2, 3) for c in itertools.combinations(range(3), size)):
        factors = np.zeros(3)
        factors[chosen] = np.linalg.lstsq(matrix[:, chosen], np.ones(len(rows)), rcond=None)[0]
        error = float(np.sum((matrix @ factors - 1) ** 2))
        if (factors >= 0).all() and error < least - 1e-12:
            best, least = factors, error
    shares = [
        one.energy_j / (one.gpu.power_w * one.latency_s) for one in known if one.energy_j and one.gpu.power_w
    ]
    return Factors(best, median(shares) if shares else None)


def _rows(one: Observation) -> list[tuple[np.ndarray, float]]:
    """Return what multiplies the factors, and the measured seconds."""
    prefill, decode = _parts(one.work, one.bound)
    if one.prefill_s and one.step_s and one.work.steps:
        return [(prefill, one.prefill_s), (decode, one.step_s * one.work.steps)]
    return [(prefill + decode, one.latency_s)]


def _parts(asked: Work, least: Bound) -> tuple[np.ndarray, np.ndarray]:
    """Return what multiplies the factors in the prompt's pass and in decoding."""
    prefill = np.array([least.prefill_s, 0.0, asked.prefill_layers])
    return prefill, np.array([0.0, asked.steps * least.step_s, asked.steps * asked.step_layers])


def _held_out(
    known: Sequence[Observation], group: Callable[[Observation], str]
) -> tuple[list[float], list[float]]:
    """Return relative errors of latency and energy when each group is predicted from the others."""
    errors: list[float] = []
    energy_errors: list[float] = []
    for name in {group(one) for one in known}:
        rest, held = ([one for one in known if (group(one) == name) is out] for out in (False, True))
        if len(rest) < 3:
            continue
        factors = fit(rest)
        for one in held:
            predicted = float(sum(_parts(one.work, one.bound)) @ factors.latency)
            errors.append(abs(predicted / one.latency_s - 1))
            if factors.power_share and one.energy_j and one.gpu.power_w:
                joules = factors.power_share * one.gpu.power_w * predicted
                energy_errors.append(abs(joules / one.energy_j - 1))
    return errors, energy_errors


def _alike(one: Gpu, other: Gpu) -> bool:
    """Return whether the factors of one GPU may be used for another.

    Libraries differ between vendors, and parts with unified memory have a host of their own, which their
    power limit includes.
    """
    return (one.vendor, one.segment == "unified") == (other.vendor, other.segment == "unified")


def _against(gpu: Gpu, least: Bound, here: Sequence[Observation], alike: Sequence[Observation]) -> str:
    """Say why records of similar GPUs are not enough for a prediction; empty if they are."""
    kind = f"{gpu.vendor} GPUs {'with' if gpu.segment == 'unified' else 'without'} unified memory"
    if not least.compute_known:
        return "without a matrix rate, factors fitted on other GPUs do not apply"
    if not alike:
        return f"no record is of {kind}, and factors of other hardware do not apply to them"
    titles = sorted({one.gpu.title for one in alike})
    if len(titles) == 1 and not here:
        return f"all records of {kind} are of {titles[0]}: a prediction for another could not be checked"
    if len(titles) == 1:
        models = ", ".join(sorted({one.model for one in here}))
        return (
            f"the {len(here)} records of this GPU ({models}) are too few or of one model: a prediction could "
            "not be checked on any that it had not seen"
        )
    if len(alike) < FEWEST:
        return f"there are {len(alike)} records of {kind}, and a fit needs {FEWEST}"
    return ""


def measured_load(record: Record) -> Load:
    """Return the load of a record's full batches: each is as long as its longest prompt and answer."""
    cell, answers = record.cell, iter(record.answers)
    assert record.timing is not None
    batches = [list(itertools.islice(answers, size)) for size in record.timing.batch_samples]
    full = [batch for batch in batches if len(batch) == cell.batch_size]
    prompt, answer = (
        median(max(getattr(one, name) for one in batch) for batch in full)
        for name in ("text_tokens", "output_tokens")
    )
    return Load(
        batch_size=cell.batch_size, image_size=cell.image_size, text_tokens=round(prompt),
        new_tokens=max(1, round(answer)),
        attention="eager" if record.provenance.attention == "eager" else "sdpa",
    )  # fmt: skip
