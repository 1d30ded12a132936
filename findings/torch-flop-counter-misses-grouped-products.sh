#!/usr/bin/env bash
# torch 2.13.0: FlopCounterMode counts nothing for torch.nn.functional.grouped_mm.
#
# Guess: a product that torch itself offers is counted, or named as not counted. transformers 5 computes experts with
# it by default, so a mixture of experts seems to cost what its attention costs.
# Seen: 0 FLOPs, without a message, for the product whose parts, one by one, are counted as 8192.
# Output: grouped 0, one by one 8192, same values
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from torch.utils.flop_counter import FlopCounterMode

rows, experts = torch.randn(8, 16).bfloat16(), torch.randn(2, 16, 32).bfloat16()
ends = torch.tensor([3, 8], dtype=torch.int32)

def count(work):
    with FlopCounterMode(display=False) as counter:
        made = work()
    return counter.get_total_flops(), made

grouped, one = count(lambda: torch.nn.functional.grouped_mm(rows, experts, offs=ends))
parts, other = count(lambda: torch.cat([rows[:3] @ experts[0], rows[3:] @ experts[1]]))
same = torch.allclose(one.float(), other.float(), atol=0.1)
print(f"grouped {grouped}, one by one {parts}, same values {same}")
assert grouped == 0 and parts == 2 * 8 * 16 * 32 and same
PY
