#!/usr/bin/env bash
# transformers 5.23.0: prompt lookup on a vision-language model drafts image placeholders and then raises.
#
# Guess: prompt lookup searches the text of the prompt; placeholders of the picture are left out.
# Seen: the search runs over the placeholders too. When the last tokens also stand before the picture, it drafts the
# placeholders behind them, and the next forward pass raises "Image features and image tokens do not match".
# suppress_tokens=[image token] cures it.
# Output: ValueError without suppress_tokens, 8 new tokens with it
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
ids = torch.tensor([[1, 20, 21, *[IMAGE] * 16, 22, 20, 21]])
given = dict(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=torch.randn(1, 3, 32, 32),
             max_new_tokens=8, do_sample=False, prompt_lookup_num_tokens=5)
try:
    model.generate(**given)
    raised = ""
except ValueError as error:
    raised = str(error).splitlines()[0]
cured = model.generate(**given, suppress_tokens=[IMAGE])
print(raised, "|", cured.shape[1] - ids.shape[1], "tokens")
assert "do not match" in raised and cured.shape[1] - ids.shape[1] == 8
PY
