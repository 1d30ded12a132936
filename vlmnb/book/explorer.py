"""What the page Explore is made of: every record as a point, its kind, and what comparing two needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vlmnb.analysis import base_configuration, matching, repeatability, series, titles
from vlmnb.analysis.base_configuration import Setup
from vlmnb.book.content import model_title, record_path
from vlmnb.files import plain_yaml
from vlmnb.records import export_columns, turns
from vlmnb.records.record import Record
from vlmnb.records.reported import Disputed
from vlmnb.records.turns import Turns
from vlmnb.spec.cell import Cell
from vlmnb.stats import formatting, intervals
from vlmnb.views.reasons import readable

CONTENT = plain_yaml.load(Path(__file__).with_suffix(".yaml"))
PAIRS_AT_MOST = 20_000
"""Pairs of the same batches that are compared batch by batch; with more, intervals of medians decide."""


def data(records: Sequence[Record], known: Sequence[Turns] = (), disputed: Disputed = ()) -> dict[str, Any]:
    """Return what the page draws, as plain values for JSON.

    ``points`` have their values as ``[value]`` or ``[value, low, high]``, in SI units, times those of the
    record's own window; ``paired`` holds, by the numbers of two points of the same batches or turns, the
    ratio of their latencies and its interval, and how often they took turns, negative if background load
    disturbed them; and then the seconds per image of both in the turns that a page shows, or the latest. A
    point names its disputed figures of a report, if it has any.
    """
    records = base_configuration.on_a_device(records)
    newest: dict[tuple[str, Cell], Record] = {}
    for record in sorted(records, key=lambda one: one.provenance.started_at):
        newest[record.hardware, record.cell] = record
    current = {record.key for record in newest.values()}
    ordered = sorted(records, key=lambda one: (one.hardware, one.cell.model, one.key))
    kinds: dict[tuple[object, ...], dict[str, Any]] = {}
    doubts: dict[str, list[str]] = {}
    for key, quantity in disputed:
        doubts.setdefault(key, []).append(quantity)
    points = []
    for record in ordered:
        kind = _kind(record, record.key in current)
        if tuple(kind.values()) not in kinds:
            kinds[tuple(kind.values())] = kind | {"floor": _floor(record, records)}
        doubtful = sorted(doubts.get(record.key, ()))
        doubt = {"disputed": doubtful} if doubtful else {}
        points.append({"kind": list(kinds).index(tuple(kind.values())), **_point(record), **doubt})
    return {
        **CONTENT,
        "apart": series.APART,
        "equal": formatting.EQUAL,
        "kinds": list(kinds.values()),
        "datasets": {r.cell.dataset: titles.dataset_title(r.cell.dataset) for r in ordered},
        "points": points,
        "paired": _paired(ordered, [point["kind"] for point in points], list(kinds.values()), known),
    }


def _kind(record: Record, current: bool) -> dict[str, Any]:
    """Return what two records must have in common to be compared, and what to call it."""
    cell, setup = record.cell, Setup(record.source, record.hardware, record.cell.device)
    words = [setup.title]
    if record.source == "measured":
        length = "natural length" if cell.length == "natural" else f"exactly {cell.max_new_tokens} tokens"
        weights = "trained weights" if cell.weights == "pretrained" else "random weights, no quality"
        work = {"generation": f"answers of {length}", "layers": "one forward pass"}
        words += [weights, work.get(cell.measure, f"{cell.measure} alone")]
        words += ["A/A repeats"] if cell.repeat else []
        words += [] if current else ["measured again since"]
    return {
        "title": ", ".join(words),
        "reported": record.source == "reports",
        "usual": record.source == "measured" and cell.weights == "pretrained" and cell.length == "natural"
        and cell.measure == "generation" and not cell.repeat and current,
    }  # fmt: skip


def _floor(record: Record, records: Iterable[Record]) -> float | None:
    """Return the noise floor of a record's machine; None for a report, which states no spread."""
    if record.reported:
        return None
    return repeatability.noise_floor(records, [(record.hardware, record.cell.device)]).value


