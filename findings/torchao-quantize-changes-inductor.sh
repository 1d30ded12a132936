#!/usr/bin/env bash
# torchao 0.18.0: quantizing one model changes the settings of torch.compile for the whole process.
#
# Guess: quantize_ changes the module that it is given and nothing else.
# Seen: it also turns on inductor's coordinate-descent tuning and force_fuse_int_mm_with_mul for good, so models
# that are compiled later, quantized or not, get other code (and miss the compile cache).
# Output: before False False, after True True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0 torchao==0.18.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
import torch._inductor.config as inductor
from torchao.quantization import Int8WeightOnlyConfig, quantize_

def state(): return inductor.coordinate_descent_tuning, inductor.force_fuse_int_mm_with_mul

before = state()
quantize_(torch.nn.Sequential(torch.nn.Linear(128, 64)), Int8WeightOnlyConfig())
print("before", *before, "after", *state())
assert before == (False, False) and state() == (True, True)
PY
