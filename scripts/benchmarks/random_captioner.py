"""A captioner with random weights, of the sizes named on the command line."""

import argparse

from hf_attention.models.configuration_attention_captioner import AttentionCaptionerConfig
from hf_attention.models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that [`make_captioner`] reads."""
    parser.add_argument("--embedding", type=int, default=256, help="embedding size")
    parser.add_argument("--hidden", type=int, default=512, help="size of state, attention and readout")
    parser.add_argument("--memory", type=int, default=1024, help="memory size")
    parser.add_argument("--vocabulary", type=int, default=8000, help="vocabulary size")


def make_captioner(args: argparse.Namespace) -> AttentionCaptionerForConditionalGeneration:
    """A captioner with random weights that attends to the features it is given as they are."""
    config = AttentionCaptionerConfig(
        vocab_size=args.vocabulary,
        bos_token_id=2,
        embedding_size=args.embedding,
        hidden_size=args.hidden,
        attention_size=args.hidden,
        memory_size=args.memory,
        project_regions=False,
    )
    return AttentionCaptionerForConditionalGeneration(config)
