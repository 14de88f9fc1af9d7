"""Captions get better in training, and are scored."""

from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from common.scripts import logged
from datasets import Dataset, DatasetDict
from torch import nn
from torch.utils.data import DataLoader
from transformers import set_seed

from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration
from hf_attention.scenes import make_scenes
from hf_attention.training.data.collators import CaptionCollator
from hf_attention.training.data.images import RegionSource
from hf_attention.training.data.sampling import CaptionBatchSampler
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.checkpoints import prepare_output_dir
from hf_attention.training.loop.train import make_accelerator, train
from hf_attention.training.tasks.captioning.evaluation import CaptionEvaluator
from hf_attention.training.tasks.captioning.examples import CaptionDataset, caption_labels


@pytest.fixture(scope="module")
def scenes() -> DatasetDict:
    return make_scenes(train=24, validation=6, test=0, held_out=0, image_size=32)


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """Accelerate keeps the precision of its first use for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)


class Data:
    """A captioner's data, with region features that are the counts of the colours in the first caption."""

    def __init__(self, scenes: Dataset):
        self.captions = scenes["captions"][:]
        self.tokenizer = train_tokenizer(text for texts in self.captions for text in texts)
        colours = ["red", "green", "blue", "yellow", "purple", "white"]
        features = [[texts[0].split().count(colour) for colour in colours] for texts in self.captions]
        self.source = RegionSource(np.array(features, dtype=np.float16)[:, None].repeat(2, 1))
        self.labels = caption_labels(self.captions, self.tokenizer, 30)

    def dataloader(self, captions_per_image: int = 2) -> DataLoader:
        lengths = [[len(ids) for ids in texts] for texts in self.labels]
        sampler = CaptionBatchSampler(lengths, 6, captions_per_image)
        return DataLoader(
            CaptionDataset(self.source, self.labels), batch_sampler=sampler, collate_fn=CaptionCollator()
        )

    def model(self) -> AttentionCaptionerForConditionalGeneration:
        set_seed(0)
        sizes = {"embedding_size": 8, "hidden_size": 16, "attention_size": 8, "memory_size": 12}
        config = AttentionCaptionerConfig(vocab_size=len(self.tokenizer), region_size=6, **sizes)
        return AttentionCaptionerForConditionalGeneration(config)


@pytest.fixture(scope="module")
def data(scenes: DatasetDict) -> Data:
    return Data(scenes["train"])


def loop_arguments(folder: Path, **kwargs) -> LoopArguments:
    defaults = {"num_train_epochs": 2, "learning_rate": 1e-2, "warmup_steps": 2, "logging_steps": 5}
    return LoopArguments(output_dir=str(folder), **{**defaults, **kwargs})


def run(model: nn.Module, arguments: LoopArguments, dataloader: DataLoader, **kwargs):
    prepare_output_dir(arguments)
    return train(model, arguments, dataloader, make_accelerator(arguments), **kwargs)


def test_loss_falls_and_the_model_is_kept(data: Data, tmp_path: Path) -> None:
    result = run(data.model(), loop_arguments(tmp_path, num_train_epochs=6), data.dataloader())
    losses = logged(tmp_path, "loss")
    assert losses[-1] < 0.8 * losses[0]
    model = AttentionCaptionerForConditionalGeneration.from_pretrained(result.best_model).eval()
    evaluator = CaptionEvaluator(
        data.source, data.captions, data.tokenizer, make_accelerator(loop_arguments(tmp_path)), 7
    )
    fresh = evaluator(data.model().eval())
    assert evaluator(model)["bleu_1"] > fresh["bleu_1"] + 10
    assert len(evaluator.captions(model, num_beams=2)) == len(data.captions)


def test_nan_stops_and_names_the_step(data: Data, tmp_path: Path) -> None:
    features = data.source.features.copy()
    features[5] = np.nan
    poisoned = CaptionDataset(RegionSource(features), data.labels)
    sampler = CaptionBatchSampler([[len(ids) for ids in texts] for texts in data.labels], 6, 5)
    step = 1 + next(i for i, batch in enumerate(sampler) if any(group.image == 5 for group in batch))
    dataloader = DataLoader(poisoned, batch_sampler=sampler, collate_fn=CaptionCollator())
    with pytest.raises(FloatingPointError, match=rf"loss is nan .* at step {step} \(epoch 1, batch {step} of it\)"):
        run(data.model(), loop_arguments(tmp_path), dataloader)
