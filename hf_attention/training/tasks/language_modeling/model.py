"""The language model that is trained, with its tokenizer: a new one, or one that was trained before."""

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ....models.configuration_recurrent_lm import RecurrentLMConfig
from ....models.modeling_recurrent_lm import RecurrentLMForCausalLM
from ....models.special_tokens import special_token_ids
from ...data.arguments import TokenizerArguments
from ...data.tokenization import for_running_text, load_tokenizer
from ...options import ConfigurationOptions, changed_options, refuse_options
from ..pretrained import split_off_regularisation
from .arguments import DEFAULTS, Arguments


def make_tokenizer(arguments: TokenizerArguments, texts: list[str], padding: bool) -> PreTrainedTokenizerFast:
    """The ready tokenizer, or one trained on the texts, whose own end of sentence parts them."""
    if arguments.tokenizer_name is not None:
        refuse_options("tokenizer_name", changed_options(arguments, DEFAULTS) - {"tokenizer_name"})
        special_tokens = ("eos_token", "pad_token") if padding else ("eos_token",)
        return load_tokenizer(arguments.tokenizer_name, special_tokens)
    return for_running_text(arguments.train(texts))


def make_model(options: ConfigurationOptions, tokenizer: PreTrainedTokenizerFast) -> RecurrentLMForCausalLM:
    """A new model for the tokenizer's vocabulary."""
    ids = special_token_ids(tokenizer)
    if tokenizer.bos_token is None:
        ids["bos_token_id"] = ids["eos_token_id"]  # as in a running text, the end of the sentence before
    config = RecurrentLMConfig(vocab_size=len(tokenizer), **ids, **options.config_kwargs())
    return RecurrentLMForCausalLM(config)


def load_model(arguments: Arguments) -> tuple[RecurrentLMForCausalLM, PreTrainedTokenizerFast]:
    """A trained model with its tokenizer, and the dropout and label smoothing of this run."""
    regularisation, given = split_off_regularisation(arguments.model)
    given |= changed_options(arguments.tokenizer, DEFAULTS) | changed_options(arguments.word_vectors)
    refuse_options("model_name_or_path", given)
    return arguments.pretrained.load(RecurrentLMForCausalLM, AutoTokenizer, **regularisation)
