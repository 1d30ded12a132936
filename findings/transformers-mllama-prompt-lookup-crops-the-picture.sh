#!/usr/bin/env bash
# transformers 5.23.0: Llama 3.2 Vision fails with prompt lookup, whose refused guesses are cut off the picture too.
#
# Guess: guesses that are refused are removed from the keys of the text; those of the picture have no guesses.
# Seen: DynamicCache.crop shortens every layer, the layers of cross-attention too, which hold the picture's keys and
# values in their place. The next pass finds fewer keys than its mask has.
# Output: alone 21
#         with prompt lookup The size of tensor a (17) must match the size of tensor b (20) at non-singleton dimension 3
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from transformers import MllamaConfig, MllamaForConditionalGeneration
from transformers import logging

logging.set_verbosity_error()
torch.manual_seed(0)
text = dict(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, cross_attention_layers=[1], pad_token_id=0, bos_token_id=1, eos_token_id=2)
vision = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_global_layers=1, attention_heads=2,
              image_size=16, patch_size=8, intermediate_layers_indices=[0], vision_output_dim=64)
config = MllamaConfig(text_config=text, vision_config=vision, image_token_index=63)
model = MllamaForConditionalGeneration(config).eval()
inputs = dict(input_ids=torch.tensor([[63, 5, 6, 7, 5, 6, 7, 5, 6]]), attention_mask=torch.ones(1, 9, dtype=int),
              pixel_values=torch.rand(1, 1, 4, 3, 16, 16), aspect_ratio_ids=torch.ones(1, 1, dtype=int),
              aspect_ratio_mask=torch.tensor([[[1, 0, 0, 0]]]), cross_attention_mask=torch.ones(1, 9, 1, 4, dtype=int))
how = dict(max_new_tokens=12, min_new_tokens=12, do_sample=False)
print("alone", model.generate(**inputs, **how).shape[1])
try:
    model.generate(**inputs, **how, prompt_lookup_num_tokens=3)
except RuntimeError as error:
    print("with prompt lookup", str(error).splitlines()[0])
    assert "must match the size of tensor" in str(error)
else:
    raise SystemExit("prompt lookup works")
PY
