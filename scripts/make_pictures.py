"""
Makes the pictures of docs/seeing_attention.md, from any models, and those of docs/lecture.md.

    python scripts/make_pictures.py --captioner runs/demo/best --translator runs/toy --output_dir runs/pictures
    python scripts/make_pictures.py --page docs/lecture.md --output_dir docs/pictures
"""

from hf_attention.seeing.examples import main


if __name__ == "__main__":
    main()
