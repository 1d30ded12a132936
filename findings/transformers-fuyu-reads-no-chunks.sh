#!/usr/bin/env bash
# transformers 5.23.0: Fuyu reads no prompt with a picture in chunks, not even in a single one.
#
# Guess: prefill_chunk_size works for every model that takes encoded pictures, as LLaVA and Qwen2.5-VL do.
# Seen: generate looks for the pooled output of the encoder; Fuyu's has none, and it raises a KeyError.
# Output: plain 7 tokens, in chunks KeyError 'pooler_output'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from transformers import FuyuConfig, FuyuForCausalLM

torch.manual_seed(0)
text = {
    "model_type": "persimmon", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2,
}
config = FuyuConfig(text_config=text, patch_size=2, num_channels=3, image_token_id=31)
model = FuyuForCausalLM(config).eval()
ids = torch.tensor([[31, 31, 31, 31, 5]])
given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(1, 4, 12)}
fixed = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False, "pad_token_id": 0}
plain = model.generate(**given, **fixed)
try:
    model.generate(**given, **fixed, prefill_chunk_size=100)
    said = "nothing"
except KeyError as error:
    said = f"KeyError {error}"
assert said == "KeyError 'pooler_output'", said
print("plain", plain.shape[1], "tokens, in chunks", said)
PY
