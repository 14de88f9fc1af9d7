"""The command `hf-attention` as a module, for `accelerate launch -m hf_attention train captioner …`."""

from hf_attention_command_line.main import start


if __name__ == "__main__":
    start()
