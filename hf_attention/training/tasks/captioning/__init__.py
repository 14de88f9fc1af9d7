"""Captioning: sentences about images."""
