"""How each family is built small: its configuration, its image processor, its marks and its template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

TEXT = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 4096,
    "pad_token_id": 256, "bos_token_id": 257, "eos_token_id": 258,
}  # fmt: skip
VISION = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 64, "patch_size": 8,
}  # fmt: skip
QWEN_VISION = {
    "depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 128, "patch_size": 8,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3, "out_hidden_size": 64,
}  # fmt: skip
QWEN_IMAGES = {
    "patch_size": 8, "merge_size": 2, "temporal_patch_size": 2,
    "size": {"shortest_edge": 256, "longest_edge": 65536},
}  # fmt: skip
QWEN_MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
HYBRID = {
    "rope_parameters": {**MROPE, "mrope_section": [1, 1, 0], "mrope_interleaved": True,
                        "partial_rotary_factor": 0.25},
    "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
}  # fmt: skip
LATENT = {
    "num_key_value_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "v_head_dim": 16, "head_dim": 8,
}  # fmt: skip
NO_GROUPS = {"num_key_value_heads": 4}
"""For decoders in which every head has keys and values of its own."""

SQUARE = {"height": 64, "width": 64}
FIRST_MARK = 259


class Small(NamedTuple):
    """How to build one family small.

    Attributes:
        marks: Special tokens beyond padding, beginning and end; their ids count from ``FIRST_MARK``.
        text: Changes to ``TEXT``.
        vision: The vision configuration.
        top: Further fields of the configuration.
        ids: Fields of the configuration that name a mark.
        images: Settings of the image processor.
        processor: Settings of the processor.
        template: What stands for a picture in the chat template.
        names: Marks by the names under which the processor asks the tokenizer for them.
        special: Marks by the roles that tokenizers have for them, such as ``unk_token``.
        further: Folders of further tokenizers that the processor needs.
        like: The family whose processor it uses; empty for its own.
        flat: The fields of the text stand in the configuration itself.
    """

    marks: tuple[str, ...]
    template: str
    ids: Mapping[str, str]
    text: Mapping[str, Any] = {}
    vision: Mapping[str, Any] = VISION
    top: Mapping[str, Any] = {}
    images: Mapping[str, Any] = {"size": SQUARE}
    processor: Mapping[str, Any] = {}
    names: Mapping[str, str] = {}
    special: Mapping[str, str] = {}
    further: tuple[str, ...] = ()
    flat: bool = False
    like: str = ""


def qwen(template: str = "<|vision_start|><|image_pad|><|vision_end|>", **changes: Any) -> Small:
    ids = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
           "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}  # fmt: skip
    made = Small(QWEN_MARKS, template, ids, {"rope_parameters": MROPE}, QWEN_VISION, images=QWEN_IMAGES)
    return made._replace(**changes)


def llava(**changes: Any) -> Small:
    made = Small(
        ("<image>",), "<image>\n", {"image_token_index": "<image>"},
        {"model_type": "llama"}, {**VISION, "model_type": "clip_vision_model"},
        {"vision_feature_layer": -1, "vision_feature_select_strategy": "default"},
        {"size": {"shortest_edge": 64}, "crop_size": SQUARE},
        {"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default",
         "image_token": "<image>"},
    )  # fmt: skip
    return made._replace(**changes)


PINPOINTS = [[64, 64], [64, 128], [128, 64], [128, 128]]
IDEFICS_MARKS = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
TILE_MARKS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))


def _idefics() -> Small:
    tiles = {"size": {"longest_edge": 128}, "max_image_size": {"longest_edge": 64}}
    return Small(
        (*IDEFICS_MARKS, *TILE_MARKS), "<image>", {"image_token_id": "<image>"}, {"model_type": "llama"},
        top={"scale_factor": 2}, images={**tiles, "do_image_splitting": True},
        processor={"image_seq_len": 16},
    )  # fmt: skip


GLM_MARKS = ("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>",
             "<|end_of_video|>")  # fmt: skip
GLM_IDS = {
    "image_token_id": "<|image|>", "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>", "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}  # fmt: skip
GLM_VISION = {
    "depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 128, "patch_size": 8,
    "image_size": 64,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3, "out_hidden_size": 64,
}  # fmt: skip
AYA_MARKS = ("<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>",
             "TILE_GLOBAL", *(f"TILE_{number}" for number in range(1, 5)))  # fmt: skip


def _gemma3(**changes: Any) -> Small:
    made = Small(
        ("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        "<start_of_image>",
        {
            "boi_token_index": "<start_of_image>",
            "eoi_token_index": "<end_of_image>",
            "image_token_index": "<image_soft_token>",
        },
        {"sliding_window": 32, "query_pre_attn_scalar": 16},
        top={"mm_tokens_per_image": 16},
        images={"size": SQUARE},
        processor={"image_seq_length": 16},
        names={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    return made._replace(**changes)


OMNI_MARKS = (*QWEN_MARKS, "<|audio_bos|>", "<|audio_eos|>", "<|AUDIO|>")
OMNI_NAMES = {
    "image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "audio_token": "<|AUDIO|>",
    "vision_bos_token": "<|vision_start|>", "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
}  # fmt: skip
OMNI_AUDIO = {
    "d_model": 64, "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "output_dim": 64,
}  # fmt: skip

FAMILIES: dict[str, Small] = {
    "qwen2_5_omni_thinker": qwen(
        marks=OMNI_MARKS, names=OMNI_NAMES, top={"audio_config": OMNI_AUDIO},
        ids={"image_token_index": "<|image_pad|>", "video_token_index": "<|video_pad|>",
             "audio_token_index": "<|AUDIO|>", "audio_start_token_id": "<|audio_bos|>",
             "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
             "audio_end_token_id": "<|audio_eos|>"},
        vision={**QWEN_VISION, "window_size": 32, "fullatt_block_indexes": [1]},
    ),
    "qwen3_omni_moe_thinker": qwen(
        marks=OMNI_MARKS, names=OMNI_NAMES,
        top={"audio_config": {**OMNI_AUDIO, "downsample_hidden_size": 16, "num_mel_bins": 32}},
        ids={"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
             "audio_token_id": "<|AUDIO|>", "audio_start_token_id": "<|audio_bos|>",
             "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"},
        text={"rope_parameters": MROPE, "num_experts": 4, "num_experts_per_tok": 2,
              "moe_intermediate_size": 64},
        vision={**QWEN_VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
    ),
    "smolvlm": _idefics(),
    "idefics3": _idefics(),
    "glm4v": qwen(
        marks=GLM_MARKS, template="<|begin_of_image|><|image|><|end_of_image|>", ids=GLM_IDS,
        text={"rope_parameters": {**MROPE, "mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5}},
        vision=GLM_VISION,
    ),
    "glm46v": qwen(
        marks=GLM_MARKS, template="<|begin_of_image|><|image|><|end_of_image|>", ids=GLM_IDS,
        text={"model_type": "glm4v_text",
              "rope_parameters": {**MROPE, "mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5}},
        vision={**GLM_VISION, "model_type": "glm4v_vision"},
    ),
    "exaone4_5": qwen(
        text={"model_type": "exaone4", "sliding_window": 32,
              "layer_types": ["sliding_attention", "full_attention"]},
        vision={**QWEN_VISION, "window_size": 32, "fullatt_block_indexes": [1], "num_key_value_heads": 2},
    ),
    "video_llama_3": Small(
        QWEN_MARKS, "<|image_pad|>\n",
        {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
        {"model_type": "qwen2"},
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "patch_size": 8},
        images={"patch_size": 8, "merge_size": 2, "size": {"shortest_edge": 256, "longest_edge": 65536}},
    ),
    "aya_vision": Small(
        AYA_MARKS, "<image>", {"image_token_index": "<|IMG_PATCH|>"},
        {"model_type": "cohere2", "sliding_window": 32},
        {**VISION, "model_type": "siglip_vision_model"},
        {"downsample_factor": 2, "alignment_intermediate_size": 64, "vision_feature_layer": -1,
         "vision_feature_select_strategy": "full"},
        {"size": SQUARE, "min_patches": 1, "max_patches": 4},
        {"patch_size": 8, "img_size": 64, "downsample_factor": 2},
    ),
    "ovis2": Small(
        ("<image>", "<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"),
        "<image>\n",
        {"image_token_id": "<IMG_ATOM>"}, {"model_type": "qwen2"},
        {**VISION, "hidden_stride": 2, "vocab_size": 128, "num_visual_indicator_tokens": 5},
        {"hidden_size": 64, "vocab_size": 512, "visual_indicator_token_ids": [261, 262, 263, 264, 265]},
        {"size": SQUARE, "min_patches": 1, "max_patches": 4}, {"image_seq_length": 16},
    ),
    "deepseek_vl": Small(
        ("<image_placeholder>",), "<image_placeholder>", {"image_token_id": "<image_placeholder>"},
        {"model_type": "llama"}, {**VISION, "model_type": "siglip_vision_model"},
        images={"size": SQUARE, "min_size": 14}, processor={"num_image_tokens": 64},
        names={"image_token": "<image_placeholder>"},
    ),
    "qwen2_vl": qwen(vision={
        "depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 4, "mlp_ratio": 2, "patch_size": 8,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3,
    }),
    "qwen2_5_vl": qwen(vision={**QWEN_VISION, "window_size": 32, "fullatt_block_indexes": [1]}),
    "qwen3_vl": qwen(vision={
        **QWEN_VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 64,
    }),
    "qwen3_5": qwen(
        text=HYBRID,
        vision={**QWEN_VISION, "num_position_embeddings": 64},
    ),
    "qwen3_vl_moe": qwen(
        text={"rope_parameters": MROPE, "num_experts": 4, "num_experts_per_tok": 2,
              "moe_intermediate_size": 64},
        vision={**QWEN_VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
    ),
    "gemma3": _gemma3(),
    "shieldgemma2": _gemma3(
        text={"model_type": "gemma3_text", "sliding_window": 32, "query_pre_attn_scalar": 16},
        vision={**VISION, "model_type": "siglip_vision_model"},
    ),
    "paligemma": Small(
        ("<image>",), "<image>", {"image_token_index": "<image>"}, {"model_type": "gemma"},
        {**VISION, "projection_dim": 64}, {"projection_dim": 64, "hidden_size": 64},
        {"size": SQUARE, "image_seq_length": 64},
    ),
    "internvl": Small(
        ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"), "<IMG_CONTEXT>\n",
        {"image_token_id": "<IMG_CONTEXT>"},
        {"model_type": "qwen2"}, {**VISION, "image_size": [64, 64], "patch_size": [8, 8]},
        {"image_seq_length": 16, "downsample_ratio": 0.5},
        {"size": SQUARE, "min_patches": 1, "max_patches": 4}, {"image_seq_length": 16},
        {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
         "video_token": "<video>"},
    ),
    "llava": llava(),
    "vipllava": llava(top={"vision_feature_layers": [-2, -1]}),
    "llava_next": llava(
        top={"vision_feature_layer": -1, "vision_feature_select_strategy": "default",
             "image_grid_pinpoints": PINPOINTS},
        images={"size": {"shortest_edge": 64}, "crop_size": SQUARE, "image_grid_pinpoints": PINPOINTS},
    ),
    "llava_onevision": llava(
        marks=("<image>", "<video>"), ids={"image_token_index": "<image>", "video_token_index": "<video>"},
        vision={**VISION, "model_type": "siglip_vision_model"}, text={"model_type": "qwen2"},
        top={"vision_feature_layer": -1, "vision_feature_select_strategy": "full",
             "image_grid_pinpoints": PINPOINTS, "vision_aspect_ratio": "anyres_max_9"},
        images={"size": SQUARE, "image_grid_pinpoints": PINPOINTS},
        processor={"num_image_tokens": 64, "vision_feature_select_strategy": "full", "image_token": "<image>",
                   "video_token": "<video>"},
    ),
    "gemma4": Small(
        ("<|image>", "<image|>", "<|image|>", "<|video|>", "<|audio|>"), "<|image|>",
        {"image_token_id": "<|image|>", "video_token_id": "<|video|>", "boi_token_id": "<|image>",
         "eoi_token_id": "<image|>", "audio_token_id": "<|audio|>"},
        {"num_hidden_layers": 4, "sliding_window": 32, "num_kv_shared_layers": 2, "global_head_dim": 32,
         "layer_types": ["sliding_attention", "full_attention"] * 2, "hidden_size_per_layer_input": 16,
         "vocab_size_per_layer_input": 512},
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 4, "head_dim": 16, "patch_size": 8, "pooling_kernel_size": 2,
         "position_embedding_size": 128},
        {"audio_config": None}, {"patch_size": 8, "pooling_kernel_size": 2, "max_soft_tokens": 70},
        {"image_seq_length": 70},
        {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>",
         "audio_token": "<|audio|>", "boa_token": "<|audio|>", "eoa_token": "<|audio|>"},
    ),
    "mistral3": Small(
        ("[IMG]", "[IMG_BREAK]", "[IMG_END]"), "[IMG]", {"image_token_index": "[IMG]"},
        {"model_type": "mistral", "sliding_window": 32},
        {**VISION, "model_type": "pixtral", "head_dim": 16},
        {"spatial_merge_size": 2, "vision_feature_layer": -1},
        {"size": {"longest_edge": 128}, "patch_size": 8},
        {"patch_size": 8, "spatial_merge_size": 2},
    ),
    "lfm2_vl": Small(
        ("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"), "<image>",
        {"image_token_id": "<image>"},
        {"model_type": "lfm2", "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
        {**VISION, "model_type": "siglip2_vision_model", "num_patches": 64},
        {"projector_hidden_size": 64}, {"encoder_patch_size": 8, "tile_size": 64},
    ),
    "lfm3_vl": qwen(
        template="<|image_pad|>",
        text={"model_type": "lfm3", "sliding_window": 32, "layer_types": ["conv", "full_attention"]},
        vision={"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "patch_size": 8,
                "num_attention_heads": 4, "num_key_value_heads": 2},
        top={"projector_hidden_size": 64},
    ),
    "granite4_vision": llava(
        text={}, top={"vision_feature_layer": -1, "vision_feature_select_strategy": "default",
                      "image_grid_pinpoints": PINPOINTS, "spatial_target_layers": [0],
                      "deepstack_layer_map": [[-1, 0]], "downsample_rate": "4/8"},
        images={"size": {"shortest_edge": 64}, "crop_size": SQUARE, "image_grid_pinpoints": PINPOINTS},
        processor={"patch_size": 8, "num_additional_image_tokens": 1, "image_token": "<image>",
                   "vision_feature_select_strategy": "default", "downsample_rate": "4/8"},
    ),
    "minicpmv4_7": Small(
        ("<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>", "<|image_pad|>",
         "<|video_pad|>"),
        "<|image_pad|>", {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
        {**HYBRID, "model_type": "qwen3_5_text"},
        {**VISION, "insert_layer_id": 0}, {"insert_layer_id": 0, "image_size": 64, "patch_size": 8},
        {"patch_size": 8, "scale_resolution": 64, "max_slice_nums": 4}, {},
        {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "image_start_token": "<image>",
         "image_end_token": "</image>", "slice_start_token": "<slice>", "slice_end_token": "</slice>",
         "image_id_start_token": "<image_id>", "image_id_end_token": "</image_id>"},
    ),
    "janus": Small(
        ("<image_placeholder>", "<begin_of_image>", "<end_of_image>"), "<image_placeholder>",
        {"image_token_id": "<image_placeholder>"}, {"model_type": "llama"},
        {**{name: VISION[name] for name in VISION if name != "intermediate_size"}, "mlp_ratio": 2,
         "projection_dim": 64, "num_image_tokens": 64},
        {"vq_config": {"embed_dim": 8, "num_embeddings": 64, "base_channels": 32,
                       "channel_multiplier": [1, 1],
                       "num_res_blocks": 1, "num_patches": 8, "latent_channels": 32, "projection_dim": 64}},
        {"size": SQUARE, "min_size": 14}, {"num_image_tokens": 64},
        {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>",
         "eoi_token": "<end_of_image>"},
    ),
    "cohere2_vision": Small(
        ("<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_LINE_BREAK|>"), "<image>",
        {"image_token_id": "<image>"}, {"model_type": "cohere2", "sliding_window": 32},
        {**VISION, "model_type": "siglip_vision_model"},
        {"downsample_factor": 2, "alignment_intermediate_size": 64},
        {"size": SQUARE, "patch_size": 4}, {},
        {"image_token": "<image>", "boi_token": "<|START_OF_IMG|>", "eoi_token": "<|END_OF_IMG|>",
         "img_line_break_token": "<|IMG_LINE_BREAK|>"},
    ),
    "hunyuan_vl": Small(
        ("<image>", "<im_start>", "<im_end>", "<im_newline>"), "<im_start><image><im_end>",
        {"image_token_id": "<image>", "im_start_id": "<im_start>", "im_end_id": "<im_end>",
         "im_newline_id": "<im_newline>"},
        {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2, 2], "rope_theta": 10000.0}},
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "patch_size": 8, "out_hidden_size": 64, "text_hidden_size": 64, "max_image_size": 128},
        images={"patch_size": 8, "merge_size": 2, "temporal_patch_size": 1,
                "size": {"shortest_edge": 256, "longest_edge": 65536}},
        names={"image_token": "<image>", "image_start_token": "<im_start>", "image_end_token": "<im_end>"},
    ),
    "idefics2": Small(
        ("<image>", "<fake_token_around_image>", "<end_of_utterance>"), "<image>",
        {"image_token_id": "<image>"}, {"model_type": "mistral", "sliding_window": 32},
        top={"perceiver_config": {"resampler_n_latents": 8, "resampler_depth": 1, "resampler_n_heads": 4,
                                  "resampler_head_dim": 16, "num_key_value_heads": 2, "hidden_size": 64}},
        images={"size": {"shortest_edge": 32, "longest_edge": 64}, "do_image_splitting": False},
        processor={"image_seq_len": 8},
        names={"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"},
    ),
    "granite_docling": Small(
        (*IDEFICS_MARKS, *TILE_MARKS), "<image>", {"image_token_id": "<image>"}, {},
        {**VISION, "out_hidden_size": 64, "scale_factor": 4, "deepstack_visual_indexes": [0]},
        images={"size": SQUARE, "min_patches": 1, "max_patches": 4}, processor={"image_seq_len": 4},
    ),
    "ernie4_5_vl_moe": qwen(
        template="<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>",
        marks=("<|IMAGE_START|>", "<|IMAGE_END|>", "<|IMAGE_PLACEHOLDER|>", "<|VIDEO_START|>",
               "<|VIDEO_END|>", "<|VIDEO_PLACEHOLDER|>"),
        ids={"image_token_id": "<|IMAGE_PLACEHOLDER|>", "video_token_id": "<|VIDEO_PLACEHOLDER|>",
             "image_start_token_id": "<|IMAGE_START|>", "image_end_token_id": "<|IMAGE_END|>",
             "video_start_token_id": "<|VIDEO_START|>", "video_end_token_id": "<|VIDEO_END|>"},
        text={"rope_parameters": {**MROPE, "mrope_section": [3, 3, 2]}, "moe_num_experts": 4, "moe_k": 2,
              "moe_intermediate_size": [64, 32], "moe_num_shared_experts": 1,
              "mlp_layer_types": ["dense", "sparse"]},
        vision={"depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 128, "patch_size": 8,
                "spatial_merge_size": 2, "in_channels": 3, "temporal_merge_size": 2},
        names={"image_token": "<|IMAGE_PLACEHOLDER|>", "image_start_token": "<|IMAGE_START|>",
               "image_end_token": "<|IMAGE_END|>", "video_token": "<|VIDEO_PLACEHOLDER|>",
               "video_start_token": "<|VIDEO_START|>", "video_end_token": "<|VIDEO_END|>"},
        images={**QWEN_IMAGES, "temporal_patch_size": 1},
    ),
}  # fmt: skip
