#!/usr/bin/env bash
# llama.cpp b9190 (cyllama 0.2.18), gguf 0.19.0: the vision tower of a LLaVA runs one layer fewer than its mmproj file
# holds, puts the class embedding behind the patches, and then drops the first patch instead of the class embedding.
#
# Guess: an mmproj file with every layer up to the feature layer, as LLaVA's converter writes it, gives the image
# features that transformers gives, to rounding.
# Seen: (1) the last layer of the file is never run; the converter has left one out already. (2) The rows are
# patch 1, ..., patch n, class; position embedding 0, which belongs to the class, goes to the first patch, and so on.
# (3) The language model gets rows 2 to n + 1: no first patch, and the class embedding in the place of the last one.
# Nothing is said about it. An mmproj file with one layer more, of any values, mends (1).
# Output: largest difference from transformers' features 1.37, from the features made as above 0.0009
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0 gguf==0.19.0 cyllama==0.2.18
cd "$work"
"$work/env/bin/python" - 2> llama.log <<'PY'
import gguf
import numpy as np
import torch
from cyllama.llama import llama_cpp
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

SIDE, PATCH, WIDTH, LAYERS, HEADS, VOCABULARY = 32, 8, 64, 3, 2, 64
PATCHES = (SIDE // PATCH) ** 2
torch.manual_seed(0)
config = LlavaConfig(
    vision_config=CLIPVisionConfig(hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=LAYERS,
                                   num_attention_heads=HEADS, image_size=SIDE, patch_size=PATCH),
    text_config=LlamaConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=128, num_hidden_layers=1,
                            num_attention_heads=2),
    vision_feature_layer=-1, image_token_index=5)
model = LlavaForConditionalGeneration(config).eval()
with torch.no_grad():
    for weight in model.parameters():
        weight.normal_(0, 0.15)
weights = {name: value.numpy() for name, value in model.state_dict().items()}

text = gguf.GGUFWriter("model.gguf", "llama")
text.add_context_length(256)
text.add_embedding_length(WIDTH)
text.add_block_count(1)
text.add_feed_forward_length(128)
text.add_head_count(2)
text.add_layer_norm_rms_eps(1e-6)
text.add_rope_dimension_count(WIDTH // 2)
text.add_tokenizer_model("gpt2")
text.add_tokenizer_pre("default")
text.add_token_list([f"t{number}" for number in range(VOCABULARY)])
text.add_token_types([int(gguf.TokenType.NORMAL)] * VOCABULARY)
text.add_token_merges(["t 1"])
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
for name, value in weights.items():
    if "language_model" in name or name.startswith("lm_head"):
        plain = name.replace("model.language_model.", "model.")
        text.add_tensor(names.get_name(plain, try_suffixes=(".weight",)), value)
vision = gguf.GGUFWriter("mmproj.gguf", "clip")
vision.add_clip_has_vision_encoder(True)
vision.add_clip_projector_type("mlp")
vision.add_vision_image_size(SIDE)
vision.add_vision_patch_size(PATCH)
vision.add_vision_embedding_length(WIDTH)
vision.add_vision_feed_forward_length(2 * WIDTH)
vision.add_vision_projection_dim(WIDTH)
vision.add_vision_head_count(HEADS)
vision.add_vision_attention_layernorm_eps(config.vision_config.layer_norm_eps)
vision.add_vision_block_count(LAYERS)
vision.add_vision_image_mean([0.5] * 3)
vision.add_vision_image_std([0.5] * 3)
vision.add_vision_use_gelu(False)  # quick_gelu, as CLIP has it
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, LAYERS)
for name, value in weights.items():
    if "post_layernorm" in name or not ("vision_tower" in name or "projector" in name):
        continue
    plain = name.removeprefix("model.")
    if plain.startswith("multi_modal_projector.linear_"):
        number, part = plain.removeprefix("multi_modal_projector.linear_").split(".")
        made = f"mm.{2 * int(number) - 2}.{part}"
    elif plain.endswith("class_embedding"):
        made = "v.class_embd"
    else:
        plain = plain if "vision_model" in plain else plain.replace("vision_tower.", "vision_tower.vision_model.")
        made = names.get_name(plain, try_suffixes=(".weight", ".bias"))
    vision.add_tensor(made, value)
for file in (text, vision):
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()

picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
llama_cpp.ggml_backend_load_all()
language = llama_cpp.LlamaModel("model.gguf", llama_cpp.LlamaModelParams(), False)
tower = llama_cpp.MtmdContext("mmproj.gguf", language, llama_cpp.MtmdContextParams())
bitmap = llama_cpp.MtmdBitmap.create_image(SIDE, SIDE, picture.tobytes())
chunks = tower.tokenize(llama_cpp.get_default_media_marker(), [bitmap], False, True)
image = next(chunks[place] for place in range(len(chunks)) if chunks[place].n_tokens == PATCHES)
assert tower.encode_chunk(image) == 0
seen = np.array(tower.get_output_embeddings(PATCHES, WIDTH))

pixels = torch.from_numpy((picture / 255.0 - 0.5) / 0.5).float().permute(2, 0, 1)[None]
own = model.model.vision_tower
own = getattr(own, "vision_model", own)
projector = model.model.multi_modal_projector
with torch.no_grad():
    right = projector(own(pixels, output_hidden_states=True).hidden_states[-1][:, 1:])[0].numpy()
    patches = own.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    rows = torch.cat([patches, own.embeddings.class_embedding.expand(1, 1, -1)], 1)
    rows = own.pre_layrnorm(rows + own.embeddings.position_embedding.weight)
    for layer in own.encoder.layers[:-1]:
        rows = rows + layer.self_attn(layer.layer_norm1(rows))[0]
        rows = rows + layer.mlp(layer.layer_norm2(rows))
    shifted = projector(rows[:, 1:])[0].numpy()
far, near = np.abs(seen - right).max(), np.abs(seen - shifted).max()
print(f"largest difference from transformers' features {far:.2f}, from the features made as above {near:.4f}")
assert far > 100 * near
PY
