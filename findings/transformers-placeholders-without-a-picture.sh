#!/usr/bin/env bash
# transformers 5.23.0: image placeholders without pixel_values raise nothing.
#
# Guess: a prompt with image tokens and no picture is refused, as a wrong number of pictures is.
# Seen: the model answers from the placeholders' own embeddings, without a warning.
# Output: 8 new tokens, other logits than with the picture
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

model = small()
ids = torch.tensor([[1, *[IMAGE] * 16, 20, 21]])
mask = torch.ones_like(ids)
without = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False)
with torch.no_grad():
    blind = model(input_ids=ids, attention_mask=mask).logits[0, -1]
    seeing = model(input_ids=ids, attention_mask=mask, pixel_values=torch.randn(1, 3, 32, 32)).logits[0, -1]
print(without.shape[1] - ids.shape[1], "tokens; logits equal:", torch.allclose(blind, seeing))
assert without.shape[1] - ids.shape[1] == 8 and not torch.allclose(blind, seeing)
PY
