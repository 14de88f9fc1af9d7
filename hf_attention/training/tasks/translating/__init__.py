"""Sentences from sentences: translation, and replies in a chat."""
