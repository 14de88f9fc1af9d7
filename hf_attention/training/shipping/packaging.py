"""From the folder of a run to a folder that is shipped: half the weights' bytes, no code, a card."""

import json
from pathlib import Path
from textwrap import fill
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.constants import REPOCARD_NAME
from safetensors.torch import load_file, save_file

from ..files import replace_folder
from .measures import LABELS
from .recipes import Recipe


LINE = 119
WEIGHTS = "model.safetensors"
# What a run saves beside its weights, where the model has it.
SETTINGS = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "target_tokenizer.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
# With the package at hand no model needs code of its own; and where a run has read its parts is nobody's business.
LEFT_OUT = ("auto_map", "custom_pipelines", "is_local", "local_files_only")

_CARD = """---
{metadata}
---

# {title}

{about}

## Use

```python
{example}```

{limits}

## Scores

On drawings and sentences that it has not seen, by `python scripts/make_checkpoints.py --measure --only {name}`:

| | |
|---|---|
{scores}

The weights are kept in float16 and read as float32.

## Training

All data are drawn; nothing is downloaded.

```
{commands}
```

`make checkpoints` does this for all models that are shipped, and packages them.
"""


def package(name: str, recipe: Recipe, run: Path, folder: Path) -> dict[str, float]:
    """
    Makes the folder that is shipped of the folder that a run left its model in.

    Args:
        name (`str`): The model's name.
        recipe ([`~hf_attention.training.shipping.recipes.Recipe`]): How it was trained.
        run (`Path`): The run's folder.
        folder (`Path`): The folder that is shipped; an earlier one is replaced.

    Returns:
        `dict[str, float]`: The scores, of the weights that are shipped.

    Raises:
        ValueError: Where the run's folder holds no model.
    """
    if not (run / WEIGHTS).is_file():
        raise ValueError(f"{run} holds no trained model: there is no {WEIGHTS}.")
    scores: dict[str, float] = {}

    def write(partial: Path) -> None:
        partial.mkdir()
        weights = load_file(run / WEIGHTS)
        halved = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
        save_file(halved, partial / WEIGHTS, metadata={"format": "pt"})
        (partial / WEIGHTS).chmod(0o644)
        for file in SETTINGS:
            if (run / file).is_file():
                settings = portable(json.loads((run / file).read_text(encoding="utf-8")))
                text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
                (partial / file).write_text(text, encoding="utf-8")
        scores.update(recipe.measure(str(partial)))
        make_card(name, recipe, scores).save(partial / REPOCARD_NAME)

    replace_folder(folder, write)
    return scores


def portable(settings: Any) -> Any:
    """
    Leaves out what a folder that is shipped has no use for.

    Args:
        settings (`Any`): What a file of settings holds.

    Returns:
        `Any`: The same without the keys of `LEFT_OUT`, at any depth.
    """
    if isinstance(settings, dict):
        return {key: portable(value) for key, value in settings.items() if key not in LEFT_OUT}
    return [portable(each) for each in settings] if isinstance(settings, list) else settings


def make_card(name: str, recipe: Recipe, scores: dict[str, float]) -> ModelCard:
    """
    Writes what the model is, what it is for, how good it is and how it was trained.

    Args:
        name (`str`): The model's name.
        recipe ([`~hf_attention.training.shipping.recipes.Recipe`]): How it was trained.
        scores (`dict[str, float]`): From the recipe's `measure`.

    Returns:
        `huggingface_hub.ModelCard`: The card, with its metadata.
    """
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=recipe.task,
        license="apache-2.0",
        language=list(recipe.language),
        tags=["hf_attention"],
        model_name=name,
    )
    rows = [f"| {LABELS[key]} | {_written(key, value)} |" for key, value in scores.items()]
    return ModelCard(
        _CARD.format(
            metadata=metadata.to_yaml(),
            name=name,
            title=recipe.title,
            about=fill(f"{recipe.about} It is shipped with hf_attention.", LINE),
            example=recipe.example,
            limits=fill(recipe.limits, LINE),
            scores="\n".join(rows),
            commands="\n".join(recipe.commands),
        )
    )


def _written(key: str, value: float) -> str:
    return f"{value:.2f}" if key == "perplexity" else f"{value * 100:.1f} %"
