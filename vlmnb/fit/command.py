"""What ``vlmnb fit`` does with its options."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console

from vlmnb import record
from vlmnb.errors import UserError
from vlmnb.fit import gpus, report, show
from vlmnb.fit.report import Constraint, Fit


def run(
    model: str, quantization: str, results: Path, *, batch_size: int, image_size: int, text_tokens: int,
    new_tokens: int, gpu: str | None, vram: float | None, max_price: float | None, max_power: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Answer and print.

    Raises:
        UserError: A name is unknown, a number makes no sense, or two options exclude each other.
    """
    if gpu is not None and vram is not None:
        raise UserError("give either --gpu or --vram, not both")
    for option, value in (("--vram", vram), ("--max-price", max_price), ("--max-power", max_power)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"{option} is {value:g}; give a positive number")
    load = report.load_of(
        model, batch_size=batch_size, image_size=image_size, text_tokens=text_tokens, new_tokens=new_tokens
    )
    fit = report.of(
        model, quantization, load, record.read_all(results)[0], only=() if gpu is None else (gpus.get(gpu),),
        constraint=Constraint(vram_gib=vram, price_usd=max_price, power_w=max_power),
    )  # fmt: skip
    if as_json:
        print(show.as_json(fit))
        return
    console = Console(soft_wrap=False)
    show.on_console(fit, console)
    if vram is not None:
        console.print(_own_memory(fit, vram), markup=False, highlight=False)


def _own_memory(fit: Fit, vram: float) -> str:
    """Whether it fits the memory that the reader named."""
    left = vram * 2**30 - fit.memory.total_bytes
    if left >= 0:
        return f"It fits {vram:g} GiB with {show.gigabytes(left)} GB to spare."
    smaller = [one.quantization for one in fit.by_quantization if one.total_bytes <= vram * 2**30]
    hint = f"; {', '.join(smaller)} would fit" if smaller else "; no quantization here fits"
    return f"It does not fit {vram:g} GiB: {show.gigabytes(-left)} GB are missing{hint}."
