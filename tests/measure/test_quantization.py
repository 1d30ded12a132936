"""Quantized layers: the precision that multiplies, the bytes they take, and what is left as it was."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import small_families
import torch

from vlmnb.measure.cells import measure_cells
from vlmnb.measure.loading import torch_dtype
from vlmnb.meters import memory
from vlmnb.spec import optimizations, planning
from vlmnb.spec.optimizations import quantization

WIDE, NARROW = 128, 100
"""Widths that every implementation takes, and one that the AVX512-BF16 products of bitsandbytes do not."""


def quantized(name: str, inputs: int, outputs: int, dtype: str) -> Any:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(inputs, outputs, bias=False))
    prepare = optimizations.settings()[name].prepare
    assert prepare
    prepare(layers.to(torch_dtype(dtype)).eval(), "cpu")
    return layers


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("shape", [(WIDE, WIDE), (WIDE, NARROW), (NARROW, WIDE)])
def test_four_bits_multiply_in_the_precision_of_the_cell(dtype: str, shape: tuple[int, int]) -> None:
    layers = quantized("bnb-4bit", *shape, dtype)
    bnb = importlib.import_module("bitsandbytes")
    assert not layers[0].weight.quant_state.nested, "as transformers does it unless asked for more"
    exact = bnb.functional.dequantize_4bit(layers[0].weight.data, layers[0].weight.quant_state).double()
    given = torch.randn(4, shape[0], dtype=torch_dtype(dtype))
    with torch.inference_mode():
        made = layers(given)
    error = (made.double() - given.double() @ exact.T).norm() / made.double().norm()
    assert made.dtype == given.dtype
    assert error < {"fp32": 1e-6, "fp16": 1e-3, "bf16": 1e-2}[dtype]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("bnb-4bit", {"uint8": 128 * 64 // 2, "float32": 4 * (128 + 16)}),  # 128 scales, the 16 values of nf4
        ("bnb-8bit", {"int8": 128 * 64, "float32": 4 * 64}),
        ("torchao-int8", {"int8": 128 * 64 + 64, "float32": 4 * 64}),  # with the zero points of all rows
    ],
)
def test_weights_have_their_scales_before_and_after_a_call(name: str, sizes: dict[str, int]) -> None:
    layers = quantized(name, 128, 64, "fp32")
    assert memory.weights_by_type(layers) == sizes
    with torch.inference_mode():
        layers(torch.randn(2, 128))
    assert memory.weights_by_type(layers) == sizes


def test_layers_that_a_quantization_left_are_named() -> None:
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(3))})
    model["lm_head"] = torch.nn.Linear(8, 8)
    assert quantization.unquantized(model) == "layers.* (3)"
    torchao = importlib.import_module("torchao.quantization")
    torchao.quantize_(model["layers"][:2], torchao.Int8WeightOnlyConfig(set_inductor_config=False))
    assert quantization.unquantized(model) == "layers.* (1)"


class Reads(torch.nn.Module):
    """Converts its input to the type of a weight, as SigLIP 2 and Ernie 4.5 VL do."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.rest = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        given = self.patches(pixels.to(self.patches.weight.dtype))
        if (kind := self.rest.weight.dtype).is_floating_point:
            given = given.to(kind)
        made: torch.Tensor = self.rest(given)
        return made


@pytest.mark.parametrize("name", ["bnb-4bit", "bnb-8bit"])
def test_pixels_stay_what_they_are_where_code_asks_for_the_type_of_a_weight(name: str) -> None:
    model = Reads().eval()
    prepare = optimizations.settings()[name].prepare
    assert prepare
    prepare(model, "cpu")
    assert quantization.unquantized(model) == "patches (1)"
    with torch.inference_mode():
        one, other = model(torch.full((1, 64), 0.2)), model(torch.full((1, 64), 0.7))
    assert not torch.equal(one, other)


def test_flops_of_a_quantized_model_are_those_of_the_plain_one(tmp_path: Path) -> None:
    folder = small_families.build("ernie4_5_vl_moe", tmp_path / "ernie")
    cells = planning.plan(
        "optimization",
        {
            "model": str(folder),
            "samples": 1,
            "batch_size": 1,
            "length": "natural",
            "max_new_tokens": 2,
            "optimizations": ["bnb-4bit"],
        },
    )
    (record,) = measure_cells(cells.cells, tmp_path / "records")
    assert (record.status, record.flops and record.flops.note) == ("ok", "")
