#!/usr/bin/env bash
# transformers 5.23.0: tie_word_embeddings true is not kept where the file holds a head of other values.
#
# Guess: the configuration decides, so the head in the file is ignored and shares the embedding.
# Seen: the head is loaded and NOT tied, while config.tie_word_embeddings still says true. Whoever counts parameters
# or bytes from the configuration is off by vocabulary x width.
# Output: tied by config True, same storage False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
                     tie_word_embeddings=True)
LlamaForCausalLM(config).save_pretrained("checkpoint")
weights = load_file("checkpoint/model.safetensors")
weights["lm_head.weight"] = torch.ones(64, 32)
save_file(weights, "checkpoint/model.safetensors", metadata={"format": "pt"})
model = LlamaForCausalLM.from_pretrained("checkpoint")
same = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
print("tied by config", model.config.tie_word_embeddings, "same storage", same)
assert model.config.tie_word_embeddings and not same
PY
