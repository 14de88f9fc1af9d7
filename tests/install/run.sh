#!/usr/bin/env bash
# Builds an sdist and a wheel, checks them, installs the wheel alone into a bare environment and uses it there; then
# runs tests out of the unpacked sdist. PYTHON is the development environment's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python="$PWD/${PYTHON:?}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

"$python" -m build --outdir "$work/dist" .
"$python" -m twine check --strict "$work"/dist/*

"$python" -m venv "$work/bare"
"$work/bare/bin/python" -m pip install --quiet --no-compile "$(grep '^torch==' constraints.txt)" "$work"/dist/*.whl
cp tests/install/models.py "$work"
(cd "$work" && HF_HUB_OFFLINE=1 bare/bin/python models.py "$work/models")
# The command, beside which nothing else of a checkout lies.
(cd "$work" && bare/bin/hf-attention env && echo "a small red circle" | HF_HUB_OFFLINE=1 bare/bin/hf-attention translate \
    --model models/translator --max_new_tokens 5 --json | grep translation_text)
(cd "$work" && echo "a small red ring" | HF_HUB_OFFLINE=1 bare/bin/hf-attention translate --model toy-translator | grep pushi)

mkdir "$work/sdist"
tar -xf "$work"/dist/*.tar.gz -C "$work/sdist" --strip-components 1
# The documents' blocks of Python, which take long, need no more files than what is asked here.
(cd "$work/sdist" && PYTHONPATH="$work/sdist" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$python" -m pytest -q -n 2 \
    --dist worksteal -m "not slow" -k "not blocks_of_python_run" \
    tests/test_auto.py tests/models/test_configuration.py tests/test_documents.py)
