#!/usr/bin/env bash
# transformers 5.23.0: a model.safetensors beside an index and its shards is loaded, and the shards are passed over.
#
# Guess: the index is the authority; with both present it wins, or loading refuses.
# Seen: the single file wins without a word. A leftover file of an older export replaces the weights.
# Output: sum of absolute weights 0.0 where the shards hold others
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
model = LlamaForCausalLM(config)
model.save_pretrained("checkpoint", max_shard_size="20KB")
import os
assert "model.safetensors.index.json" in os.listdir("checkpoint") and "model.safetensors" not in os.listdir("checkpoint")
zeros = {name: torch.zeros_like(value).contiguous() for name, value in model.state_dict().items()}
save_file(zeros, "checkpoint/model.safetensors", metadata={"format": "pt"})
total = sum(p.abs().sum().item() for p in LlamaForCausalLM.from_pretrained("checkpoint").parameters())
print("sum of absolute weights", total)
assert total == 0.0
PY
