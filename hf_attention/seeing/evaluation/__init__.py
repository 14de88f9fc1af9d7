"""How well attention points at what a model speaks of, or aligns the words of two languages."""
