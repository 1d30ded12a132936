"""The work of ``vlmnb fit``: check the options, print which GPUs the model fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from vlmnb.errors import UserError
from vlmnb.fit import answer, answer_text, gpus
from vlmnb.fit.answer import Fit
from vlmnb.fit.choice import Constraint
from vlmnb.fit.memory import Load
from vlmnb.records import record_file
from vlmnb.stats.formatting import format_si

MEMORY = (
    "Quantization", "Bits per\nweight", "Weights", "Vision", "KV\ncache", "Activ-\nations", "Over-\nhead",
    "Total",
)  # fmt: skip
"""Column heads of the memory table, narrow enough for a terminal of 80 columns."""

MOST, NEARLY_ALL = 20, 0.9
"""Rows of the table of GPUs where that share of those that run the tool run the model: else it is the
catalogue."""


def run(
    model: str, quantization: str, load: Load, limits: Constraint, gpu: str | None, results: Path, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Find the GPUs that a model fits, or look at one GPU alone, and print the answer."""
    given = {"--vram": limits.vram_gib, "--max-price": limits.price_usd, "--max-power": limits.power_w}
    for option, value in given.items():
        if value is None:
            continue
        if gpu is not None:
            why = "one GPU has one memory" if option == "--vram" else "it chooses among all GPUs"
            raise UserError(f"give either --gpu or {option}, not both: {why}")
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{option} is {value:g}; give a positive number")
        if value > answer.MOST:
            raise UserError(f"{option} is {value:g}; give at most {answer.MOST}")
    fit = answer.of(
        model, quantization, load, record_file.read_all(results)[0],
        only=() if gpu is None else (gpus.get(gpu),), constraint=limits,
    )  # fmt: skip
    if as_json:
        print(answer_text.as_json(fit))
    else:
        _show(fit, Console(soft_wrap=False, markup=False, highlight=False))


def _show(fit: Fit, console: Console) -> None:
    """Print the memory, the GPUs and remarks."""
    parameters = format_si(fit.card.parameters_total, digits=3)
    console.print(f"{fit.card.title}: {parameters} parameters; {answer_text.asked(fit)}")
    if fit.card.weights_note:
        console.print(f"{fit.card.weights_note}.")
    if own := answer_text.own_memory(fit):
        console.print(own, style="bold")
    memory = _table(MEMORY, "Memory, GB (10^9 bytes)")
    for cells in answer_text.memory_cells(fit):
        memory.add_row(*cells, style="bold" if cells[0] == fit.quantization.name else "")
    console.print(memory)
    if answer_text.listed(fit):
        console.print(_gpus(fit))
    for line in answer_text.lines(fit):
        console.print(line)


def _gpus(fit: Fit) -> Table:
    with_predictions = any(row.prediction for row in fit.gpus)
    alone = len(fit.gpus) == 1
    heads = ["GPU", "GiB", "GB/s", "W", "USD", "Runs\nit", "Batch\nup to", "At least"]
    heads += ["Predicted", "Energy/sample"] if with_predictions else []
    name = fit.quantization.name
    table = _table(heads, f"Under {name}" if alone else f"GPUs that run it under {name}")
    shown = [row for row in fit.gpus if row.runs or alone]
    able = sum(not row.obstacle for row in fit.gpus)
    listed = shown[:MOST] if len(shown) > NEARLY_ALL * able else shown
    for row in listed:
        gpu, (latency, _, energy) = row.gpu, answer_text.predicted(row)
        cells = [gpu.title]
        for value in (gpu.memory_gib, gpu.bandwidth_gb_s, gpu.power_w, gpu.price_usd):
            cells.append("-" if value is None else f"{value:g}")
        cells.append(answer_text.verdict(row))
        cells += [str(row.largest_batch) if row.runs else "-", answer_text.least(row)]
        table.add_row(*cells, *([latency, energy] if with_predictions else []))
    if more := len(shown) - len(listed):
        table.caption = f"And {more} more that run it; --json lists them."
    return table


def _table(heads: Sequence[str], title: str) -> Table:
    table = Table(
        title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for head in heads:
        # Numbers are wrapped, not cut short: a part of a number would look like another number.
        text = head in (heads[0], "Runs\nit")
        table.add_column(head, justify="left" if text else "right", overflow="fold")
    return table
