"""
Makes the pictures of docs/seeing_attention.md, from any models.

    python scripts/make_pictures.py --captioner runs/demo/best --translator runs/toy --output_dir runs/pictures
"""

from hf_attention.seeing.examples import main


if __name__ == "__main__":
    main()
