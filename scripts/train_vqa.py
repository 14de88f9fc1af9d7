"""
Trains a model that answers questions about pictures.

    accelerate launch scripts/train_vqa.py --dataset_name $HF_ATTENTION_DATA/data/daquar --image_id_column image_id \\
        --question_pattern '\\s*\\b(in|on|of)?\\s*(the|this)?\\s*image\\d+' \\
        --backbone $HF_ATTENTION_DATA/models/mobilenet_v2_1.0_224 --image_size 224 --mirror \\
        --output_dir runs/daquar --mixed_precision bf16 --do_test

With a frozen backbone, the features of each image are computed once and stored, however many questions there are. At
the end `output_dir` holds the model that was best on validation, with its processor, and results.json.
"""

import logging

import torch
from transformers import (
    AutoConfig,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    BaseImageProcessor,
    HfArgumentParser,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from hf_attention import (
    AttentionVQAConfig,
    AttentionVQAForConditionalGeneration,
    AttentionVQAForQuestionAnswering,
    AttentionVQAProcessor,
)
from hf_attention.metrics.vqa_accuracy.vqa_accuracy import most_common
from hf_attention.training.arguments import (
    AnsweringFieldsArguments,
    AnsweringModelArguments,
    HubArguments,
    LoopArguments,
    QuestionDataArguments,
    TokenizerArguments,
    changed_options,
    refuse_options,
)
from hf_attention.training.data.images import make_image_processor, make_source
from hf_attention.training.data.reading import check_images, drop_bad_images, get_split, load_splits, read_image
from hf_attention.training.data.tokenization import load_tokenizer, train_tokenizer
from hf_attention.training.loop.run import Run
from hf_attention.training.loop.train import train
from hf_attention.training.tasks.answering import (
    AnsweringDataset,
    AnsweringEvaluator,
    AnsweringObjective,
    BlindSource,
    Questions,
    answer_labels,
    answer_vocabulary,
    answering_dataloader,
    image_ids,
    mirrored_text,
    read_questions,
    split_by_image,
)


logger = logging.getLogger(__name__)

# For some ten thousand questions, where it differs from the arguments' own defaults.
DEFAULTS = {
    "learning_rate": 1e-3,
    "warmup_steps": 100,
    "num_train_epochs": 20,
    "metric_for_best_model": "exact_match",
    "tokenizer_type": "word_punct",
    "min_count": 1,
}


def load_questions(arguments: QuestionDataArguments, max_eval_samples: int | None) -> dict[str, Questions]:
    """The questions of each split that the run needs, by `train`, `validation` and `test`."""
    splits = load_splits(arguments.dataset_name, arguments.dataset_config_name)
    parts = {"train": get_split(splits, arguments.train_split)}
    check_images(parts["train"], arguments.image_column)
    if arguments.validation_split is not None:
        parts["validation"] = get_split(splits, arguments.validation_split)
    else:
        ids = image_ids(parts["train"], arguments.image_column, arguments.image_id_column)
        rows = split_by_image(ids, arguments.validation_fraction, arguments.validation_seed)
        parts["train"], parts["validation"] = map(parts["train"].select, rows)
    if arguments.do_test:
        parts["test"] = get_split(splits, arguments.test_split)

    def read(name: str) -> Questions:
        dataset = parts[name]
        check_images(dataset, arguments.image_column)
        limit = arguments.max_train_samples if name == "train" else max_eval_samples
        if limit is not None:
            dataset = dataset.select(range(min(limit, len(dataset))))
        if arguments.skip_bad_images:
            dataset = drop_bad_images(dataset, arguments.image_column)
        return read_questions(
            dataset,
            arguments.image_column,
            arguments.question_column,
            arguments.answer_column,
            arguments.image_id_column,
            arguments.question_pattern,
        )

    return {name: read(name) for name in parts}


def make_tokenizer(
    arguments: TokenizerArguments, model_args: AnsweringModelArguments, questions: Questions
) -> PreTrainedTokenizerFast:
    """The ready tokenizer, that of the pretrained text encoder, or one trained on the questions, and the answers."""
    name = arguments.tokenizer_name or model_args.question_encoder
    if name is not None:
        argument = "tokenizer_name" if arguments.tokenizer_name is not None else "question_encoder"
        refuse_options(argument, changed_options(arguments, DEFAULTS) - {"tokenizer_name"})
        if model_args.head == "generating":
            return load_tokenizer(name)
        return load_tokenizer(name, ("pad_token",), closes_texts=False)
    texts = list(questions.texts)
    if model_args.head == "generating":
        texts += [most_common(given) for given in questions.answers]
    return train_tokenizer(
        texts, arguments.tokenizer_type, arguments.vocab_size, arguments.min_count, arguments.lowercase
    )


def make_model(
    model_args: AnsweringModelArguments,
    fields: AnsweringFieldsArguments,
    tokenizer: PreTrainedTokenizerFast,
    image_processor: BaseImageProcessor,
    answers: list[str],
) -> AttentionVQAForQuestionAnswering | AttentionVQAForConditionalGeneration:
    """A new model around a backbone."""
    generating = model_args.head == "generating"
    model_class = AttentionVQAForConditionalGeneration if generating else AttentionVQAForQuestionAnswering
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "unk", "bos", "eos")}
    settings = {
        "vocab_size": len(tokenizer),
        **{name: value for name, value in ids.items() if value is not None},
        "freeze_backbone": not model_args.train_backbone,
        "freeze_batch_norms": model_args.backbone is not None,
        **fields.config_kwargs(),
    }
    if generating:
        settings["decoder_start_token_id"] = tokenizer.bos_token_id
    else:
        settings |= {"id2label": dict(enumerate(answers)), "label2id": {a: i for i, a in enumerate(answers)}}

    def make(num_regions: int | None) -> PreTrainedModel:
        backbone_config = None
        if model_args.backbone_config is not None:
            backbone_config = AutoConfig.from_pretrained(model_args.backbone_config)
        config = AttentionVQAConfig(backbone_config=backbone_config, num_regions=num_regions, **settings)
        return model_class.from_parts_pretrained(model_args.backbone, model_args.question_encoder, config)

    model = make(None)
    if not model_args.learned_positions:
        return model
    blank = image_processor(images=torch.zeros(3, 64, 64, dtype=torch.uint8), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return make(model.eval().get_encoder().image_encoder.extract_regions(blank).shape[1])


def load_model(
    model_args: AnsweringModelArguments,
    fields: AnsweringFieldsArguments,
    tokenizer_args: TokenizerArguments,
    data_args: QuestionDataArguments,
) -> tuple[AttentionVQAForQuestionAnswering | AttentionVQAForConditionalGeneration, AttentionVQAProcessor]:
    """A trained model, with the head that it has, and its processor."""
    given = changed_options(fields) | changed_options(tokenizer_args, DEFAULTS)
    given |= changed_options(data_args) & {"image_size", "max_answers", "min_answer_count"}
    given |= changed_options(model_args) & {"head", "question_encoder", "learned_positions"}
    refuse_options("model_name_or_path", given)
    model = AutoModelForVisualQuestionAnswering.from_pretrained(
        model_args.model_name_or_path, freeze_backbone=not model_args.train_backbone, freeze_batch_norms=True
    )
    return model, AutoProcessor.from_pretrained(model_args.model_name_or_path)


def main() -> None:
    parser = HfArgumentParser(
        (
            LoopArguments,
            QuestionDataArguments,
            AnsweringModelArguments,
            TokenizerArguments,
            AnsweringFieldsArguments,
            HubArguments,
        ),
        description=__doc__,
    )
    parser.set_defaults(**DEFAULTS)
    arguments = parser.parse_args_into_dataclasses()
    loop_args, data_args, model_args, tokenizer_args, fields, hub_args = arguments
    if data_args.blind and model_args.train_backbone:
        raise ValueError("`blind` hides the images: there is nothing to train a backbone on.")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = Run(loop_args, hub_args)
    accelerator = run.accelerator

    questions = load_questions(data_args, loop_args.eval_samples(data_args.max_eval_samples))
    answers = answer_vocabulary(questions["train"].answers, data_args.max_answers, data_args.min_answer_count)
    if model_args.model_name_or_path is not None:
        model, processor = load_model(model_args, fields, tokenizer_args, data_args)
    else:
        tokenizer = run.tokenizer(lambda: make_tokenizer(tokenizer_args, model_args, questions["train"]))
        image_processor = make_image_processor(model_args.backbone, data_args.image_size)
        processor = AttentionVQAProcessor(image_processor=image_processor, tokenizer=tokenizer)
        model = make_model(model_args, fields, tokenizer, image_processor, answers)

    def source(name: str):
        images = make_source(
            questions[name].images,
            data_args.image_column,
            model.get_encoder().image_encoder,
            processor.image_processor,
            accelerator,
            mirror=data_args.mirror and name == "train",
            features_dir=data_args.features_dir,
        )
        return BlindSource(images) if data_args.blind else images

    def evaluator(name: str) -> AnsweringEvaluator:
        return AnsweringEvaluator(
            source(name),
            questions[name],
            processor.tokenizer,
            accelerator,
            data_args.eval_batch_size,
            data_args.max_length,
        )

    validation = evaluator("validation")
    generating = model.can_generate()
    train_source, asked, labels, mirrored_labels = source("train"), questions["train"], None, None
    unknown = {}
    if not generating:
        label2id = model.config.label2id
        unknown = {
            name: sum(not any(answer in label2id for answer in given) for given in part.answers)
            for name, part in questions.items()
        }
        for name, count in unknown.items():
            answers = [answer for given in questions[name].answers for answer in given]
            logger.info(
                "%s: %d of %d questions have no known answer, and %d of %d answers are none.",
                name,
                count,
                len(questions[name]),
                sum(answer not in label2id for answer in answers),
                len(answers),
            )
        labels = answer_labels(asked.answers, label2id, model.config.problem_type)
        known = [row for row, label in enumerate(labels) if label is not None]
        labels, asked = [labels[row] for row in known], asked.select(known)
        if data_args.mirror:
            mirrored = [[mirrored_text(answer) for answer in given] for given in asked.answers]
            mirrored_labels = answer_labels(mirrored, label2id, model.config.problem_type)
    dataset = AnsweringDataset(train_source, asked, labels, processor.tokenizer, data_args.max_length, mirrored_labels)
    dataloader = answering_dataloader(
        dataset,
        data_args.batch_size,
        data_args.questions_per_image,
        mirror=data_args.mirror,
        bucket_batches=data_args.bucket_batches,
        seed=loop_args.seed,
        num_workers=loop_args.dataloader_num_workers,
    )

    backbone_rate = model_args.backbone_learning_rate
    result = train(
        model,
        loop_args,
        dataloader,
        accelerator,
        evaluate=validation,
        save=run.saving(processor),
        learning_rates=(None if backbone_rate is None else {"model.encoder.image_encoder.backbone.": backbone_rate}),
        objective=None if generating else AnsweringObjective(),
    )

    model = run.best_model(result, type(model))
    results = {
        "best_epoch": result.state.best_epoch,
        "known_answers": None if generating else model.config.num_labels,
        "questions": {name: len(part) for name, part in questions.items()},
        "images": {name: len(part.images) for name, part in questions.items()},
        "without_known_answer": unknown,
        "validation": validation(model),
    }
    if data_args.do_test:
        results["test"] = evaluator("test")(model)
    example = None
    if not data_args.blind:
        shown = questions["validation"]
        image = read_image(shown.images, shown.image[0], data_args.image_column)
        example = {"image": image, "question": shown.texts[0]}
    run.finish(model, processor, "visual-question-answering", arguments, results, example)


if __name__ == "__main__":
    main()
