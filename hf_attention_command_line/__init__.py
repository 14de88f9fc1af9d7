"""
The command `hf-attention`. It lies beside the package, whose import takes seconds: neither `--help` nor the end upon a
signal waits for that.
"""
