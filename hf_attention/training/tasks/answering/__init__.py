"""Answering questions about images."""
