"""
Tiny models of every family that makes text from an image and that transformers 4.57 and 5 both build without
torchvision, made in code by the means of `tiny_models`.

`LEFT_OUT` names the other families of 4.57's `MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES`, and why.
"""

from functools import partial

from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipConfig,
    BlipForConditionalGeneration,
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    GitConfig,
    GitForCausalLM,
    GPT2Config,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    Kosmos2_5Config,
    Kosmos2_5ForConditionalGeneration,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MllamaConfig,
    MllamaForConditionalGeneration,
    Ovis2Config,
    Ovis2ForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Pix2StructConfig,
    Pix2StructForConditionalGeneration,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
    TrOCRConfig,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

from common.tiny_models import (
    END,
    IDS,
    IMAGE_SIZE,
    IMAGE_TOKENS,
    START,
    TOKENS,
    VISION,
    TinyModel,
    square_processor,
)


IMAGE = len(TOKENS)  # the token that stands for a piece of the picture
VOCABULARY = IMAGE + len(IMAGE_TOKENS)
PATCHES = (IMAGE_SIZE // VISION["patch_size"]) ** 2
QUERIES = 4  # of the models whose queries read the picture

BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "encoder_hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    **IDS,
}
LLAMA = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    **IDS,
}
OPT = {
    "model_type": "opt",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    **IDS,
}
T5 = {
    "model_type": "t5",
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": START,
    **IDS,
}
KOSMOS = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 128,
    "embed_dim": 32,
    "layers": 2,
    "ffn_dim": 48,
    "attention_heads": 4,
    **IDS,
}
CLIP = {"model_type": "clip_vision_model", **VISION}
SIGLIP = {"model_type": "siglip_vision_model", **VISION}


def make_blip() -> PreTrainedModel:
    text = {**BERT, "sep_token_id": END}
    return BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=VISION, projection_dim=32))


def make_git() -> PreTrainedModel:
    text = {name: value for name, value in BERT.items() if name != "encoder_hidden_size"}
    return GitForCausalLM(GitConfig(vision_config=VISION, **text))


def make_vision_encoder_decoder(decoder: PretrainedConfig) -> PreTrainedModel:
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**VISION), decoder)
    config.tie_word_embeddings = False
    config.decoder_start_token_id = START
    config.pad_token_id = IDS["pad_token_id"]
    model = VisionEncoderDecoderModel(config)
    model.generation_config.update(decoder_start_token_id=START, **IDS)
    return model


def make_vit_gpt2() -> PreTrainedModel:
    sizes = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
    cross = {"is_decoder": True, "add_cross_attention": True, "tie_word_embeddings": False}
    return make_vision_encoder_decoder(GPT2Config(vocab_size=VOCABULARY, **sizes, **cross, **IDS))


def make_trocr() -> PreTrainedModel:
    sizes = {"d_model": 32, "decoder_ffn_dim": 48, "decoder_layers": 2, "decoder_attention_heads": 4}
    decoder = TrOCRConfig(
        vocab_size=VOCABULARY, max_position_embeddings=64, cross_attention_hidden_size=32, **sizes, **IDS
    )
    return make_vision_encoder_decoder(decoder)


def make_pix2struct() -> PreTrainedModel:
    text = {**T5, "hidden_size": 32}
    del text["model_type"], text["d_model"]
    vision = {
        "hidden_size": 32,
        "patch_embed_hidden_size": 3 * 8 * 8,
        "d_kv": 8,
        "d_ff": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "seq_len": 64,
    }
    model = Pix2StructForConditionalGeneration(Pix2StructConfig(text_config=text, vision_config=vision))
    model.generation_config.update(decoder_start_token_id=START, **IDS)
    return model


def make_querying(
    model_class: type[PreTrainedModel], config_class: type[PretrainedConfig], text: dict
) -> PreTrainedModel:
    """A model whose queries read the picture for a language model: BLIP-2 and its kin."""
    config = config_class(
        vision_config=VISION, qformer_config=BERT, text_config=text, num_query_tokens=QUERIES, image_token_index=IMAGE
    )
    return model_class(config)


def make_kosmos2() -> PreTrainedModel:
    return Kosmos2ForConditionalGeneration(
        Kosmos2Config(text_config=KOSMOS, vision_config=VISION, latent_query_num=QUERIES)
    )


