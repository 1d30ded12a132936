#!/usr/bin/env bash
# transformers 5.23.0: the fp8 cache cuts keys and values off at the largest one of the prompt.
#
# Guess: a key larger than those before it gets a new scale, or becomes infinite and is noticed.
# Seen: the scale is that of the first call; what is larger than its largest number becomes that number.
# Output: key 3.0 after ones comes back as 1.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from transformers import LlamaConfig, QuantizedCache

cache = QuantizedCache("fp8", LlamaConfig(num_hidden_layers=1))
ones = torch.ones(1, 1, 4, 2)
cache.update(ones, ones, 0)
keys, values = cache.update(3 * ones[:, :, :1], ones[:, :, :1], 0)
assert torch.equal(keys, torch.ones(1, 1, 5, 2)), keys
print("key 3.0 after ones comes back as", keys[0, 0, -1, 0].item())
PY
