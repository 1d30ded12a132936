#!/usr/bin/env bash
# bitsandbytes 0.50.2: Params4bit nests its scales by default; transformers' 4-bit configuration does not.
#
# Guess: building Linear4bit by hand gives what load_in_4bit gives.
# Seen: Params4bit has compress_statistics=True, BitsAndBytesConfig has bnb_4bit_use_double_quant=False. By hand the
# scales are quantized again: 0.516 instead of 0.5625 bytes a weight, and other products.
# Output: by hand nested True, by BitsAndBytesConfig's default False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0 bitsandbytes==0.50.2 accelerate==1.15.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import bitsandbytes as bnb, torch
from transformers import BitsAndBytesConfig

layer = bnb.nn.Linear4bit(1024, 512, bias=False, quant_type="nf4", device="meta")
layer.weight = bnb.nn.Params4bit(torch.randn(512, 1024), requires_grad=False, quant_type="nf4", module=layer)
layer.to("cpu")
default = BitsAndBytesConfig(load_in_4bit=True).bnb_4bit_use_double_quant
print("by hand", layer.weight.quant_state.nested, "by default", default)
assert layer.weight.quant_state.nested and default is False
PY
