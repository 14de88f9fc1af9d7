"""Self-critical sequence training of a captioner (Rennie et al. 2017): its own samples, rewarded by their scores."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ....arguments import summands
from ....metrics.words import metric_words
from ...data.collators import stack_inputs
from ...data.images import PixelSource, RegionSource
from ...data.sampling import CaptionBatchSampler, CaptionGroup
from ...loop.objective import Objective
from .arguments import REWARDS, CaptionDataArguments, SelfCriticalArguments


class ImageDataset(Dataset):
    """
    Images without captions, by [`CaptionGroup`].

    Args:
        source ([`PixelSource`] or [`RegionSource`]):
            The images.
    """

    def __init__(self, source: PixelSource | RegionSource):
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, group: CaptionGroup) -> dict[str, Any]:
        return {**self.source.inputs(group.image, group.mirrored, group.crop), "image": group.image}


def collate_images(examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stacks the model's inputs, and the numbers of the images as `image`, of shape (images,)."""
    images = torch.tensor([example["image"] for example in examples])
    inputs = stack_inputs([{k: v for k, v in example.items() if k != "image"} for example in examples])
    return {**inputs, "image": images}


def image_dataloader(
    source: PixelSource | RegionSource, arguments: CaptionDataArguments, seed: int, num_workers: int = 0
) -> DataLoader:
    """
    Batches of `images_per_batch` images in an order drawn anew each epoch, half of them mirrored with `mirror`,
    each whole or as one of its `crops`.
    """
    sampler = CaptionBatchSampler(
        [[0]] * len(source),
        images_per_batch=arguments.images_per_batch,
        mirror=arguments.mirror,
        crops=arguments.crops,
        seed=seed,
    )
    return DataLoader(ImageDataset(source), batch_sampler=sampler, collate_fn=collate_images, num_workers=num_workers)


class SelfCriticalObjective(Objective):
    r"""
    The policy gradient of the scores of sampled captions (Rennie et al. 2017, eq. 7):
    \\( -\sum_i (r(w_i) - b_i) \nabla \log p(w_i) \\) over the samples \\( w_i \\) of every image, divided by their
    number.

    The baseline \\( b_i \\) is the reward of the greedy caption, or the mean reward of the image's other samples. The
    policy \\( p \\) is the model without dropout, its logits divided by a temperature and without the tokens that it
    never generates; captions are sampled from it and their log-probabilities are its own.

    The reward is CIDEr, or the BLEU-4 of [`~hf_attention.training.tasks.captioning.bleu.BleuScorer`], or their sum. A
    hundredth of what validation tells of each, so that a point of either counts the same, as in `tuning_metric`.
    Captions of one image differ more in CIDEr: five that people wrote, each scored by the others, by 0.38, and in
    BLEU-4 by 0.12 (standard deviations, the mean of 600 images of Flickr8k).

    The value of the loss is minus the mean reward of the samples, so that the log shows how the reward grows.

    Args:
        references (`Sequence[Sequence[str]]`):
            The captions of each image of the training split, by the numbers that batches hold as `image`. The
            document frequencies of CIDEr are theirs.
        tokenizer (`PreTrainedTokenizerFast`):
            Decodes the samples.
        accelerator (`Accelerator`):
            Processes and precision.
        arguments ([`SelfCriticalArguments`]):
            Samples, temperature, baseline and reward.

    Raises:
        ValueError: If the model is to be sharded, of which no process could sample alone.
    """

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        tokenizer: PreTrainedTokenizerFast,
        accelerator: Accelerator,
        arguments: SelfCriticalArguments,
    ):
        if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise ValueError(
                "Self-critical training samples from the whole model on every process: run it without FSDP and "
                "DeepSpeed."
            )
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.arguments = arguments
        self.end = [tokenizer.eos_token] if arguments.reward_end else []
        words = [[metric_words(text) + self.end for text in texts] for texts in references]
        self.scorers = [REWARDS[name](words) for name in summands(arguments.reward)]

    def num_items(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """The number of captions that will be sampled."""
        return torch.tensor(len(batch["image"]) * self.arguments.samples_per_image, device=batch["image"].device)

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], num_items: int) -> torch.Tensor:
        arguments = self.arguments
        inputs = {name: value for name, value in batch.items() if name != "image"}
        images = batch["image"].tolist()
        policy = self.accelerator.unwrap_model(model)
        model.eval()
        with tempered(policy, arguments.temperature):
            tokens = self._generate(policy, inputs, arguments.samples_per_image)
            rewards = self.rewards(images, tokens)
            if arguments.baseline == "greedy":
                baseline = self.rewards(images, self._generate(policy, inputs))
            else:
                baseline = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
            labels = self._labels(tokens)
            advantages = (rewards - baseline).flatten().unsqueeze(1).expand(labels.shape)
            # cuDNN's recurrent layers have no backward in evaluation mode.
            with torch.backends.cudnn.flags(enabled=False):
                loss = model(
                    **inputs,
                    labels=labels,
                    token_weights=advantages.to(labels.device),
                    num_items_in_batch=num_items,
                    use_cache=False,
                ).loss
        model.train()
        return loss - loss.detach() - rewards.sum().to(loss.device) / num_items

    def rewards(self, images: Sequence[int], tokens: torch.LongTensor) -> torch.Tensor:
        """
        The scores of generated captions.

        Args:
            images (`Sequence[int]`):
                The numbers of the images.
            tokens (`torch.LongTensor` of shape `(images * captions, length)`):
                As many captions in turn for each image, as `generate()` returns them.

        Returns:
            `torch.Tensor` of shape `(images, captions)`: In float32; CIDEr from 0 to 10, BLEU-4 from 0 to 1.
        """
        ended = (tokens == self.tokenizer.eos_token_id).any(1).tolist()
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        captions = [metric_words(text) + self.end * end for text, end in zip(texts, ended, strict=True)]
        number = len(captions) // len(images)
        of_images = [captions[start : start + number] for start in range(0, len(captions), number)]
        return sum(
            torch.tensor([scorer(image, texts) for image, texts in zip(images, of_images, strict=True)])
            for scorer in self.scorers
        )

    @torch.no_grad()
    def _generate(
        self, policy: PreTrainedModel, inputs: Mapping[str, torch.Tensor], samples: int | None = None
    ) -> torch.LongTensor:
        """Samples of each image in turn, or its greedy caption."""
        # What the model's own settings say must not change the distribution.
        kwargs = {"do_sample": False, "no_repeat_ngram_size": 0}
        if samples is not None:
            kwargs |= {
                "do_sample": True,
                "num_return_sequences": samples,
                "temperature": 1.0,
                "top_k": 0,
                "top_p": 1.0,
            }
        with self.accelerator.autocast():
            return policy.generate(**inputs, num_beams=1, **kwargs)

    def _labels(self, tokens: torch.LongTensor) -> torch.LongTensor:
        """The generated tokens up to the first end, behind which is -100."""
        labels = tokens[:, 1:]
        is_end = labels == self.tokenizer.eos_token_id
        return labels.masked_fill(is_end.cumsum(1) - is_end.int() > 0, -100)


@contextmanager
def tempered(model: PreTrainedModel, temperature: float) -> Iterator[None]:
    """Divides the model's logits by a temperature, wherever it makes them; what it never generates has none."""
    never = torch.tensor(model.suppressed_tokens(), dtype=torch.long, device=model.device)

    def temper(module: nn.Module, inputs: tuple, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, never, -torch.inf) / temperature

    handle = model.get_output_embeddings().register_forward_hook(temper)
    try:
        yield
    finally:
        handle.remove()
