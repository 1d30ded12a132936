#!/usr/bin/env bash
# transformers 5.23.0: in assisted decoding of a vision-language model the assistant gets no picture.
#
# Guess: the assistant is given the same inputs, so a model that assists itself accepts every draft.
# Seen: generate encodes the picture before the first forward pass and drops it for the assistant: the vision tower of
# the assistant runs 0 times. Its drafts are made of the placeholders' own embeddings.
# Output: calls of the assistant's vision tower 0, of the model's own 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

torch.manual_seed(0)
IMAGE = 9
def small():
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                       num_attention_heads=2, image_size=32, patch_size=8),
        text_config=LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                num_attention_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=None),
        image_token_id=IMAGE, vision_feature_layer=-1, image_seq_length=16,
    )
    return LlavaForConditionalGeneration(config).eval()

import copy
model = small()
assistant = copy.deepcopy(model)
calls = {"model": 0, "assistant": 0}
def count(name):
    def hook(*_): calls[name] += 1
    return hook
model.model.vision_tower.register_forward_hook(count("model"))
assistant.model.vision_tower.register_forward_hook(count("assistant"))
ids = torch.tensor([[1, *[IMAGE] * 16, 20, 21, 22]])
model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=torch.randn(1, 3, 32, 32),
               max_new_tokens=8, do_sample=False, assistant_model=assistant)
print(calls)
assert calls["assistant"] == 0 and calls["model"] >= 1
PY
