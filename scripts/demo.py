"""
Shows models on a web page: they caption, answer and translate, and show where they looked.

    python scripts/demo.py --captioner runs/demo/best --answerer runs/scene-questions/best --translator runs/translator
    python scripts/demo.py --captioner someone/captioner --write_space space
"""

from hf_attention.demo.start import main


if __name__ == "__main__":
    main()
