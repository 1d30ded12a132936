#!/usr/bin/env bash
# fvcore 0.1.5.post20221221: a product whose batch dimensions are broadcast on both sides counts half.
#
# Guess: multiply-adds of a @ b are batch x m x k x n, with the batch of the result.
# Seen: for shapes (2, 1, 3, 4) and (1, 2, 4, 5) the result has 4 matrices of 3 x 5, 240 multiply-adds; fvcore
# counts 120, those of the left operand's batch. torch's counter has 480 FLOPs, which is right.
# Output: fvcore 120, torch 480
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0 fvcore==0.1.5.post20221221
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from fvcore.nn import FlopCountAnalysis
from torch.utils.flop_counter import FlopCounterMode

class Product(torch.nn.Module):
    def forward(self, a, b):
        return a @ b

a, b = torch.ones(2, 1, 3, 4), torch.ones(1, 2, 4, 5)
fvcore = FlopCountAnalysis(Product(), (a, b)).total()
with FlopCounterMode(display=False) as counter:
    a @ b
print("fvcore", fvcore, "torch", counter.get_total_flops())
assert fvcore == 120 and counter.get_total_flops() == 480
PY