def _point(record: Record) -> dict[str, Any]:
    cell, latency = record.cell, record.latency
    geometry = " (a checkpoint of another geometry)" if record.provenance.geometry else ""
    found: dict[str, Any] = {
        "key": record.key,
        "href": f"../../{record_path(record)}",
        "model": cell.model,
        "title": model_title(cell.model) + geometry,
        "dataset": cell.dataset,
        "setting": cell.optimization,
        "size": [cell.batch_size, cell.image_size, cell.seq_len],
        "values": _values(record) if record.status == "ok" else {},
    }
    if record.status != "ok":
        found["reason"] = f"{record.status.replace('_', ' ')}: {readable(record.reason)}"
    if latency is not None:
        found["batches"] = latency.n
        if latency.confidence >= intervals.ENOUGH:
            found["spread"] = _rounded(_spread(record))
    if record.status == "ok" and record.latency_s is not None and record.energy_j_per_sample is None:
        told = "the report prints none here" if record.reported else readable(record.energy_reason)
        found["no_joules"] = told or "its window has no reading"
    flags = {
        "modelled": record.energy_method == "model",
        "busy": record.latency is not None and record.batches_under_load,
        "busy_window": record.window_under_load,
        "degenerate": bool(record.degenerate),
    }
    return found | {name: True for name, flag in flags.items() if flag}


def _values(record: Record) -> dict[str, list[float]]:
    row, size = export_columns.row(record), record.cell.batch_size
    ends = {
        "s_batch": _ends(row, "latency", "_s"), "ttft": _ends(row, "ttft", "_s"),
        "tpot": _ends(row, "tpot", "_s"), "j_image": [row["energy_j_per_sample"]],
        "peak": [row["peak_bytes"]], "weights": [row["weights_bytes"]], "cache": [row["cache_bytes"]],
        "flops_batch": [row["flops"]], "batch": [size], "image": [record.cell.image_size],
        "prompt": [record.cell.seq_len], "answer_tokens": [row["output_tokens"]],
        "image_tokens": [row["image_tokens"]],
    }  # fmt: skip
    if record.latency is not None and record.latency.n == 1:  # a single batch has no interval
        ends |= {name: ends[name][:1] for name in ("s_batch", "ttft", "tpot")}
    quality = (name for name, one in CONTENT["quantities"].items() if one.get("quality"))
    ends |= {name: _ends(row, name) for name in quality}
    if row["latency_s"] is not None:
        ends["s_image"] = [None if x is None else x / size for x in ends["s_batch"]]
        middle, *outer = ends["s_batch"]
        ends["images_s"] = [None if x is None else size / x for x in (middle, *reversed(outer))]
    if row["flops"] is not None and record.source == "measured":
        ends["flops_image"] = [row["flops"] / size]
    return {name: _rounded(found) for name, found in ends.items() if found[0] is not None}


def _ends(row: dict[str, Any], name: str, unit: str = "") -> list[float | None]:
    return [row[f"{name}{unit}"], row[f"{name}_low{unit}"], row[f"{name}_high{unit}"]]


def _spread(record: Record) -> list[float]:
    """Return logarithms of latencies per image: of their median, their own median, the ends of its interval.

    Of them ``ratios.compare`` makes the ratio of two medians and its interval.
    """
    seconds = np.array(record.full_batches_s) / record.cell.batch_size
    logs = np.log(seconds)
    low, high, _ = intervals.median_ends(logs)
    return [float(np.log(np.median(seconds))), float(np.median(logs)), float(low), float(high)]


def _paired(
    records: Sequence[Record], kinds: Sequence[int], machines: Sequence[dict[str, Any]],
    known: Sequence[Turns],
) -> dict[str, list[float]]:  # fmt: skip
    """Compare the latencies per image of records that timed the same batches, or took turns, pair by pair."""
    taken: dict[str, list[Turns]] = {}
    for turns_ in known:
        for key in turns_.timings:
            taken.setdefault(key, []).append(turns_)
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, record in enumerate(records):
        if record.latency is None or record.latency.confidence < intervals.ENOUGH:
            continue
        asked = tuple(answer.sample_id for answer in record.answers)
        groups.setdefault((kinds[number], record.cell.dataset, asked), []).append(number)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    found = {}
    for one, other in pairs if len(pairs) <= PAIRS_AT_MOST else ():
        low, high = turns.shown([records[one], records[other]], taken.get(records[one].key, ()))
        floor = machines[kinds[one]]["floor"] or 0.0
        made = series.latency_difference(low, high, floor, per_sample=True)
        if made is not None and made.paired:
            of = matching.matched(low, high)
            times = len(of.turns) if matching.in_turns(low, high) else 0
            seconds = [(r.latency_s or 0.0) / r.cell.batch_size for r in (of.low, of.high)] if times else []
            sign = -1 if matching.disturbed(low, high) else 1
            found[f"{one} {other}"] = _rounded([made.ratio, made.low, made.high, sign * times, *seconds])
    return found


def _rounded(values: Iterable[float | None]) -> list[float]:
    """Return finite values with nine digits, up to the first that is none."""
    kept = []
    for value in values:
        if value is None or not math.isfinite(value):
            break
        kept.append(float(f"{value:.9g}"))
    return kept
