#!/usr/bin/env bash
# transformers 5.23.0: Qwen2-VL's image processor has two limits, and min_pixels/max_pixels beside size win over it.
#
# Guess: the class default is the checkpoints' limit of 16384 tokens, and an explicit size wins.
# Seen: without arguments a picture of 3000 x 3000 takes at most 1280 tokens (1225), with the published checkpoints'
# max_pixels 11449; given both size and min_pixels/max_pixels, the latter win without a word.
# Output: 1225, 11449, 1225
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

picture = Image.new("RGB", (3000, 3000))
def tokens(**given):
    made = Qwen2VLImageProcessorPil(**given)(images=[picture], return_tensors="pt")
    return int(made["image_grid_thw"].prod()) // 4
wide = {"shortest_edge": 3136, "longest_edge": 12845056}
seen = [tokens(), tokens(min_pixels=3136, max_pixels=12845056),
        tokens(size=wide, min_pixels=200704, max_pixels=1003520)]
print(seen)
assert seen == [1225, 11449, 1225]
PY
