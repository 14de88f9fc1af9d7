"""
Trains an image captioner on pictures with captions.

    accelerate launch scripts/train_captioner.py --dataset_name $HF_ATTENTION_DATA/data/flickr8k \\
        --backbone $HF_ATTENTION_DATA/models/mobilenet_v2_1.0_224 --image_size 224 --mirror \\
        --output_dir runs/flickr8k --mixed_precision bf16 --tune_generation --do_test

With a frozen backbone, its features are computed once and stored. Data larger than the disk are read as they come with
`--streaming --max_steps 100000`; then a frozen backbone sees the training images anew each time. At the end
`output_dir` holds the model that was best on validation, with its processor and generation settings, and results.json.

Then, from that model, self-critical training (Rennie et al. 2017):

    accelerate launch scripts/train_captioner.py --dataset_name $HF_ATTENTION_DATA/data/flickr8k \\
        --model_name_or_path runs/flickr8k --mirror --output_dir runs/flickr8k-self-critical --mixed_precision bf16 \\
        --self_critical --learning_rate 5e-5 --lr_scheduler_type linear --warmup_steps 0 --weight_decay 0 \\
        --num_train_epochs 2 --validation_num_beams 3 --tune_generation --do_test
"""

from collections.abc import Callable

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import (
    AutoConfig,
    BaseImageProcessor,
    HfArgumentParser,
    PreTrainedTokenizerFast,
)

from hf_attention import (
    AttentionCaptionerConfig,
    AttentionCaptionerForConditionalGeneration,
    AttentionCaptionerProcessor,
)
from hf_attention.extras import require_extra
from hf_attention.metrics.captioning.captioning import METRIC_TOKENIZER, metric_words
from hf_attention.training.arguments import (
    CaptionDataArguments,
    CaptionDecoderArguments,
    CaptionModelArguments,
    HubArguments,
    LoopArguments,
    SelfCriticalArguments,
    StreamingArguments,
    TokenizerArguments,
    changed_options,
    refuse_options,
)
from hf_attention.training.data.images import make_image_processor, make_source
from hf_attention.training.data.reading import (
    check_images,
    drop_bad_images,
    get_split,
    load_splits,
    read_image,
    text_lists,
)
from hf_attention.training.data.streaming import first_rows, streamed_dataloader
from hf_attention.training.data.tokenization import load_tokenizer, train_tokenizer
from hf_attention.training.loop.evaluation import tune_generation
from hf_attention.training.loop.run import Run
from hf_attention.training.loop.train import train
from hf_attention.training.tasks.captioning import (
    CaptionEvaluator,
    PixelSource,
    RegionSource,
    caption_dataloader,
    caption_labels,
)
from hf_attention.training.tasks.cider import consensus_weights
from hf_attention.training.tasks.self_critical import SelfCriticalObjective, image_dataloader


# The workers and the buffer are for images, which wait for the disk, and of which a buffer holds fewer than of texts.
DEFAULTS = {"learning_rate": 2e-3, "dataloader_num_workers": 1, "shuffle_buffer": 1000, "tokenizer_rows": 10000}


def make_tokenizer(
    arguments: TokenizerArguments, read_captions: Callable[[], list[list[str]]]
) -> PreTrainedTokenizerFast:
    """The ready tokenizer, or one trained on captions."""
    if arguments.tokenizer_name is not None:
        refuse_options("tokenizer_name", changed_options(arguments, DEFAULTS) - {"tokenizer_name"})
        return load_tokenizer(arguments.tokenizer_name)
    texts = (text for texts in read_captions() for text in texts)
    return train_tokenizer(
        texts, arguments.tokenizer_type, arguments.vocab_size, arguments.min_count, arguments.lowercase
    )