def make_kosmos2_5() -> PreTrainedModel:
    vision = {
        "hidden_size": 32,
        "patch_embed_hidden_size": 3 * 8 * 8,
        "head_dim": 8,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_num_patches": 64,
    }
    return Kosmos2_5ForConditionalGeneration(
        Kosmos2_5Config(text_config=KOSMOS, vision_config=vision, latent_query_num=QUERIES)
    )


def make_llava(
    model_class: type[PreTrainedModel], config_class: type[PretrainedConfig], vision: dict = CLIP, **kwargs
) -> PreTrainedModel:
    """A model that lays the picture's patches among the words of a language model."""
    return model_class(config_class(vision_config=vision, text_config=LLAMA, image_token_index=IMAGE, **kwargs))


def make_paligemma() -> PreTrainedModel:
    text = {**LLAMA, "model_type": "gemma", "head_dim": 8}
    vision = {**SIGLIP, "projection_dim": 32}
    config = PaliGemmaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, projection_dim=32, vocab_size=VOCABULARY
    )
    return PaliGemmaForConditionalGeneration(config)


def make_chameleon() -> PreTrainedModel:
    tokens = {token: number for number, token in enumerate(TOKENS)} | {"<image>": IMAGE}
    pictures = {f"IMGIMG{letter}Z": VOCABULARY + number for number, letter in enumerate("ABCDEFGH")}
    codes = {
        "embed_dim": 8,
        "num_embeddings": 8,
        "latent_channels": 8,
        "resolution": IMAGE_SIZE,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 1, 1],
        "num_res_blocks": 1,
    }
    text = {name: value for name, value in LLAMA.items() if name not in ("model_type", "vocab_size")}
    config = ChameleonConfig(vocab_size=VOCABULARY + 8, vocabulary_map=tokens | pictures, vq_config=codes, **text)
    return ChameleonForConditionalGeneration(config)


def make_idefics2() -> PreTrainedModel:
    perceiver = {
        "hidden_size": 32,
        "resampler_n_latents": QUERIES,
        "resampler_depth": 1,
        "resampler_n_heads": 4,
        "resampler_head_dim": 8,
        "num_key_value_heads": 2,
    }
    text = {**LLAMA, "model_type": "mistral"}
    # In one piece: 4.57 placed several one too far up and left.
    vision = {**VISION, "patch_size": IMAGE_SIZE}
    return Idefics2ForConditionalGeneration(
        Idefics2Config(vision_config=vision, perceiver_config=perceiver, text_config=text, image_token_id=IMAGE)
    )


def make_idefics3() -> PreTrainedModel:
    return Idefics3ForConditionalGeneration(
        Idefics3Config(vision_config=VISION, text_config=LLAMA, image_token_id=IMAGE, scale_factor=2)
    )


def make_mllama() -> PreTrainedModel:
    vision = {
        **VISION,
        "num_global_layers": 1,
        "attention_heads": 4,
        "vision_output_dim": 96,
        "max_num_tiles": 1,
        "intermediate_layers_indices": [0, 1],
        "supported_aspect_ratios": [[1, 1]],
    }
    text = {**LLAMA, "cross_attention_layers": [1], "rope_scaling": {"rope_type": "default"}}
    del text["model_type"]
    return MllamaForConditionalGeneration(
        MllamaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE)
    )


def make_ovis2() -> PreTrainedModel:
    vision = {**VISION, "vocab_size": 32, "num_visual_indicator_tokens": 2}
    text = {**LLAMA, "model_type": "qwen2", "vocab_size": VOCABULARY}
    return Ovis2ForConditionalGeneration(
        Ovis2Config(
            vision_config=vision,
            text_config=text,
            image_token_id=IMAGE,
            visual_indicator_token_ids=[IMAGE + 1, IMAGE + 2],
            vocab_size=VOCABULARY,
            hidden_size=32,
            tie_word_embeddings=False,
        )
    )


