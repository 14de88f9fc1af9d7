"""The card of a trained model, made from what the run knows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard, EvalResult, ModelCard, ModelCardData
from huggingface_hub.constants import REPOCARD_NAME
from huggingface_hub.errors import HFValidationError, HTTPError
from transformers import PreTrainedConfig

from ...shipped import checkpoints
from ..data.arguments import TokenizerArguments
from ..options import ConfigurationOptions
from .arguments import HubArguments
from .local_paths import is_local, without_local_paths
from .results import RESULTS_FILE


TEMPLATE = Path(__file__).with_name("model_card_template.md")
SPLITS = ("validation", "test")

# What a call of each task's pipeline looks like.
EXAMPLES = {
    "image-to-text": '"picture.jpg"',
    "visual-question-answering": 'image="picture.jpg", question="What is on the table?"',
}
TEXT_EXAMPLE = '"Two dogs play in the snow."'

# The arguments that name what a model is made from.
BASE_MODELS = ("model_name_or_path", "backbone", "question_encoder")

# The Hub's name of the metric, and the one that people read. The others go by their own name.
METRICS = {
    **{f"bleu_{n}": ("bleu", f"BLEU-{n}") for n in range(1, 5)},
    "bleu": ("bleu", "BLEU"),
    "bleu_lowercase": ("bleu", "BLEU (lower-cased)"),
    "chrf": ("chrf", "chrF"),
    "ter": ("ter", "TER"),
    "cider": ("cider", "CIDEr"),
    "rouge_l": ("rouge", "ROUGE-L"),
    "meteor": ("meteor", "METEOR"),
    "accuracy": ("accuracy", "Accuracy"),
    "exact_match": ("exact_match", "Exact match"),
    "vqa_accuracy": ("accuracy", "VQA accuracy"),
    "perplexity": ("perplexity", "Perplexity"),
}


def eval_results(
    scores: Mapping[str, float],
    task: str,
    dataset: str,
    dataset_config: str | None = None,
    split: str | None = None,
    signatures: Mapping[str, str] | None = None,
) -> list[EvalResult]:
    """
    Scores in the form that the Hub's `model-index` has.

    Args:
        scores (`Mapping[str, float]`):
            The metrics.
        task (`str`):
            The pipeline's task.
        dataset (`str`):
            Hub name of the data set, or a local folder, of which only the last part is told.
        dataset_config (`str`, *optional*):
            Its configuration.
        split (`str`, *optional*):
            Its split.
        signatures (`Mapping[str, str]`, *optional*):
            How a metric was computed.

    Returns:
        `list[EvalResult]`: One a metric, rounded to four places.
    """
    name = _dataset_name(dataset)
    results = []
    for metric, value in scores.items():
        signature = (signatures or {}).get(metric)
        results.append(
            EvalResult(
                task_type=task,
                dataset_type=name,
                dataset_name=name,
                dataset_config=dataset_config,
                dataset_split=split,
                metric_type=METRICS.get(metric, (metric,))[0],
                metric_name=_title(metric),
                metric_value=round(value, 4),
                metric_args={"signature": signature} if signature else None,
            )
        )
    return results


def add_eval_results(card_file: str | Path, results: Sequence[EvalResult], model_name: str) -> ModelCard:
    """
    Adds scores to the `model-index` of a card; those of the same metric on the same split are replaced.

    Args:
        card_file (`str` or `Path`):
            The card, a README.md. Where there is none, one is made of the scores alone.
        results (`Sequence[EvalResult]`):
            See [`eval_results`].
        model_name (`str`):
            The model's name, where the card does not tell it.

    Returns:
        `ModelCard`: The card, which is saved.
    """
    card_file = Path(card_file)
    if card_file.is_file():
        card = ModelCard.load(card_file)
    else:
        card = ModelCard(f"---\nlibrary_name: transformers\n---\n\n# {model_name}\n")
    if not card.data.model_name:
        card.data.model_name = model_name

    def place(result: EvalResult) -> tuple:
        """What tells scores apart, however each was computed."""
        names = ("task_type", "dataset_type", "dataset_config", "dataset_split", "metric_type", "metric_name")
        return tuple(getattr(result, name) for name in names)

    replaced = {place(result) for result in results}
    others = [old for old in card.data.eval_results or [] if place(old) not in replaced]
    card.data.eval_results = [*others, *results]
    card.save(card_file)
    return card


def write_model_card(
    folder: str | Path,
    task: str,
    arguments: Sequence[Any],
    name: str | None = None,
    picture: str | None = None,
) -> ModelCard:
    """
    Writes README.md into the folder of a run, next to the model and results.json.

    Args:
        folder (`str` or `Path`):
            The folder, with the model's config.json and, if there are any, the results that
            [`~hf_attention.training.publish.results.write_results`] wrote.
        task (`str`):
            The task of the model's pipeline.
        arguments (`Sequence`):
            The dataclasses of the run. Of these it reads `dataset_name`, `dataset_config_name`, the splits' names,
            `additional_train_files`, `source_lang` and `target_lang`, `BASE_MODELS`, and [`HubArguments`].
        name (`str`, *optional*):
            The model's name on the Hub. Defaults to `hub_model_id`, then the folder's name.
        picture (`str`, *optional*):
            Name of a picture in the folder, of what the model attends to.

    Returns:
        `ModelCard`: The card.
    """
    folder = Path(folder)
    given: dict[str, Any] = {}
    for group in arguments:
        given |= asdict(group)
    values = without_local_paths(given)
    config = PreTrainedConfig.get_config_dict(folder)[0]
    if given.get("model_name_or_path") is not None:
        values = _of_the_model(values, arguments, config)
    results_file = folder / RESULTS_FILE
    results = json.loads(results_file.read_text()) if results_file.is_file() else {}
    name = name or values.get("hub_model_id") or folder.resolve().name
    dataset, languages = given.get("dataset_name"), [values.get("source_lang"), values.get("target_lang")]
    if dataset is None and values.get("train_files"):
        dataset = ", ".join(Path(file).name for file in given["train_files"])
    pipeline_task = task
    if task == "translation" and all(languages):
        pipeline_task = "translation_{}_to_{}".format(*languages)
    found = []
    for split in SPLITS:
        if dataset and split in results:
            split_name = values.get(f"{split}_split", split)
            config_name = values.get("dataset_config_name")
            signatures = results.get("signatures") or dict.fromkeys(results[split], results.get("metric_tokenizer"))
            found += eval_results(results[split], task, dataset, config_name, split_name, signatures)
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=task,
        license=values.get("license"),
        language=values.get("language") or [code for code in languages if code] or None,
        datasets=_hub_name(given.get("dataset_name")),
        base_model=[*filter(None, (_hub_name(given.get(argument)) for argument in BASE_MODELS))] or None,
        metrics=sorted({result.metric_type for result in found}) or None,
        tags=["hf_attention", config["model_type"]],
        model_name=name,
        eval_results=found or None,
    )
    card = ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATE),
        title=name.split("/")[-1],
        name=name,
        model_type=config["model_type"],
        task=task,
        pipeline_task=pipeline_task,
        example=EXAMPLES.get(task, TEXT_EXAMPLE),
        picture=picture,
        dataset=_dataset_name(dataset) if dataset else None,
        dataset_license=values.get("dataset_license") or _license_of(dataset),
        additional_files=", ".join(Path(file).name for file in given.get("additional_train_files") or []),
        splits=[split for split in SPLITS if split in results],
        scores=_score_table(results),
        generation=", ".join(f"{key} {value}" for key, value in results.get("generation", {}).items()),
        signatures=_signature_lines(results),
        command=results.get("command", ""),
        recipe=values.get("recipe"),
        options=yaml.safe_dump(results.get("recipe", {}), sort_keys=False, allow_unicode=True, width=1000).strip(),
        facts=_facts(results),
        arguments=_shown(values),
    )
    card.save(folder / REPOCARD_NAME)
    return card


def _dataset_name(dataset: str) -> str:
    """Of a folder, only its own name."""
    return Path(dataset).resolve().name if is_local(dataset) else without_local_paths(dataset)


def _of_the_model(values: dict[str, Any], arguments: Sequence[Any], config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a run that went on from a model: what that had already is told as it is."""
    values = dict(values)
    for group in arguments:
        if isinstance(group, TokenizerArguments):
            values = {name: value for name, value in values.items() if name not in group.__dataclass_fields__}
        elif isinstance(group, ConfigurationOptions):
            values |= {entry.name: config.get(entry.name) for entry in fields(group)}
    return values


