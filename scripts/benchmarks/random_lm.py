"""The language model of random weights that is measured."""

import argparse

from hf_attention.models.configuration_recurrent_lm import RecurrentLMConfig
from hf_attention.models.modeling_recurrent_lm import RecurrentLMForCausalLM


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hidden", type=int, default=650, help="size of state and embeddings, which are tied")
    parser.add_argument("--layers", type=int, default=2, help="LSTM layers")
    parser.add_argument("--vocabulary", type=int, default=10000, help="vocabulary size")


def make_lm(args: argparse.Namespace, **settings) -> RecurrentLMForCausalLM:
    """The model of Zaremba et al. 2015 in other sizes, without dropout, in evaluation mode."""
    dropouts = dict.fromkeys(("embedding_dropout", "hidden_dropout", "readout_dropout"), 0.0)
    config = RecurrentLMConfig.zaremba(
        vocab_size=args.vocabulary,
        embedding_size=args.hidden,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        **dropouts | settings,
    )
    return RecurrentLMForCausalLM(config).eval()
