"""Each task: its arguments, its examples, how it is validated, and its `main`."""
