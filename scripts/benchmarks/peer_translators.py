"""Translators of one size: this package's, JoeyNMT's and OpenNMT-py's, each by the public classes of its package."""

import importlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple, Protocol

import torch
from torch import nn

from hf_attention import AttentionSeq2SeqConfig, AttentionSeq2SeqForConditionalGeneration


# JoeyNMT's order, for all.
UNKNOWN, PAD, START, END = range(4)
DROPOUT, SMOOTHING = 0.3, 0.1


@dataclass
class Sizes:
    """What all translators have in common: the encoder reads in two directions, `encoder` units each."""

    vocabulary: int = 8000
    embedding: int = 256
    encoder: int = 256
    decoder: int = 512


class Pairs(NamedTuple):
    """
    A batch, the longest source first, padded at the end.

    Args:
        source (`torch.LongTensor` of shape `(batch, source)`): Each closed by its end.
        source_lengths (`torch.LongTensor` of shape `(batch,)`): Their tokens.
        target (`torch.LongTensor` of shape `(batch, target)`): Each opened by its start and closed by its end.
    """

    source: torch.Tensor
    source_lengths: torch.Tensor
    target: torch.Tensor


class Translator(Protocol):
    """
    A translator of one of the packages.

    Args:
        model (`nn.Module`): What is trained.
    """

    model: nn.Module

    def loss(self, pairs: Pairs) -> torch.Tensor:
        """The mean over the target's tokens, with label smoothing, as the package's own training computes it."""

    def write(self, pairs: Pairs, num_beams: int, num_tokens: int) -> torch.Tensor:
        """Translations of shape `(batch, num_tokens)`: none ends earlier."""


