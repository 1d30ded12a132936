#!/usr/bin/env bash
# torchao 0.18.0: 4-bit quantization leaves a layer whose width is no multiple of the group as it is, in silence.
#
# Guess: such a layer raises, or is padded.
# Seen: quantize_ returns, the weight is a plain bf16 Parameter; only a log line of level INFO says so. The down
# projections of Qwen2.5-VL 3B's vision tower (3420 wide) are such layers.
# Output: torch.bfloat16, a plain tensor
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0 torchao==0.18.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from torchao.quantization import Int4WeightOnlyConfig, quantize_

layer = torch.nn.Sequential(torch.nn.Linear(3420, 1280, dtype=torch.bfloat16))
quantize_(layer, Int4WeightOnlyConfig(group_size=64, int4_packing_format="tile_packed_to_4d"))
print(layer[0].weight.dtype, type(layer[0].weight.data).__name__)
assert type(layer[0].weight.data) is torch.Tensor and layer[0].weight.dtype == torch.bfloat16
PY
