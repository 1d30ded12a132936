#!/usr/bin/env bash
# transformers 5.23.0: cache_implementation="hybrid" is a dynamic cache, "sliding_window" and "hybrid_chunked" are static.
#
# Guess: "hybrid" is a static cache of mixed layers and "sliding_window" a cache of its own class.
# Seen: the names give these classes for a Llama decoder.
# Output: hybrid DynamicCache, sliding_window StaticCache, hybrid_chunked StaticCache
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                     num_attention_heads=2, eos_token_id=None, pad_token_id=0)).eval()
ids = torch.tensor([[1, 2, 3]])
seen = {}
for name in ("hybrid", "sliding_window", "hybrid_chunked"):
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False,
                         cache_implementation=name, return_dict_in_generate=True, disable_compile=True)
    seen[name] = type(out.past_key_values).__name__
print(seen)
assert seen == {"hybrid": "DynamicCache", "sliding_window": "StaticCache", "hybrid_chunked": "StaticCache"}
PY
