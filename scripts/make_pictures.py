"""
Makes the pictures of the documents: those that the blocks of Python of a page save.

    python scripts/make_pictures.py --page docs/seeing_attention.md docs/lecture.md --output_dir docs/pictures
"""

from hf_attention.seeing.document_pictures import main


if __name__ == "__main__":
    main()
