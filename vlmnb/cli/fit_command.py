"""The work of ``vlmnb fit``: check the options, print which GPUs the model fits."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console

from vlmnb.errors import UserError
from vlmnb.fit import answer, answer_text, gpus
from vlmnb.fit.choice import Constraint
from vlmnb.records import record


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
        model, quantization, load, record.read_all(results)[0], only=() if gpu is None else (gpus.get(gpu),),
        constraint=Constraint(vram_gib=vram, price_usd=max_price, power_w=max_power),
    )  # fmt: skip
    if as_json:
        print(answer_text.as_json(fit))
        return
    answer_text.on_console(fit, Console(soft_wrap=False))
