"""How the small models of `hf_attention/checkpoints/` are trained, measured and packaged: `make checkpoints`."""
