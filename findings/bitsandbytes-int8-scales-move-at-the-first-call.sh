#!/usr/bin/env bash
# bitsandbytes 0.50.2: the scales of Linear8bitLt leave the weight at the first call.
#
# Guess: weight.SCB holds the scales as long as the layer lives.
# Seen: after the first forward pass weight.SCB is None and the scales are in layer.state.SCB, so whoever sums the
# tensors of a model's parameters misses them (1.7 % of a small model).
# Output: before a tensor, None; after None, a tensor
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0 bitsandbytes==0.50.2
cd "$work"
"$work/env/bin/python" - <<'PY'
import bitsandbytes as bnb, torch

layer = bnb.nn.Linear8bitLt(128, 64, bias=False, has_fp16_weights=False, device="meta")
layer.weight = bnb.nn.Int8Params(torch.randn(64, 128), requires_grad=False, has_fp16_weights=False)
layer.to("cpu").eval()
def places(): return [scales is not None for scales in (layer.weight.SCB, layer.state.SCB)]
before = places()
with torch.no_grad():
    layer(torch.randn(1, 128))
print("before", before, "after", places())
assert before == [True, False] and places() == [False, True]
PY
