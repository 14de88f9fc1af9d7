"""A web page on which models caption, answer and translate, and show where they looked. Needs gradio."""
