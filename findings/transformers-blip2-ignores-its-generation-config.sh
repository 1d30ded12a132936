#!/usr/bin/env bash
# transformers 5.23.0: BLIP-2's generate ignores the model's generation_config.
#
# Guess: an end token in model.generation_config, as generation_config.json sets it, ends answers.
# Seen: generate is called on the language model within, whose own settings come from text_config: its end token
# counts, and the model's does not. InstructBLIP and Kosmos-2 hand on in the same way.
# Output: new tokens: 8 as built, 8 set on the model, 1 on the inner model
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import torch
from transformers import Blip2Config, Blip2ForConditionalGeneration, GenerationConfig

torch.manual_seed(0)
side = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
text = {"model_type": "opt", "hidden_size": 32, "ffn_dim": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
model = Blip2ForConditionalGeneration(Blip2Config(
    vision_config={**side, "image_size": 16, "patch_size": 8}, text_config=text, num_query_tokens=4,
    qformer_config={**side, "encoder_hidden_size": 32, "vocab_size": 40}, image_token_index=39,
)).eval()
ids = torch.tensor([[39] * 4 + [1, 5, 6]])


def answer():
    made = model.generate(pixel_values=torch.zeros(1, 3, 16, 16), input_ids=ids, max_new_tokens=8, do_sample=False)
    return made[0, ids.shape[1]:].tolist()


whole = answer()
end = GenerationConfig(eos_token_id=whole[0], pad_token_id=0)
model.generation_config = end
by_model = answer()
model.language_model.generation_config = end
by_inner = answer()
print("new tokens:", len(whole), "as built,", len(by_model), "set on the model,", len(by_inner), "on the inner model")
assert (len(whole), len(by_model), len(by_inner)) == (8, 8, 1)
PY
