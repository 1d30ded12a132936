#!/usr/bin/env bash
# transformers 5.23.0 with bitsandbytes 0.50.2: SigLIP 2 (the tower of LFM2-VL) loaded in 4 bits sees no picture.
#
# Guess: features in 4 bits are those of the plain model with some noise; two pictures have different ones.
# Seen: the patch embedding is a linear layer, which is quantized too, and the code around it converts pixels to the
# type of its weight, now unsigned integers: pixels between -1 and 1 become 0. Two pictures have the same features,
# without any message. In 8 bits the first call fails. Ernie 4.5 VL has the same code; there a norm behind it fails.
# Output: the largest difference between the features of two random pictures, plain and in 4 bits
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check \
    numpy torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 bitsandbytes==0.50.2
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from transformers import BitsAndBytesConfig, Siglip2VisionConfig, Siglip2VisionModel

torch.manual_seed(0)
config = Siglip2VisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                             num_patches=16, patch_size=8)
plain = Siglip2VisionModel(config).eval()
plain.save_pretrained("tower")
in_4_bits = Siglip2VisionModel.from_pretrained("tower", quantization_config=BitsAndBytesConfig(load_in_4bit=True))
pictures = torch.rand(2, 16, 192) * 1.98 - 0.99
rest = {"pixel_attention_mask": torch.ones(2, 16, dtype=torch.long), "spatial_shapes": torch.tensor([[4, 4]] * 2)}

def difference(model):
    with torch.inference_mode():
        one, other = model(pixel_values=pictures, **rest).last_hidden_state
    return float((one - other).abs().max())

print("plain", difference(plain), "in 4 bits", difference(in_4_bits))
assert difference(plain) > 1 and difference(in_4_bits) == 0
PY
