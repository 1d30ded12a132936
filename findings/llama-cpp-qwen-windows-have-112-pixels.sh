#!/usr/bin/env bash
# llama.cpp b9190 (cyllama 0.2.18), gguf 0.19.0: the windows of a Qwen2.5-VL tower have 112 pixels, whatever its
# configuration says and whatever the mmproj file says under clip.vision.window_size, a key that llama.cpp knows.
#
# Guess: with the configuration's window_size under that key, the image features are those of transformers.
# Seen: they are those of a tower with 112 pixels, and nothing is said about it. All published Qwen2.5-VL have 112.
# Output: largest difference from transformers with 56 pixels 0.849, with 112 pixels 0.0023
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
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

SIDE, PATCH, WIDTH, LAYERS, HEADS, OUT, WINDOW = 224, 14, 64, 4, 2, 128, 56
TOKENS = (SIDE // PATCH // 2) ** 2


def tower(window):
    torch.manual_seed(0)
    made = Qwen2_5_VisionTransformerPretrainedModel._from_config(Qwen2_5_VLVisionConfig(
        depth=LAYERS, hidden_size=WIDTH, intermediate_size=128, num_heads=HEADS, patch_size=PATCH, window_size=window,
        out_hidden_size=OUT, fullatt_block_indexes=[1, 3]), attn_implementation="eager").eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.normal_(float("norm" in name or "ln_q" in name), 0.1)
    return made


text = gguf.GGUFWriter("model.gguf", "qwen2vl")
text.add_context_length(256)
text.add_embedding_length(OUT)
text.add_block_count(1)
text.add_feed_forward_length(128)
text.add_head_count(2)
text.add_head_count_kv(2)
text.add_layer_norm_rms_eps(1e-6)
text.add_rope_dimension_sections([16, 8, 8, 0])
text.add_tokenizer_model("gpt2")
text.add_tokenizer_pre("default")
text.add_token_list([f"t{number}" for number in range(64)])
text.add_token_types([int(gguf.TokenType.NORMAL)] * 64)
text.add_token_merges(["t 1"])
draw = np.random.default_rng(0)
sizes = {"attn_q": (OUT, OUT), "attn_k": (OUT, OUT), "attn_v": (OUT, OUT), "attn_output": (OUT, OUT), "ffn_gate": (128, OUT),
         "ffn_up": (128, OUT), "ffn_down": (OUT, 128), "attn_norm": (OUT,), "ffn_norm": (OUT,)}
shapes = {f"blk.0.{name}.weight": shape for name, shape in sizes.items()}
shapes |= {f"blk.0.attn_{part}.bias": (OUT,) for part in "qkv"}
shapes |= {"token_embd.weight": (64, OUT), "output.weight": (64, OUT), "output_norm.weight": (OUT,)}
for name, shape in shapes.items():
    text.add_tensor(name, draw.normal(0, 0.1, shape).astype(np.float32))
model = tower(WINDOW)
vision = gguf.GGUFWriter("mmproj.gguf", "clip")
vision.add_clip_has_vision_encoder(True)
vision.add_clip_projector_type("qwen2.5vl_merger")
vision.add_bool("clip.use_silu", True)
vision.add_vision_image_size(560)
vision.add_uint32("clip.vision.image_min_pixels", 1)
vision.add_uint32("clip.vision.image_max_pixels", 1 << 20)
vision.add_uint32("clip.vision.n_wa_pattern", 2)
vision.add_uint32(gguf.Keys.ClipVision.WINDOW_SIZE, WINDOW)
vision.add_vision_patch_size(PATCH)
vision.add_vision_spatial_merge_size(2)
vision.add_vision_embedding_length(WIDTH)
vision.add_vision_feed_forward_length(128)
vision.add_vision_projection_dim(OUT)
vision.add_vision_head_count(HEADS)
vision.add_vision_attention_layernorm_eps(1e-6)
vision.add_vision_block_count(LAYERS)
vision.add_vision_image_mean([0.5] * 3)
vision.add_vision_image_std([0.5] * 3)
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, LAYERS)
for name, value in model.state_dict().items():
    value = value.numpy()
    if name == "patch_embed.proj.weight":
        for frame, end in enumerate(("", ".1")):
            vision.add_tensor(f"v.patch_embd.weight{end}", np.ascontiguousarray(value[:, :, frame]))
        continue
    parts = zip("qkv", np.split(value, 3), strict=True) if ".qkv." in name else [("qkv", value)]
    for part, piece in parts:
        plain = "visual." + name.replace("qkv", part)
        vision.add_tensor(names.get_name(plain, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(piece))
for file in (text, vision):
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()

picture = draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
llama_cpp.ggml_backend_load_all()
language = llama_cpp.LlamaModel("model.gguf", llama_cpp.LlamaModelParams(), False)
context = llama_cpp.MtmdContext("mmproj.gguf", language, llama_cpp.MtmdContextParams())
bitmap = llama_cpp.MtmdBitmap.create_image(SIDE, SIDE, picture.tobytes())
chunks = context.tokenize(llama_cpp.get_default_media_marker(), [bitmap], False, True)
image = next(chunks[place] for place in range(len(chunks)) if chunks[place].n_tokens == TOKENS)
assert context.encode_chunk(image) == 0
seen = np.array(context.get_output_embeddings(TOKENS, OUT))

# Patches in transformers' order: squares of two by two one after the other, each patch twice in time.
pixels = torch.from_numpy((picture / 255.0 - 0.5) / 0.5).float().permute(2, 0, 1)
grid, half = SIDE // PATCH, SIDE // PATCH // 2
patches = pixels.reshape(3, half, 2, PATCH, half, 2, PATCH).permute(1, 4, 2, 5, 0, 3, 6)
patches = patches.reshape(grid * grid, 3, 1, PATCH, PATCH).expand(-1, -1, 2, -1, -1).reshape(grid * grid, -1)
with torch.no_grad():
    own, other = (tower(window)(patches, torch.tensor([[1, grid, grid]])).pooler_output.numpy() for window in (WINDOW, 112))
far, near = np.abs(seen - own).max(), np.abs(seen - other).max()
print(f"largest difference from transformers with {WINDOW} pixels {far:.3f}, with 112 pixels {near:.4f}")
assert far > 20 * near
PY