def _hub_name(name: str | None) -> str | None:
    """The name, where that is no path of this machine and no model that the package ships."""
    is_private = is_local(name) or without_local_paths(name) != name
    return None if is_private or name in checkpoints else name


def _license_of(dataset: str | None) -> str | None:
    """What the data set's card says, be it in its folder or on the Hub."""
    if dataset is None:
        return None
    if Path(dataset).exists():
        card = Path(dataset) / REPOCARD_NAME
        return DatasetCard.load(card).data.get("license") if card.is_file() else None
    try:
        return DatasetCard.load(dataset).data.get("license")
    except (HTTPError, HFValidationError, OSError):  # no card, no such name (as of text files), or no network
        return None


def _title(metric: str) -> str:
    return METRICS.get(metric, (metric, metric))[1]


def _score_table(results: Mapping[str, Any]) -> list[list[str]]:
    """A row a metric: its name, then the score on each split."""
    splits = [results[split] for split in SPLITS if split in results]
    return [
        [_title(metric), *(f"{scores[metric]:.2f}" if metric in scores else "" for scores in splits)]
        for metric in dict.fromkeys(metric for scores in splits for metric in scores)
    ]


def _signature_lines(results: Mapping[str, Any]) -> list[str]:
    lines = [f"{_title(key)}: `{value}`" for key, value in results.get("signatures", {}).items()]
    if "metric_tokenizer" in results:
        lines.append(f"Words that are compared: {results['metric_tokenizer']}")
    return lines


def _facts(results: Mapping[str, Any]) -> dict[str, Any]:
    told = {"command", "recipe", "generation", "signatures", "metric_tokenizer", "versions", *SPLITS}
    facts = {key.replace("_", " "): value for key, value in results.items() if key not in told and value is not None}
    return facts | results.get("versions", {})


def _shown(values: Mapping[str, Any]) -> dict[str, str]:
    hidden = {*HubArguments.__dataclass_fields__, "output_dir", "overwrite_output_dir", "resume_from_checkpoint"}
    return {
        key: str(value).replace("|", "\\|") for key, value in values.items() if value is not None and key not in hidden
    }
