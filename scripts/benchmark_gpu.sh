#!/usr/bin/env bash
# What a GPU gives, beside JoeyNMT and BLIP-base, and what compiled steps give, in at most eight minutes:
#
#     scripts/benchmark_gpu.sh --joeynmt FOLDER --json gpu.json
#
# FOLDER holds the package joeynmt (pip install --no-deps --target FOLDER joeynmt); without it, it is left out. A part
# that does not end in its time is left out of the JSON file. `--device cpu --quick` rehearses all of it with tiny
# models, without limits of time. The environment variable PYTHON names the Python that has the package.
set -euo pipefail
cd "$(dirname "$0")/.."

device=cuda json=gpu.json peers=() quick=()
while [ $# -gt 0 ]; do
    case $1 in
        --joeynmt) peers=(--joeynmt "$2"); shift 2 ;;
        --json) json=$2; shift 2 ;;
        --device) device=$2; shift 2 ;;
        --quick) quick=(--quick); shift ;;
        *) echo "Unknown option $1: there are --joeynmt, --json, --device and --quick." >&2; exit 2 ;;
    esac
done

python=${PYTHON:-python3}
if [ "$device" = cuda ] && ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    echo "PyTorch finds no GPU here. \`--device cpu --quick\` rehearses this script." >&2
    exit 1
fi

batches=(1 32 64) images=64 repeats=5 tokens=20 training=() backend=inductor
if [ ${#quick[@]} -gt 0 ]; then
    batches=(1 2) images=2 repeats=1 tokens=4 training=(--train_batches 2 --batch_size 4) backend=aot_eager
fi

parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
status=0

# measure NAME SECONDS ARGUMENTS...
measure() {
    echo "== $1"
    # A limit of 0 is none.
    if ! timeout $([ "$device" = cuda ] && echo "$2" || echo 0) "$python" scripts/benchmark.py "${@:3}" --device "$device" --repeats "$repeats" \
        --tokens "$tokens" "${quick[@]}" --json "$parts/$1.json"; then
        echo "$1: failed, or took longer than $2 s." >&2
        status=1
    fi
}

measure training 80 peers --only training "${training[@]}" "${peers[@]}"
measure writing 120 peers --only writing --batches "${batches[@]}" "${peers[@]}"
measure captions 80 peers --only captions --images "$images"
measure compiled 200 compiled --batches "${batches[@]}" --backend "$backend" "${training[@]}"

"$python" - "$parts" "$json" "$device" <<'END'
import json, pathlib, sys
import torch

parts, target, device = sys.argv[1:]
name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
numbers = {path.stem: json.loads(path.read_text()) for path in sorted(pathlib.Path(parts).glob("*.json"))}
pathlib.Path(target).write_text(json.dumps({"device": name, "torch": torch.__version__, **numbers}, indent=2) + "\n")
print(f"{target}: {', '.join(numbers) or 'nothing was measured'} on {name}")
END
exit $status