def make_qwen(
    model_class: type[PreTrainedModel], config_class: type[PretrainedConfig], vision: dict, **text
) -> PreTrainedModel:
    rope = {"type": "default", "rope_type": "default", "mrope_section": [1, 1, 2]}
    text = {**LLAMA, "rope_scaling": rope, "rope_theta": 10000.0, **text}
    del text["model_type"]
    config = config_class(
        text_config=text,
        vision_config={"patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2, **vision},
        image_token_id=IMAGE,
        video_token_id=IMAGE + 1,
        vision_start_token_id=IMAGE + 2,
        vision_end_token_id=IMAGE + 3,
    )
    return model_class(config)


QWEN2_VISION = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 4}
QWEN25_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "out_hidden_size": 32,
    "fullatt_block_indexes": [1],
    "window_size": 32,
}
QWEN3_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0],
}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16, "decoder_sparse_step": 1}

CLIP_PROCESSOR = square_processor("CLIPImageProcessor")
BLIP_PROCESSOR = square_processor("BlipImageProcessor")
QWEN_PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 8,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "min_pixels": 1024,
    "max_pixels": 1024,
}
PIX2STRUCT_PROCESSOR = {
    "image_processor_type": "Pix2StructImageProcessor",
    "do_normalize": True,
    "max_patches": 24,
    "patch_size": {"height": 8, "width": 8},
    "is_vqa": False,
}
PINPOINTS = [[IMAGE_SIZE, 2 * IMAGE_SIZE], [2 * IMAGE_SIZE, IMAGE_SIZE]]
CROPPED = {"size": {"shortest_edge": IMAGE_SIZE}, "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE}}
LLAVA_PROCESSOR = {
    "processor_class": "LlavaProcessor",
    "patch_size": VISION["patch_size"],
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
}
BLIP2_PROCESSOR = {"processor_class": "Blip2Processor", "num_query_tokens": QUERIES}
make_blip2 = partial(make_querying, Blip2ForConditionalGeneration, Blip2Config)
make_qwen2 = partial(make_qwen, Qwen2VLForConditionalGeneration, Qwen2VLConfig, QWEN2_VISION)
make_qwen25 = partial(make_qwen, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, QWEN25_VISION)
make_qwen3 = partial(make_qwen, Qwen3VLForConditionalGeneration, Qwen3VLConfig, QWEN3_VISION, head_dim=8)
make_qwen3_moe = partial(
    make_qwen, Qwen3VLMoeForConditionalGeneration, Qwen3VLMoeConfig, QWEN3_VISION, head_dim=8, **EXPERTS
)

MODELS: dict[str, TinyModel] = {
    "blip": TinyModel(make_blip, BLIP_PROCESSOR, {"processor_class": "BlipProcessor"}),
    "blip-2": TinyModel(partial(make_blip2, OPT), BLIP_PROCESSOR, BLIP2_PROCESSOR, QUERIES),
    "blip-2 with t5": TinyModel(partial(make_blip2, T5), BLIP_PROCESSOR, BLIP2_PROCESSOR, QUERIES),
    "git": TinyModel(make_git, CLIP_PROCESSOR, {"processor_class": "GitProcessor"}),
    "vision-encoder-decoder": TinyModel(make_vit_gpt2, square_processor("ViTImageProcessor")),
    "trocr": TinyModel(make_trocr, square_processor("ViTImageProcessor"), {"processor_class": "TrOCRProcessor"}),
    "pix2struct": TinyModel(make_pix2struct, PIX2STRUCT_PROCESSOR, {"processor_class": "Pix2StructProcessor"}),
    "instructblip": TinyModel(
        partial(make_querying, InstructBlipForConditionalGeneration, InstructBlipConfig, OPT), BLIP_PROCESSOR
    ),
    "kosmos-2": TinyModel(make_kosmos2, CLIP_PROCESSOR, image_length=QUERIES),
    "kosmos-2.5": TinyModel(
        make_kosmos2_5,
        {**PIX2STRUCT_PROCESSOR, "image_processor_type": "Kosmos2_5ImageProcessor"},
        image_length=QUERIES,
    ),
    "llava": TinyModel(
        partial(make_llava, LlavaForConditionalGeneration, LlavaConfig), CLIP_PROCESSOR, LLAVA_PROCESSOR, PATCHES
    ),
    "llava_next": TinyModel(
        partial(make_llava, LlavaNextForConditionalGeneration, LlavaNextConfig, image_grid_pinpoints=PINPOINTS),
        {"image_processor_type": "LlavaNextImageProcessor", "image_grid_pinpoints": PINPOINTS, **CROPPED},
        {**LLAVA_PROCESSOR, "processor_class": "LlavaNextProcessor"},
        2 * PATCHES + 4,  # of a square picture: the whole, the one of two tiles that it fills, a mark a row
    ),
    "llava_onevision": TinyModel(
        partial(
            make_llava,
            LlavaOnevisionForConditionalGeneration,
            LlavaOnevisionConfig,
            vision=SIGLIP,
            image_grid_pinpoints=PINPOINTS,
        ),
        {**square_processor("LlavaOnevisionImageProcessor"), "image_grid_pinpoints": PINPOINTS},
        image_length=2 * PATCHES + 4,
    ),
    "vipllava": TinyModel(
        partial(make_llava, VipLlavaForConditionalGeneration, VipLlavaConfig, vision_feature_layers=[-1, -2]),
        CLIP_PROCESSOR,
        {**LLAVA_PROCESSOR, "vision_feature_select_strategy": "full", "num_additional_image_tokens": 0},
        PATCHES,
    ),
    "video_llava": TinyModel(
        partial(make_llava, VideoLlavaForConditionalGeneration, VideoLlavaConfig),
        square_processor("VideoLlavaImageProcessor"),
        image_length=PATCHES,
    ),
    "mistral3": TinyModel(
        partial(
            make_llava,
            Mistral3ForConditionalGeneration,
            Mistral3Config,
            vision={**VISION, "model_type": "pixtral", "head_dim": 8},
            tie_word_embeddings=False,
        ),
        {
            "image_processor_type": "PixtralImageProcessor",
            "size": {"longest_edge": IMAGE_SIZE},
            "patch_size": {"height": 8, "width": 8},
        },
        image_length=4,
    ),
    "paligemma": TinyModel(
        make_paligemma,
        {**square_processor("SiglipImageProcessor"), "image_seq_length": PATCHES},
        {"processor_class": "PaliGemmaProcessor"},
        PATCHES,
    ),
    "chameleon": TinyModel(
        make_chameleon,
        {"image_processor_type": "ChameleonImageProcessor", **CROPPED},
        {"processor_class": "ChameleonProcessor", "image_seq_length": PATCHES},
        PATCHES,
    ),
    "idefics2": TinyModel(
        make_idefics2,
        {
            "image_processor_type": "Idefics2ImageProcessor",
            "size": {"shortest_edge": IMAGE_SIZE, "longest_edge": IMAGE_SIZE},
            "do_image_splitting": False,
        },
        {"processor_class": "Idefics2Processor", "image_seq_len": QUERIES},
        QUERIES,
    ),
    "idefics3": TinyModel(
        make_idefics3,
        {
            "image_processor_type": "Idefics3ImageProcessor",
            "size": {"longest_edge": IMAGE_SIZE},
            "max_image_size": {"longest_edge": IMAGE_SIZE},
            "do_image_splitting": False,
        },
        {"processor_class": "Idefics3Processor", "image_seq_len": PATCHES // 4},
        PATCHES // 4,
    ),
    "mllama": TinyModel(
        make_mllama,
        {
            "image_processor_type": "MllamaImageProcessor",
            "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            "max_image_tiles": 1,
        },
        image_length=1,
    ),
    "ovis2": TinyModel(
        make_ovis2,
        {"image_processor_type": "Ovis2ImageProcessor", "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE}},
        image_length=PATCHES,
    ),
    "qwen2_vl": TinyModel(make_qwen2, QWEN_PROCESSOR, image_length=4),
    "qwen2_5_vl": TinyModel(make_qwen25, QWEN_PROCESSOR, image_length=4),
    "qwen3_vl": TinyModel(make_qwen3, QWEN_PROCESSOR, image_length=4),
    "qwen3_vl_moe": TinyModel(make_qwen3_moe, QWEN_PROCESSOR, image_length=4),
}
# Those that write without a prompt.
UNPROMPTED = ("blip", "blip-2", "blip-2 with t5", "git", "vision-encoder-decoder", "trocr", "pix2struct")
LEFT_OUT = {
    "instructblipvideo": "its image processor needs torchvision under transformers 5",
    "llava_next_video": "its image processor needs torchvision under transformers 5",
}
