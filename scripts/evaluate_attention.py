"""
Measures whether attention lies where it should, for any checkpoint of this package.

    python scripts/evaluate_attention.py --model runs/captioner runs/answers runs/translator --json attention.json
"""

from hf_attention.seeing.evaluation.report import main


if __name__ == "__main__":
    main()
