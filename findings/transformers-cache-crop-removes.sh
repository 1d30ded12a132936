#!/usr/bin/env bash
# transformers 5.23.0: DynamicCache.crop no longer keeps a number of tokens, it removes one.
#
# Guess: cache.crop(3) keeps the first three tokens, as it did in transformers 4 and as its name says.
# Seen: a positive number raises a ValueError; a negative one is the number of tokens to remove from the end.
# Output: crop(3) ValueError, crop(-2) leaves 3 of 5 tokens
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from transformers import DynamicCache

cache = DynamicCache()
cache.update(torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4), 0)
try:
    cache.crop(3)
    refused = ""
except ValueError as error:
    refused = str(error)
assert "negative" in refused, refused
assert cache.get_seq_length() == 5
cache.crop(-2)
assert cache.get_seq_length() == 3
print("crop(3) ValueError, crop(-2) leaves", cache.get_seq_length(), "of 5 tokens")
PY
