"""Each task: its arguments, its examples, and how it is validated."""
