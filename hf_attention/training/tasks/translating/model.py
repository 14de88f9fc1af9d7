"""The sequence-to-sequence model that is trained, with its tokenizer: a new one, or one that was trained before."""

from collections.abc import Callable
from itertools import chain

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ....models.configuration_attention_seq2seq import AttentionSeq2SeqConfig
from ....models.modeling_attention_seq2seq import AttentionSeq2SeqForConditionalGeneration
from ....models.special_tokens import special_token_ids
from ....models.tokenization_attention_seq2seq import AttentionSeq2SeqTokenizer
from ...data.arguments import TokenizerArguments
from ...data.tokenization import load_tokenizer
from ...data.word_vectors import load_word_vectors
from ...options import ConfigurationOptions, changed_options, refuse_options
from ..pretrained import split_off_regularisation
from .arguments import DEFAULTS, Arguments, PairedWordVectorArguments


def make_tokenizer(
    arguments: TokenizerArguments, read_pairs: Callable[[], Dataset], separate: bool
) -> PreTrainedTokenizerFast | AttentionSeq2SeqTokenizer:
    """The ready tokenizer, or one trained on pairs: joint, or with a vocabulary a side."""
    if arguments.tokenizer_name is not None:
        refuse_options("tokenizer_name", changed_options(arguments, DEFAULTS) - {"tokenizer_name"})
        tokenizer = load_tokenizer(arguments.tokenizer_name, closes_texts=True)
        if separate and not hasattr(tokenizer, "target_tokenizer"):
            raise ValueError(f"The tokenizer {arguments.tokenizer_name!r} has no vocabulary a side.")
        return tokenizer
    pairs = read_pairs()
    if separate:
        return AttentionSeq2SeqTokenizer.from_tokenizers(
            *(arguments.train(pairs[side]) for side in ("source", "target"))
        )
    return arguments.train(chain(pairs["source"], pairs["target"]))


def make_model(
    options: ConfigurationOptions, tokenizer: PreTrainedTokenizerFast | AttentionSeq2SeqTokenizer
) -> AttentionSeq2SeqForConditionalGeneration:
    """A new model for the tokenizer's vocabularies."""
    target = getattr(tokenizer, "target_tokenizer", None)
    settings = options.config_kwargs()
    if settings["share_encoder_decoder_embeddings"] is None:
        settings["share_encoder_decoder_embeddings"] = target is None
    config = AttentionSeq2SeqConfig(
        vocab_size=len(tokenizer if target is None else target),
        source_vocab_size=None if target is None else len(tokenizer),
        **special_token_ids(tokenizer),
        **settings,
    )
    return AttentionSeq2SeqForConditionalGeneration(config)


def load_model(
    arguments: Arguments,
) -> tuple[AttentionSeq2SeqForConditionalGeneration, PreTrainedTokenizerFast | AttentionSeq2SeqTokenizer]:
    """A trained model with its tokenizer, and the dropout and label smoothing of this run."""
    regularisation, given = split_off_regularisation(arguments.model)
    given |= changed_options(arguments.tokenizer, DEFAULTS) | changed_options(arguments.word_vectors)
    given |= changed_options(arguments.data) & {"separate_vocabularies"}
    refuse_options("model_name_or_path", given)
    return arguments.pretrained.load(AttentionSeq2SeqForConditionalGeneration, AutoTokenizer, **regularisation)


def load_embeddings(
    model: AttentionSeq2SeqForConditionalGeneration,
    arguments: PairedWordVectorArguments,
    tokenizer: PreTrainedTokenizerFast | AttentionSeq2SeqTokenizer,
    read_pairs: Callable[[], Dataset],
) -> None:
    """
    Puts the word vectors of either side into the embeddings, where there are some.

    Raises:
        ValueError: If both sides have vectors, but one table.
    """
    source, target = arguments.source_embeddings, arguments.target_embeddings
    tables = model.get_encoder().embed_tokens, model.get_decoder().embed_tokens
    is_shared = tables[0].weight is tables[1].weight
    if source and target and is_shared:
        raise ValueError(
            "`source_embeddings` and `target_embeddings` are for two tables, but source and target share one: give "
            "one of them, or `separate_vocabularies`, or `share_encoder_decoder_embeddings` false."
        )
    if source is not None:
        size = "embedding_size" if is_shared else "encoder_embedding_size"
        load_word_vectors(tables[0], source, tokenizer, read_pairs()["source"], "source_embeddings", size)
    if target is not None:
        tokenizer = getattr(tokenizer, "target_tokenizer", tokenizer)
        load_word_vectors(tables[1], target, tokenizer, read_pairs()["target"], "target_embeddings")
