"""The `visual-question-answering` task: the answer to a question about a picture."""

import inspect
import os
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from transformers import (
    AutoModelForVisualQuestionAnswering,
    BaseImageProcessor,
    BatchFeature,
    GenerationConfig,
    GenerationMixin,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.pipelines.pt_utils import KeyDataset
from transformers.utils import logging

from .alignment import attention_maps
from .pictures import check_picture, layout_of, read_image
from .pipeline_generating import CheckedDataset, GeneratingPipeline, Stream, as_list, checked
from .pipeline_image_to_text import find_parts, with_image_places
from .positions import READ_WHOLE, question_positions
from .regions import ImageRegions


logger = logging.get_logger(__name__)

FORMS = (
    "an image and a question, one image and a list of questions, a list of images and one question, two lists (every "
    'question about every image), or {"image": ..., "question": ...} and lists, generators and data sets of such'
)


class VisualQuestionAnsweringPipeline(GeneratingPipeline):
    """
    Answers questions about images, with a model that scores known answers or one that generates them.

    It takes what the task of this name took in transformers 4.57, and answers the same. With the models of this
    package it also says where the question made the model look: `output_attentions=True`.

    Unless the checkpoint's generation configuration says otherwise, at most 256 new tokens are generated.

    Args:
        model (`PreTrainedModel`):
            A model that takes images and questions.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Tokenizes questions; the processor's where none is given.
        image_processor (`BaseImageProcessor`, *optional*):
            Turns images into the model's inputs; the processor's where none is given.
        processor (`ProcessorMixin`, *optional*):
            Both in one.
        kwargs:
            What [`~transformers.Pipeline`] takes (`device`, `batch_size`, ...), and defaults for the arguments of a
            call.

    Raises:
        ValueError: There is no tokenizer, or no image processor.

    Example:

    ```python
    >>> import hf_attention
    >>> from transformers import pipeline

    >>> vqa = pipeline("visual-question-answering", model="path-or-hub-id")
    >>> vqa(image="room.jpg", question="what color is the chair?", top_k=1)
    [{'score': 0.81, 'answer': 'red'}]
    ```
    """

    task_name = "visual-question-answering"
    task_aliases = ("vqa",)
    modality = "multimodal"
    auto_class = AutoModelForVisualQuestionAnswering
    _load_processor = None
    _load_image_processor = None
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = None
    answer_params: ClassVar[tuple[str, ...]] = (*GeneratingPipeline.answer_params, "top_k")

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        image_processor: BaseImageProcessor | None = None,
        processor: ProcessorMixin | None = None,
        **kwargs: Any,
    ) -> None:
        tokenizer, image_processor = find_parts(
            "visual-question-answering", model, tokenizer, image_processor, processor
        )
        super().__init__(
            model=model, tokenizer=tokenizer, image_processor=image_processor, processor=processor, **kwargs
        )
        self._image_regions = ImageRegions.of(self.model.config, self.image_processor)

    def _known_arguments(self) -> set[str]:
        """Those of `generate()`. All others are taken, too, as in 4.57."""
        if not self.model.can_generate():
            return set()
        functions = (GenerationMixin.generate, self.model.generate, self.model.forward)
        names = {name for function in functions for name in inspect.signature(function).parameters}
        return names | vars(GenerationConfig()).keys()

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        padding: bool | str | None = None,
        truncation: bool | str | None = None,
        timeout: float | None = None,
        output_attentions: bool | None = None,
        generate_kwargs: dict[str, Any] | None = None,
        last_picture: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess_params = {"padding": padding, "truncation": truncation, "timeout": timeout}
        forward_params = self.generation_params(generate_kwargs, **arguments)
        for name in sorted(forward_params.keys() - self._known_arguments()):
            logger.warning(
                f"`{name}={forward_params.pop(name)!r}` has no effect: {type(self.model).__name__} does not know it."
            )
        if last_picture is not None:
            forward_params["last_picture"] = last_picture
        if output_attentions is not None:
            forward_params["return_maps"] = output_attentions
            preprocess_params["return_regions"] = output_attentions
        postprocess_params = {}
        if top_k is not None and not self.model.can_generate():
            if not isinstance(top_k, Integral) or top_k < 0:
                raise ValueError(f"`top_k` must be a whole number, at least 0, got {top_k!r}.")
            postprocess_params["top_k"] = top_k
        return (
            {name: value for name, value in preprocess_params.items() if value is not None},
            forward_params,
            postprocess_params,
        )

    def __call__(self, image: Any = None, question: str | list[str] | None = None, **kwargs: Any) -> Any:
        """
        Answers questions.

        Args:
            image (`str`, `os.PathLike`, `PIL.Image.Image`, or a list or `KeyDataset` of them):
                A path, an `http(s)` address, an image in base64 or a PIL image. A `dict` with the keys `image` and
                `question`, or a list, generator or data set of such, needs no `question` beside it.
            question (`str` or `list[str]`, *optional*):
                What is asked: one question about every image, or several, each about every image.
            top_k (`int`, *optional*, defaults to 5):
                How many of the known answers to return; at most all of them. A generating model returns one.
            padding, truncation (*optional*):
                Go to the tokenizer.
            timeout (`float`, *optional*):
                Seconds to wait for an image from the web. By default for ever.
            output_attentions (`bool`, *optional*, defaults to `False`):
                Whether each answer tells where the model looked.
            generate_kwargs (`dict`, *optional*):
                Goes to a generating model's `generate()`, as do arguments that are not named here (`max_new_tokens`,
                `num_beams`, ...).
            batch_size (`int`, *optional*, defaults to 1):
                How many questions go through the model at once.

        Returns:
            For one question about one image, a list with a `dict` for each answer, the best first; for several, a list
            (for a generator or a data set, an iterator) of such lists, question by question. The keys:

            - **answer** (`str`): the answer.
            - **score** (`float`): of known answers, a softmax where the model's `problem_type` is
              `"single_label_classification"`, else a sigmoid. Of a generated answer, with `output_scores=True`, what
              beam search ranks it by, or else the sum of the log-probabilities of its tokens.
            - **attentions** (`torch.Tensor`, with `output_attentions=True`): where a model with known answers looked,
              of shape `(glimpses, regions)`; a generating one, of shape `(generated tokens, regions)`.
            - **word_attentions** (`torch.Tensor` of shape `(generated tokens, words)`, likewise, of a generating
              model): where it looked among the question's words; a row sums to 1 with that of `attentions`.
            - **tokens**, **words** (`list[str]`, likewise): the tokens that rows and columns belong to.
            - **regions**, **grid** (with `output_attentions=True`): where the regions lie in the image, as
              [`ImageToTextPipeline`] tells.

        Raises:
            TypeError: An image is no image and names none, or a question is no string.
            ValueError: Image or question is missing, or an image cannot be read. Of several, the message tells the
                place.
        """
        if image is None:
            raise ValueError("visual-question-answering got no `image`.")
        image, question = as_list(image), as_list(question)
        one_image = isinstance(image, str | os.PathLike | Image.Image)
        images = [image] if one_image else image
        if question is None:
            if one_image:
                raise ValueError("visual-question-answering got no `question`.")
            inputs = image
        else:
            many = isinstance(images, KeyDataset) or (
                isinstance(images, list) and all(isinstance(each, str | os.PathLike | Image.Image) for each in images)
            )
            questions = [question] if isinstance(question, str) else question
            if not many or not isinstance(questions, list) or not all(isinstance(each, str) for each in questions):
                raise TypeError(
                    f"visual-question-answering takes {FORMS}; got {_describe(image)} and {_describe(question)}."
                )
            # Picture by picture, so that each is looked at once.
            inputs = [{"image": each, "question": asked} for each in images for asked in questions]
            if one_image and isinstance(question, str):
                inputs = inputs[0]
            elif inputs:
                answers = self(inputs, **kwargs)
                return [answer for number in range(len(questions)) for answer in answers[number :: len(questions)]]
        if isinstance(inputs, list):
            # What is answered at once may share what its batches found; the weights are the same.
            return super().__call__(list(checked(inputs, _check)), last_picture={}, **kwargs) if inputs else []
        if isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset):
            return super().__call__(CheckedDataset(inputs, _check), **kwargs)
        if isinstance(inputs, Iterable) and not isinstance(inputs, Mapping):
            return super().__call__(Stream(checked(inputs, _check)), **kwargs)
        _check(inputs)
        return super().__call__(inputs, **kwargs)

    def preprocess(
        self,
        inputs: Mapping[str, Any],
        padding: bool | str = False,
        truncation: bool | str = False,
        timeout: float | None = None,
        return_regions: bool = False,
    ) -> BatchFeature:
        image = read_image(inputs["image"], timeout)
        limit = question_positions(self.model.config)
        options: dict[str, Any] = {"padding": padding, "truncation": truncation, "verbose": False}
        if limit is not None and self.tokenizer.model_max_length > limit and truncation in (True, "longest_first"):
            options["max_length"] = limit
        question = self.tokenizer(inputs["question"], return_tensors="pt", **options)
        length = question["input_ids"].shape[1]
        if limit is not None and length > limit:
            raise ValueError(
                f"A question has {length} tokens, and the model reads at most {limit}: `truncation=True` cuts it."
            )
        if length > self.tokenizer.model_max_length:
            logger.warning_once(READ_WHOLE.format("A question", self.tokenizer.model_max_length))
        if "token_type_ids" not in inspect.signature(self.model.forward).parameters:
            question.pop("token_type_ids", None)  # not every model of BERT's words has them
        features = self.image_processor(images=image, return_tensors="pt", **layout_of(image))
        if self.model.config.model_type == "blip-2":
            question = with_image_places(question, self.model.config)
        inputs = BatchFeature({**question, **features}).to(self.dtype)
        # What has a size of its own: a list lets it into a batch as it is.
        unpadded = ["pixel_values", "pixel_mask"] if "pixel_mask" in inputs else []
        if self._goes_on_from_the_question():
            unpadded += ["input_ids", "attention_mask"]
        inputs |= {name: [inputs[name]] for name in unpadded}
        if return_regions and self._image_regions is not None:
            regions, grid = self._image_regions(image)
            inputs |= {"regions": regions.unsqueeze(0), "grid": torch.tensor([grid])}
        return inputs

    def _goes_on_from_the_question(self) -> bool:
        """Whether the answer is written behind the question, so that in a batch all must end together."""
        config = self.model.config
        return config.model_type == "blip-2" and not config.text_config.is_encoder_decoder

    def _forward(
        self,
        model_inputs: dict[str, torch.Tensor],
        return_maps: bool = False,
        last_picture: dict[str, Any] | None = None,
        **generate_kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        if return_maps and self.model.config.model_type != "attention_vqa":
            raise ValueError(
                f"`output_attentions=True`: a {type(self.model).__name__} does not say where in the image it looked."
            )
        model_inputs = dict(model_inputs)
        places = {name: model_inputs.pop(name) for name in ("regions", "grid") if name in model_inputs}
        for name, items in model_inputs.items():
            if isinstance(items, list):
                is_text = name in ("input_ids", "attention_mask")
                value = self.tokenizer.pad_token_id if name == "input_ids" else 0
                model_inputs[name] = _padded(items, value or 0, before=is_text)
        # Parts that lie on several devices take their inputs there only when they are called.
        if self.model.config.model_type == "attention_vqa" and not hasattr(self.model, "hf_device_map"):
            model_inputs |= self._look_once(
                model_inputs.pop("pixel_values"), {} if last_picture is None else last_picture
            )
        if not self.model.can_generate():
            kwargs = {"output_attentions": True} if return_maps else {}
            outputs = self.model(**model_inputs, **kwargs)
            if not outputs.logits.isfinite().all():
                raise ValueError(
                    "The scores of the answers are not finite: the image, its features or the model's weights hold "
                    "NaN or infinite values."
                )
            answers = {"logits": outputs.logits, **places}
            if return_maps and not outputs.attentions:
                raise ValueError(
                    "`output_attentions=True`: the model does not attend, its configuration says "
                    "`attention_form=None`."
                )
            if return_maps:
                answers["maps"] = torch.stack(outputs.attentions, 1)
            return answers
        if return_maps:
            generate_kwargs |= {"return_dict_in_generate": True, "output_attentions": True}
        generate_kwargs = self.prepare_generate_kwargs(generate_kwargs)
        outputs = self.model.generate(**model_inputs, **generate_kwargs)
        questions = len(model_inputs["input_ids"])
        answers = {**self.sequences_of(outputs, questions, generate_kwargs), **places}
        if return_maps:
            answers["maps"] = attention_maps(outputs).unflatten(0, (questions, -1))
            answers |= {name: model_inputs[name] for name in ("input_ids", "attention_mask")}
        return answers

    def _look_once(self, pixel_values: torch.Tensor, last_picture: dict[str, Any]) -> dict[str, torch.Tensor]:
        """
        The regions of the pictures of a batch. One that several questions in a row are about is looked at once; the
        last one's are kept in `last_picture` for the batch that follows.
        """
        new, places, before = [], [], last_picture.get("pixels")
        for number, pixels in enumerate(pixel_values):
            if before is None or not torch.equal(pixels, before):
                new.append(number)
            places.append(len(new) - 1)  # -1: still the picture of the batch before
            before = pixels
        parts = [self.model.get_encoder("image").as_regions(pixel_values[new])] if new else []
        if places[0] == -1:
            parts.append(last_picture["regions"])
        found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        regions = {name: values[places] for name, values in found.items()}
        last_picture.update(pixels=before, regions={name: values[-1:] for name, values in regions.items()})
        return regions

    def postprocess(self, model_outputs: dict[str, torch.Tensor], top_k: int = 5) -> list[dict[str, Any]]:
        if "sequences" in model_outputs:
            return self._generated_answers(model_outputs)
        config = self.model.config
        logits = model_outputs["logits"][0].float()
        is_single = config.problem_type == "single_label_classification"
        scores = logits.softmax(-1) if is_single else logits.sigmoid()
        best = scores.topk(min(top_k, config.num_labels))
        records = [
            {"score": score, "answer": config.id2label[number]}
            for score, number in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        if "maps" in model_outputs:
            for record in records:
                record["attentions"] = model_outputs["maps"][0]
                record |= _places(model_outputs)
        return records

    def _generated_answers(self, model_outputs: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        [sequences] = model_outputs["sequences"]
        records: list[dict[str, Any]] = [
            {"answer": self.tokenizer.decode(sequence, skip_special_tokens=True).strip()} for sequence in sequences
        ]
        if "scores" in model_outputs:
            for record, score in zip(records, model_outputs["scores"].flatten().tolist(), strict=True):
                record["score"] = score
        if "maps" in model_outputs:
            is_word = model_outputs["attention_mask"][0].bool()
            words = self.tokenizer.convert_ids_to_tokens(model_outputs["input_ids"][0][is_word].tolist())
            for record, sequence, maps in zip(records, sequences, model_outputs["maps"][0], strict=True):
                generated = sequence[len(sequence) - len(maps) :]
                maps = maps[: int(maps.any(-1).sum())]  # after the end the rows are zero
                record["attentions"] = maps[:, : -len(is_word)].clone()
                record["word_attentions"] = maps[:, -len(is_word) :][:, is_word]
                record["tokens"] = self.tokenizer.convert_ids_to_tokens(generated[: len(maps)].tolist())
                record["words"] = words
                record |= _places(model_outputs)
        return records

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """
        Saves the model and all that turns images and questions into its inputs, the processor included.

        Args:
            save_directory (`str` or `os.PathLike`):
                The folder; it is made where it does not exist.
            kwargs:
                Goes to each part's `save_pretrained`.
        """
        super().save_pretrained(save_directory, **kwargs)
        if self.processor is not None:
            self.processor.save_pretrained(save_directory, **kwargs)


def _check(inputs: Any) -> None:
    if not isinstance(inputs, Mapping):
        raise TypeError(f"visual-question-answering takes {FORMS}; got {_describe(inputs)} without a question.")
    for name in ("image", "question"):
        if inputs.get(name) is None:
            raise ValueError(f"visual-question-answering got no {name!r}, only {sorted(inputs)}.")
    check_picture(inputs["image"])
    if not isinstance(inputs["question"], str):
        raise TypeError(f"A question must be a string, got {_describe(inputs['question'])}.")


def _padded(items: list, value: int, before: bool) -> torch.Tensor:
    """What has several sizes in one batch, with `value` to the right and below, or before it."""
    # One that came alone is in a list, those of a batch are each in a list of their own.
    items = [item[0] if isinstance(item, list) else item for item in items]
    sizes = [max(side) for side in zip(*(item.shape[1:] for item in items), strict=True)]
    padded = []
    for item in items:
        missing = [size - side for size, side in zip(sizes, item.shape[1:], strict=True)]
        sides = [side for number in reversed(missing) for side in ((number, 0) if before else (0, number))]
        padded.append(nn.functional.pad(item, sides, value=value))
    return torch.cat(padded)


def _places(model_outputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Where the regions lie in the image."""
    return {"regions": model_outputs["regions"][0], "grid": tuple(model_outputs["grid"][0].tolist())}


def _describe(value: Any) -> str:
    if isinstance(value, list | tuple) and value:
        return f"a {type(value).__name__} that holds {type(value[0]).__name__}"
    return f"{type(value).__name__}" if not isinstance(value, str) else f"the string {value[:40]!r}"
