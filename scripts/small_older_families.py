"""How families are built small whose picture is not put into the prompt as in most: see ``Small``."""

from __future__ import annotations

from small_family_table import FIRST_MARK, NO_GROUPS, SQUARE, VISION, Small

QFORMER = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "encoder_hidden_size": 64, "vocab_size": 512, "cross_attention_frequency": 2,
}  # fmt: skip
PLACES = tuple(f"<place_{i}>" for i in range(64))
KOSMOS_TAGS = (
    "</doc>", "<image>", "</image>", "</chunk>", "</line>", "<phrase>", "</phrase>", "<object>", "</object>",
    "</delimiter_of_multi_objects/>", "<grounding>",
)  # fmt: skip

CODES = range(64)
"""Codes of pictures, each a token of the vocabulary."""

FIRST_CODE = 400
CODEBOOK = {
    "embed_dim": 8, "base_channels": 32, "channel_multiplier": [1, 1, 1, 1], "num_res_blocks": 1,
    "latent_channels": 8,
}  # fmt: skip
LETTERS = str.maketrans("0123456789", "ABCDEFGHIJ")

FAMILIES: dict[str, Small] = {
    "instructblip": Small(
        ("<image>",), "<image>", {"image_token_index": "<image>"}, {"model_type": "llama"},
        {**VISION, "qkv_bias": True}, {"num_query_tokens": 8, "qformer_config": QFORMER},
        {"size": SQUARE}, {"num_query_tokens": 8}, further=("qformer_tokenizer",),
    ),
    "kosmos-2": Small(
        ("<unk>", *PLACES, *KOSMOS_TAGS), "", {},
        {**NO_GROUPS, "embed_dim": 64, "layers": 2, "ffn_dim": 128, "attention_heads": 4},
        images={"size": {"shortest_edge": 64}, "crop_size": SQUARE},
        processor={"processor_class": "Kosmos2Processor", "num_patch_index_tokens": 16},
        special={"unk_token": "<unk>"},
    ),
    "idefics": Small(
        ("<unk>", "<image>", "<fake_token_around_image>", "<end_of_utterance>"), "", {},
        {**NO_GROUPS, "cross_layer_interval": 1, "alpha_initializer": "ones"},
        {"embed_dim": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "image_size": 64, "patch_size": 8},
        images={"image_size": 64}, special={"unk_token": "<unk>"}, flat=True,
    ),
    "chameleon": Small(
        ("<image>", "<racm3:break>", "<eoss>", "<sep>"), "<image>", {}, vision={}, flat=True,
        top={"vq_config": {**CODEBOOK, "num_embeddings": len(CODES), "resolution": 64},
             "vocabulary_map": {
                 "<image>": FIRST_MARK,
                 **{f"IMGIMG{str(i).translate(LETTERS)}Z": FIRST_CODE + i for i in CODES}}},
        images={"size": {"shortest_edge": 64}, "crop_size": SQUARE}, processor={"image_seq_length": 64},
        special={"sep_token": "<sep>"}, names={"image_token": "<image>"},
    ),
    "emu3": Small(
        ("<image>", "<|image start|>", "<|image end|>", "<|image token|>", "<|extra_201|>", "<|extra_200|>"),
        "<image>", {}, vision={},
        top={"vq_config": {**CODEBOOK, "codebook_size": len(CODES), "hidden_size": 32,
                           "attn_resolutions": []},
             "vocabulary_map": {
                 "<image>": FIRST_MARK, "<|extra_200|>": FIRST_MARK + 5,
                 **{f"<|visual token {i:06}|>": FIRST_CODE + i for i in CODES}}},
        images={"min_pixels": 1024, "max_pixels": 65536},
        names={"image_token": "<image>", "boi_token": "<|image start|>", "eoi_token": "<|image end|>",
               "image_wrapper_token": "<|image token|>", "eof_token": "<|extra_201|>"},
    ),
    "deepseek_ocr2": Small(
        ("<image>",), "<image>\n", {"image_token_id": "<image>"},
        {**NO_GROUPS, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
         "moe_intermediate_size": 64, "mlp_layer_types": ["dense", "sparse"], "n_group": 1, "topk_group": 1},
        {"sam_config": {"hidden_size": 64, "output_channels": 16, "num_hidden_layers": 2,
                        "num_attention_heads": 4, "global_attn_indexes": [1], "mlp_dim": 128,
                        "downsample_channels": [32, 64]},
         "encoder_config": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                            "num_attention_heads": 4, "num_key_value_heads": 2}},
        images={"size": {"height": 1024, "width": 1024}, "tile_size": 768},
    ),
}  # fmt: skip
