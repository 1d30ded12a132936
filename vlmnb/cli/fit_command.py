"""The work of ``vlmnb fit``: check the options, print which GPUs the model fits."""

from __future__ import annotations

import math
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from vlmnb.errors import UserError
from vlmnb.fit import answer, answer_text, gpus
from vlmnb.fit.answer import Fit
from vlmnb.fit.choice import Constraint
from vlmnb.records import record_file
from vlmnb.stats.formatting import format_si

HEADS = (
    "Quantization", "Bits per\nweight", "Weights", "Vision", "KV\ncache", "Activ-\nations", "Over-\nhead",
    "Total",
)  # fmt: skip
"""Column heads of the memory table, narrow enough for a terminal of 80 columns."""


def run(
    model: str, quantization: str, results: Path, *, batch_size: int, image_size: int, text_tokens: int,
    new_tokens: int, gpu: str | None, vram: float | None, max_price: float | None, max_power: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Find the GPUs that a model fits, and print them.

    Raises:
        UserError: A name is unknown, a number makes no sense, or two options exclude each other.
    """
    limits = (("--vram", vram), ("--max-price", max_price), ("--max-power", max_power))
    for option, value in limits:
        if gpu is not None and value is not None:
            why = "one GPU has one memory" if option == "--vram" else "it chooses among all GPUs"
            raise UserError(f"give either --gpu or {option}, not both: {why}")
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"{option} is {value:g}; give a positive number")
        if value is not None and value > answer.MOST:
            raise UserError(f"{option} is {value:g}; give at most {answer.MOST}")
    load = answer.load_of(
        model, batch_size=batch_size, image_size=image_size, text_tokens=text_tokens, new_tokens=new_tokens
    )
    fit = answer.of(
        model, quantization, load, record_file.read_all(results)[0],
        only=() if gpu is None else (gpus.get(gpu),),
        constraint=Constraint(vram_gib=vram, price_usd=max_price, power_w=max_power),
    )  # fmt: skip
    if as_json:
        print(answer_text.as_json(fit))
        return
    show(fit, Console(soft_wrap=False))


def show(fit: Fit, console: Console) -> None:
    """Print the memory, the GPUs and remarks."""
    parameters = format_si(fit.card.parameters_total, digits=3)
    console.print(
        f"{fit.card.title}: {parameters} parameters; {answer_text.asked(fit)}", markup=False, highlight=False
    )
    if own := answer_text.own_memory(fit):
        console.print(own, style="bold", markup=False, highlight=False)
    console.print(_memory(fit))
    if answer_text.listed(fit):
        console.print(_gpus(fit))
    for line in answer_text.lines(fit):
        console.print(line, markup=False, highlight=False)


def _memory(fit: Fit) -> Table:
    table = _table(HEADS, "Memory, GB (10^9 bytes)")
    for cells in answer_text.memory_cells(fit):
        table.add_row(*cells, style="bold" if cells[0] == fit.quantization.name else "")
    return table


def _gpus(fit: Fit) -> Table:
    with_predictions = any(row.prediction for row in fit.gpus)
    alone = len(fit.gpus) == 1
    heads: tuple[str, ...] = ("GPU", "GiB", "GB/s", "W", "USD", *(("Runs\nit",) if alone else ()))
    heads += ("Batch\nup to", "At least", *(("Predicted", "Energy/sample") if with_predictions else ()))
    name = fit.quantization.name
    table = _table(heads, f"Under {name}" if alone else f"GPUs that run it under {name}")
    for row in fit.gpus:
        if row.runs or alone:
            gpu, (latency, _, energy) = row.gpu, answer_text.predicted(row)
            cells = [gpu.title, f"{gpu.memory_gib:g}", f"{gpu.bandwidth_gb_s:g}", _known(gpu.power_w)]
            cells += [
                _known(gpu.price_usd),
                *([answer_text.verdict(row)] if alone else []),
                answer_text.batch(row),
            ]
            table.add_row(*cells, answer_text.least(row), *([latency, energy] if with_predictions else []))
    return table


def _known(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _table(heads: tuple[str, ...], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(heads):
        # Numbers are wrapped, not cut short: a part of a number would look like another number.
        text = number == 0 or head == "Runs\nit"
        table.add_column(head, justify="left" if text else "right", overflow="fold")
    return table