def make_model(
    model_args: CaptionModelArguments,
    decoder_args: CaptionDecoderArguments,
    tokenizer: PreTrainedTokenizerFast,
    image_processor: BaseImageProcessor,
) -> AttentionCaptionerForConditionalGeneration:
    """The captioner, its decoder new."""

    def make(num_regions: int | None) -> AttentionCaptionerForConditionalGeneration:
        config = AttentionCaptionerConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            unk_token_id=tokenizer.unk_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.bos_token_id,
            freeze_backbone=not model_args.train_backbone,
            freeze_batch_norms=model_args.backbone is not None,
            num_regions=num_regions,
            **decoder_args.config_kwargs(),
        )
        if model_args.backbone is not None:
            return AttentionCaptionerForConditionalGeneration.from_backbone_pretrained(model_args.backbone, config)
        config.backbone_config = AutoConfig.from_pretrained(model_args.backbone_config)
        return AttentionCaptionerForConditionalGeneration(config)

    model = make(None)
    if not model_args.learned_positions:
        return model
    blank = image_processor(images=torch.zeros(3, 64, 64, dtype=torch.uint8), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return make(model.eval().get_encoder().extract_regions(blank).shape[1])


def load_captioner(
    model_args: CaptionModelArguments,
    decoder_args: CaptionDecoderArguments,
    tokenizer_args: TokenizerArguments,
    data_args: CaptionDataArguments,
) -> tuple[AttentionCaptionerForConditionalGeneration, AttentionCaptionerProcessor]:
    """A trained captioner with its processor."""
    given = changed_options(decoder_args) | changed_options(tokenizer_args, DEFAULTS)
    given |= changed_options(data_args) & {"image_size"} | changed_options(model_args) & {"learned_positions"}
    refuse_options("model_name_or_path", given)
    model = AttentionCaptionerForConditionalGeneration.from_pretrained(
        model_args.model_name_or_path, freeze_backbone=not model_args.train_backbone, freeze_batch_norms=True
    )
    return model, AttentionCaptionerProcessor.from_pretrained(model_args.model_name_or_path)


def main() -> None:
    parser = HfArgumentParser(
        (
            LoopArguments,
            CaptionDataArguments,
            StreamingArguments,
            CaptionModelArguments,
            TokenizerArguments,
            CaptionDecoderArguments,
            SelfCriticalArguments,
            HubArguments,
        ),
        description=__doc__,
    )
    parser.set_defaults(**DEFAULTS)
    arguments = parser.parse_args_into_dataclasses()
    loop_args, data_args, stream_args, model_args, tokenizer_args, decoder_args, critic_args, hub_args = arguments
    require_extra("metrics", "pycocoevalcap")
    stream_args.check(loop_args)
    if stream_args.streaming and critic_args.self_critical:
        raise ValueError("`self_critical` rewards by all training captions, which `streaming` does not keep.")
    if data_args.consensus_weights and (stream_args.streaming or critic_args.self_critical):
        raise ValueError("`consensus_weights` needs all captions at once: leave out `streaming` and `self_critical`.")
    if critic_args.self_critical and model_args.model_name_or_path is None:
        raise ValueError("`self_critical` goes on from a trained captioner: give `model_name_or_path`.")
    run = Run(loop_args, hub_args)
    accelerator = run.accelerator

    splits = load_splits(data_args.dataset_name, data_args.dataset_config_name, stream_args.streaming)

    def checked(dataset: Dataset) -> Dataset:
        check_images(dataset, data_args.image_column)
        return drop_bad_images(dataset, data_args.image_column) if data_args.skip_bad_images else dataset

    def captions_of(dataset: Dataset) -> list[list[str]]:
        return text_lists(dataset, data_args.captions_column, "captions_column")

    def evaluation_set(name: str) -> Dataset:
        dataset = get_split(splits, name, loop_args.eval_samples(data_args.max_eval_samples))
        return checked(first_rows(dataset) if stream_args.streaming else dataset)

    train_set = get_split(splits, data_args.train_split, data_args.max_train_samples)
    captions = None
    if not stream_args.streaming:
        train_set = checked(train_set)
        captions = captions_of(train_set)
    validation_set = evaluation_set(data_args.validation_split)
    # What would fail at the end of a long run fails here.
    test_set = evaluation_set(data_args.test_split) if data_args.do_test else None

    def read_captions() -> list[list[str]]:
        """What the tokenizer is trained on."""
        return captions_of(first_rows(train_set, stream_args.tokenizer_rows)) if captions is None else captions

    if model_args.model_name_or_path is not None:
        model, processor = load_captioner(model_args, decoder_args, tokenizer_args, data_args)
        image_processor, tokenizer = processor.image_processor, processor.tokenizer
    else:
        tokenizer = run.tokenizer(lambda: make_tokenizer(tokenizer_args, read_captions))
        image_processor = make_image_processor(model_args.backbone, data_args.image_size)
        processor = AttentionCaptionerProcessor(image_processor=image_processor, tokenizer=tokenizer)
        model = make_model(model_args, decoder_args, tokenizer, image_processor)
    if not model.config.freeze_backbone:
        model.get_encoder().backbone.to(memory_format=torch.channels_last)  # in which convolutions are faster
    model.generation_config.max_length = data_args.max_target_length + 1  # with the start token
    model.generation_config.num_beams = data_args.num_beams
    model.generation_config.length_penalty = data_args.length_penalty
    model.generation_config.no_repeat_ngram_size = data_args.no_repeat_ngram_size

    def source(dataset: Dataset, mirror: bool = False) -> PixelSource | RegionSource:
        return make_source(
            dataset,
            data_args.image_column,
            model.get_encoder(),
            image_processor,
            accelerator,
            mirror,
            data_args.features_dir,
        )

    def evaluator(dataset: Dataset) -> CaptionEvaluator:
        return CaptionEvaluator(
            source(dataset), captions_of(dataset), tokenizer, accelerator, data_args.eval_batch_size
        )

    validation = evaluator(validation_set)
    num_workers = loop_args.dataloader_num_workers
    objective = None

    def batches(images: PixelSource | RegionSource, captions: list[list[str]], num_workers: int = 0) -> DataLoader:
        labels = caption_labels(captions, tokenizer, data_args.max_target_length)
        weights = None
        if data_args.consensus_weights:
            weights = consensus_weights([[metric_words(text) for text in texts] for texts in captions])
        return caption_dataloader(images, labels, data_args, loop_args.seed, num_workers, weights)

    def streamed_batches(rows: Dataset) -> DataLoader:
        rows = checked(rows)
        return batches(PixelSource(rows, data_args.image_column, image_processor), captions_of(rows))

    if stream_args.streaming:
        dataloader = streamed_dataloader(
            train_set, streamed_batches, accelerator, stream_args, loop_args.seed, num_workers
        )
    elif critic_args.self_critical:
        objective = SelfCriticalObjective(captions, tokenizer, accelerator, critic_args)
        train_source = source(train_set, mirror=data_args.mirror)
        dataloader = image_dataloader(train_source, data_args, loop_args.seed, num_workers)
    else:
        dataloader = batches(source(train_set, mirror=data_args.mirror), captions, num_workers)

    result = train(
        model,
        loop_args,
        dataloader,
        accelerator,
        evaluate=lambda model: validation(model, num_beams=data_args.validation_num_beams),
        save=run.saving(processor),
        learning_rates=(
            {"model.encoder.backbone.": model_args.backbone_learning_rate}
            if model_args.backbone_learning_rate is not None
            else None
        ),
        objective=objective,
    )

    model = run.best_model(result, AttentionCaptionerForConditionalGeneration)
    settings = {"num_beams": data_args.num_beams, "length_penalty": data_args.length_penalty}
    if data_args.tune_generation:
        settings, scores = tune_generation(
            model, validation, data_args.tuning_metric or loop_args.metric_for_best_model
        )
        model.generation_config.update(**settings)
    else:
        scores = validation(model)
    if data_args.no_repeat_ngram_size > 0:
        settings = {**settings, "no_repeat_ngram_size": data_args.no_repeat_ngram_size}
    results = {
        "metric_tokenizer": METRIC_TOKENIZER,
        "best_epoch": result.state.best_epoch,
        "vocab_size": len(tokenizer),
        "generation": settings,
        "validation": scores,
    }
    if test_set is not None:
        results["test"] = evaluator(test_set)(model)
    example = read_image(validation_set, 0, data_args.image_column)
    run.finish(model, processor, "image-to-text", arguments, results, example)


if __name__ == "__main__":
    main()
