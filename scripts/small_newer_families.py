"""How families are built small that are variants of others, or that came last: see ``Small``."""

from __future__ import annotations

from small_family_table import (
    GLM_IDS,
    GLM_MARKS,
    GLM_VISION,
    HYBRID,
    MROPE,
    NO_GROUPS,
    QWEN_IMAGES,
    QWEN_VISION,
    SQUARE,
    VISION,
    Small,
    llava,
    qwen,
)

GLM_ROPE = {**MROPE, "mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5}
GLM_TEMPLATE = "<|begin_of_image|><|image|><|end_of_image|>"
SAM = {
    "hidden_size": 64, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 1024, "patch_size": 16, "window_size": 14, "global_attn_indexes": [1], "mlp_dim": 128,
}  # fmt: skip
MINICPM_MARKS = ("<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>", "<|image_pad|>",
                 "<|video_pad|>")  # fmt: skip

FAMILIES: dict[str, Small] = {
    "fuyu": Small(
        ("|SPEAKER|", "|NEWLINE|", "<s>", "<0x04>"), "|SPEAKER|", {"image_token_id": "|SPEAKER|"},
        {**NO_GROUPS, "model_type": "persimmon", "qk_layernorm": True}, {},
        {"patch_size": 8, "image_size": 64, "num_channels": 3, "hidden_size": 64, "vocab_size": 512},
        {"size": SQUARE, "patch_size": {"height": 8, "width": 8}},
    ),
    "glm_ocr": qwen(
        marks=GLM_MARKS, template=GLM_TEMPLATE, ids=GLM_IDS, text={"rope_parameters": GLM_ROPE},
        vision=GLM_VISION, like="glm46v",
    ),
    "glmga": qwen(
        marks=GLM_MARKS, template=GLM_TEMPLATE, ids=GLM_IDS,
        text={"model_type": "glm4v_text", "rope_parameters": GLM_ROPE},
        vision={**GLM_VISION, "model_type": "glm4v_vision"},
        processor={"processor_class": "Glm46VProcessor"},
    ),
    "glm5_next": qwen(
        marks=GLM_MARKS, template=GLM_TEMPLATE, ids=GLM_IDS,
        text={**NO_GROUPS, "head_dim": 0, "q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 0,
              "qk_nope_head_dim": 16, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
              "moe_intermediate_size": 64, "mlp_layer_types": ["dense", "sparse"],
              "layer_types": ["linear_attention", "indexed_attention"], "linear_head_dim": 16,
              "linear_num_heads": 4, "index_head_dim": 16, "index_n_heads": 2},
        vision={**GLM_VISION, "projection_intermediate_size": 64},
        images={"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2, "min_image_tokens": 1,
                "max_image_tokens": 256},
    ),
    "cosmos3_omni": qwen(
        vision={**QWEN_VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
        like="qwen3_vl",
    ),
    "cosmos3_edge": qwen(
        vision={"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "patch_size": 8, "num_patches": 64, "spatial_merge_size": 2},
        top={"projector_hidden_size": 64}, images={**QWEN_IMAGES, "temporal_patch_size": 1},
    ),
    "cohere_compass": qwen(
        marks=("<|VISION_START|>", "<|VISION_END|>", "<|IMAGE_PAD|>", "<|VIDEO_PAD|>"),
        template="<|VISION_START|><|IMAGE_PAD|><|VISION_END|>",
        ids={"image_token_id": "<|IMAGE_PAD|>", "video_token_id": "<|VIDEO_PAD|>",
             "vision_start_token_id": "<|VISION_START|>", "vision_end_token_id": "<|VISION_END|>"},
        text={"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32,
              "rope_parameters": {"sliding_attention": MROPE, "full_attention": MROPE}},
        vision={**QWEN_VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
    ),
    "qwen4_exp": qwen(
        text={**HYBRID, "layer_types": ["linear_attention", "indexed_attention"], "num_experts": 4,
              "num_experts_per_tok": 2, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 32,
              "hc_lowrank": 8, "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16,
              "indexer_budget": 64, "indexer_compress_ratio": 4},
        vision={**QWEN_VISION, "num_position_embeddings": 64},
    ),
    "hyperclovax_vision_v2": qwen(
        text={"model_type": "hyperclovax"},
        vision={**QWEN_VISION, "window_size": 32, "fullatt_block_indexes": [1]},
        processor={"processor_class": "HyperCLOVAXVisionV2Processor"}, like="qwen2_5_vl",
    ),
    "minicpmv4_6": Small(
        MINICPM_MARKS, "<|image_pad|>",
        {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
        {**HYBRID, "model_type": "qwen3_5_text"}, {**VISION, "insert_layer_id": 0},
        {"insert_layer_id": 0, "image_size": 64},
        {"patch_size": 8, "scale_resolution": 64, "max_slice_nums": 4}, {},
        {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "image_start_token": "<image>",
         "image_end_token": "</image>", "slice_start_token": "<slice>", "slice_end_token": "</slice>",
         "image_id_start_token": "<image_id>", "image_id_end_token": "</image_id>"},
    ),
    "pp_chart2table": Small(
        ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>"),
        "<img>" + "<imgpad>" * 256 + "</img>\n", {"image_token_index": "<imgpad>"}, {"model_type": "qwen2"},
        SAM, {"image_seq_length": 256}, {"size": {"height": 1024, "width": 1024}},
    ),
    "qianfan_ocr": Small(
        ("<img>", "</img>", "<IMG_CONTEXT>", "<image>"), "<image>\n", {"image_token_id": "<IMG_CONTEXT>"},
        {"model_type": "qwen3"}, {**VISION, "image_size": [64, 64], "patch_size": [8, 8]},
        {"image_seq_length": 16, "downsample_ratio": 0.5},
        {"size": SQUARE, "min_patches": 1, "max_patches": 4}, {"image_seq_length": 16},
        {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"},
    ),
    "video_llava": llava(
        marks=("<image>", "<video>"), ids={"image_token_index": "<image>", "video_token_index": "<video>"},
        top={"vision_feature_layer": -1, "vision_feature_select_strategy": "default",
             "image_seq_length": 64},
        processor={"patch_size": 8, "num_additional_image_tokens": 1, "image_token": "<image>",
                   "video_token": "<video>", "vision_feature_select_strategy": "default"},
    ),
    "kosmos-2.5": Small(
        ("<image>", "</image>", "<s>"), "", {},
        {**NO_GROUPS, "embed_dim": 64, "layers": 2, "ffn_dim": 128, "attention_heads": 4},
        {"hidden_size": 64, "patch_embed_hidden_size": 192, "intermediate_size": 128, "head_dim": 16,
         "num_hidden_layers": 2, "num_attention_heads": 4, "max_num_patches": 64},
        {"latent_query_num": 16}, {"patch_size": {"height": 8, "width": 8}, "max_patches": 64},
        {"processor_class": "Kosmos2_5Processor", "num_image_tokens": 16},
        {"boi_token": "<image>", "eoi_token": "</image>", "image_token": "<s>"},
    ),
}  # fmt: skip
