#!/usr/bin/env bash
# fvcore 0.1.5.post20221221: attention of nn.MultiheadAttention under a mask is counted without queries times keys.
#
# Guess: a mask is added elementwise, so the count is the same with and without one.
# Seen: torch adds the mask within the product (baddbmm), for which fvcore has no rule. It is listed among the
# unsupported operators, between additions and softmax, and half of the attention scores are missing.
# Output: without a mask torch 2528 fvcore 2528
#         with a mask torch 2528 fvcore 2288
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy fvcore==0.1.5.post20221221 torch==2.13.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import logging

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

logging.disable(logging.WARNING)
attention, query, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.zeros(1, 3, 8), torch.zeros(1, 5, 8)


class Attend(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.attention, self.mask = attention, mask

    def forward(self, x):
        return attention(query, x, x, attn_mask=self.mask)[0]


for name, mask in (("without a mask", None), ("with a mask", torch.zeros(3, 5))):
    model = Attend(mask)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    with torch.no_grad():
        found = FlopCountAnalysis(model, (x,)).by_operator()
    print(name, "torch", counter.get_total_flops(), "fvcore", 2 * int(sum(found.values())))
    missing = counter.get_total_flops() - 2 * int(sum(found.values()))
    assert missing == (0 if mask is None else 2 * 3 * 5 * 8)
PY
