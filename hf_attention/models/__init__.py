"""
The models, and all that travels with a checkpoint to the Hub; nothing else is here, and nothing here has folders.

It is plain PyTorch, to be read beside the papers. Quicker ways of computing the same are in `hf_attention.fast`.
"""
