#!/usr/bin/env bash
# transformers 5.23.0: Llama 4 computes all experts for every token, though a token is sent to one of them.
#
# Guess: with one expert for each token, a layer of 16 experts takes the work of one expert and of the shared one.
# Seen: every token is repeated for every expert, times its router score, which is 0 for all but one. The FLOPs of
# the layer grow with the number of experts; other mixtures of experts of this version multiply what is routed.
# Output: one expert 122880 4 experts 616960 16 experts 2099200
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe

counts = {}
for experts in (4, 16):
    config = Llama4TextConfig(hidden_size=32, intermediate_size=64, intermediate_size_mlp=64, num_hidden_layers=1,
                              num_attention_heads=2, num_key_value_heads=2, head_dim=16, num_local_experts=experts,
                              num_experts_per_tok=1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        Llama4TextMoe(config)(torch.zeros(1, 10, 32))
    counts[experts] = counter.get_total_flops()
one = 2 * 10 * 3 * 32 * 64
print("one expert", one, *(f"{n} experts {found}" for n, found in counts.items()))
assert counts[16] - counts[4] == 12 * one + 2 * 10 * 32 * 12
PY