class Ours:
    """
    This package's.

    Args:
        sizes ([`Sizes`]): Its sizes.
        like_joeynmt (`bool`, *optional*, defaults to `False`):
            Whether it computes what JoeyNMT's does: attention behind the recurrence, its result fed back, all layers
            of the decoder's size. Otherwise it is that of the recipe for training translators.
    """

    def __init__(self, sizes: Sizes, like_joeynmt: bool = False):
        if like_joeynmt:
            kind = {"attention_order": "after_rnn", "input_feeding": True, "attention_size": sizes.decoder}
        else:
            kind = {"attention_size": sizes.decoder // 2, "tie_word_embeddings": True}
            kind |= {"share_encoder_decoder_embeddings": True}
        config = AttentionSeq2SeqConfig(
            vocab_size=sizes.vocabulary,
            embedding_size=sizes.embedding,
            encoder_hidden_size=sizes.encoder,
            hidden_size=sizes.decoder,
            embedding_dropout=DROPOUT,
            hidden_dropout=DROPOUT,
            label_smoothing=SMOOTHING,
            pad_token_id=PAD,
            bos_token_id=START,
            eos_token_id=END,
            unk_token_id=UNKNOWN,
            **kind,
        )
        self.model = AttentionSeq2SeqForConditionalGeneration(config)

    @staticmethod
    def _inputs(pairs: Pairs) -> dict[str, torch.Tensor]:
        return {"input_ids": pairs.source, "attention_mask": (pairs.source != PAD).long()}

    def loss(self, pairs: Pairs) -> torch.Tensor:
        labels = pairs.target[:, 1:]
        return self.model(**self._inputs(pairs), labels=labels.masked_fill(labels == PAD, -100)).loss

    def write(self, pairs: Pairs, num_beams: int, num_tokens: int) -> torch.Tensor:
        length = {"min_new_tokens": num_tokens, "max_new_tokens": num_tokens}
        return self.model.generate(**self._inputs(pairs), num_beams=num_beams, do_sample=False, **length)[:, 1:]


def import_peer(option: str, folder: Path, *modules: str) -> list[ModuleType]:
    """
    Modules of a package that the user has.

    Args:
        option (`str`): The option that names the folder.
        folder (`Path`): The folder that holds the package.
        modules (`str`): Their full names.

    Raises:
        SystemExit: Where it is not there, or lacks what it imports.
    """
    package = modules[0].split(".")[0]
    if not (folder / package).is_dir():
        raise SystemExit(f"{option} must name a folder that holds the package `{package}`, got {folder}.")
    # Last: nothing that lies beside the package shall take the place of what is installed.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        imported = [importlib.import_module(module) for module in modules]
    except ImportError as error:
        raise SystemExit(
            f"{option}: `{package}` cannot be imported ({error}). Put what it lacks beside it: "
            f"pip install --no-deps --target {folder} {error.name or ''}"
        ) from error
    if not Path(imported[0].__file__).is_relative_to(folder.absolute()):
        raise SystemExit(f"{option}: {imported[0].__file__} is imported in place of what {folder} holds.")
    return imported


class JoeyNMT:
    """
    JoeyNMT's recurrent translator with Bahdanau's attention.

    Args:
        folder (`Path`): The folder that holds the package `joeynmt`.
        sizes ([`Sizes`]): Its sizes.
    """

    def __init__(self, folder: Path, sizes: Sizes):
        modules = ("joeynmt.batch", "joeynmt.model", "joeynmt.search", "joeynmt.vocabulary")
        self.batch, model, self.search, vocabulary = import_peer("--joeynmt", folder, *modules)
        logging.getLogger("joeynmt").setLevel(logging.WARNING)
        special = {"unk": "<unk>", "pad": "<pad>", "bos": "<s>", "eos": "</s>"}
        settings = {f"{name}_token": token for name, token in special.items()}
        settings |= {f"{name}_id": number for number, name in enumerate(special)}
        words = vocabulary.Vocabulary(
            [f"w{number}" for number in range(sizes.vocabulary - len(special))],
            SimpleNamespace(**settings, sep_token=None, sep_id=None, lang_tags=[]),
        )
        embeddings = {"embedding_dim": sizes.embedding, "dropout": DROPOUT}
        common = {"rnn_type": "lstm", "type": "recurrent", "embeddings": embeddings, "dropout": DROPOUT}
        decoder = {"hidden_dropout": DROPOUT, "attention": "bahdanau", "input_feeding": True}
        configuration = {
            "encoder": {**common, "hidden_size": sizes.encoder, "bidirectional": True},
            "decoder": {**common, **decoder, "hidden_size": sizes.decoder, "init_hidden": "bridge"},
        }
        self.model = model.build_model(configuration, src_vocab=words, trg_vocab=words)
        self.model.loss_function = ("crossentropy", SMOOTHING)

    def _batch(self, pairs: Pairs, target: torch.Tensor | None):
        return self.batch.Batch(
            src=pairs.source,
            src_length=pairs.source_lengths,
            src_prompt_mask=None,
            trg=target,
            trg_prompt_mask=None,
            indices=torch.arange(len(pairs.source)),
            device=pairs.source.device,
            pad_index=PAD,
            eos_index=END,
            is_train=target is not None,
        )

    def loss(self, pairs: Pairs) -> torch.Tensor:
        batch = self._batch(pairs, pairs.target)
        total, _, _, num_correct = self.model(return_type="loss", **vars(batch))
        num_correct.item()  # its training asks for it
        return batch.normalize(total, normalization="tokens")

    def write(self, pairs: Pairs, num_beams: int, num_tokens: int) -> torch.Tensor:
        # No sentence ends before the last token: nothing is dropped that others would go on with.
        sequences, _, _ = self.search.search(
            self.model,
            self._batch(pairs, None),
            max_output_length=num_tokens,
            beam_size=num_beams,
            beam_alpha=1.0,
            min_output_length=num_tokens,
        )
        return torch.from_numpy(sequences)


class OpenNMT:
    """
    OpenNMT-py's recurrent translator with input feeding, its default.

    Args:
        folder (`Path`): The folder that holds the package `onmt`.
        sizes ([`Sizes`]): Its sizes.
        attention (`str`): `"mlp"` or `"general"`.
    """

    def __init__(self, folder: Path, sizes: Sizes, attention: str):
        modules = ("onmt.decoders", "onmt.encoders", "onmt.models", "onmt.modules", "onmt.utils.loss")
        decoders, encoders, models, parts, losses = import_peer("--opennmt", folder, *modules)

        def embeddings() -> nn.Module:
            return parts.Embeddings(sizes.embedding, sizes.vocabulary, PAD, dropout=DROPOUT)

        memory = 2 * sizes.encoder  # it wants the decoder's size to be the same
        encoder = encoders.RNNEncoder("LSTM", True, 1, memory, DROPOUT, embeddings())
        decoder = decoders.InputFeedRNNDecoder(
            "LSTM", True, 1, sizes.decoder, attn_type=attention, dropout=DROPOUT, embeddings=embeddings()
        )
        self.model = models.NMTModel(encoder, decoder)
        self.model.generator = nn.Linear(sizes.decoder, sizes.vocabulary)
        for parameter in self.model.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)  # left unset by its classes
        criterion = nn.CrossEntropyLoss(ignore_index=PAD, reduction="sum", label_smoothing=SMOOTHING)
        self.criterion = losses.LossCompute(criterion, self.model.generator)

    def loss(self, pairs: Pairs) -> torch.Tensor:
        source, target = pairs.source.unsqueeze(-1), pairs.target.unsqueeze(-1)
        outputs, attention = self.model(source, target, pairs.source_lengths)
        batch = {"src": source, "tgt": target, "srclen": pairs.source_lengths}
        total, _ = self.criterion(batch, outputs, attention)
        return total / (pairs.target[:, 1:] != PAD).sum()
