#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go; what it measures is added to tests/truth, line by line as it comes.
#
#   scripts/on-a-gpu.sh                       candle's steps, held against what was predicted
#   scripts/on-a-gpu.sh path/to/measure.py    and the recorded cases, measured with PyTorch
#
# The measuring program is called as `python3 measure.py CASES.jsonl`, where each line is the "case" of a row of
# tests/truth/public.jsonl; it prints a row {"id", "case", "measured"} for each (src/truth.rs).
#
#   VRAMPLAN=FILE   a program that was built with --features cuda elsewhere, instead of building it here
#   OUT=FOLDER      where rows go instead of tests/truth
#   CASES=60        how many recorded cases are measured: spread evenly over those that fit the card, by size
#   PYTHON=python3  the Python that has PyTorch and transformers
set -euo pipefail
cd "$(dirname "$0")/.."

measure=${1:-}
out=${OUT:-tests/truth}
cases=${CASES:-60}
python=${PYTHON:-python3}
mkdir -p "$out"
if [[ -n $measure && ! -f $measure ]]; then
    echo "$measure: no such file; give the path of the measuring program" >&2
    exit 2
fi

if [[ -z ${VRAMPLAN:-} ]]; then
    cargo build --release --features cuda
    VRAMPLAN=target/release/vramplan
fi

status=0
"$VRAMPLAN" verify --device cuda --save "$out/verify_gpu.jsonl" || status=$?
# 3: there is no GPU, and nothing below would find one
if [[ $status == 3 ]]; then
    exit 3
fi

if [[ -z $measure ]]; then
    echo "PyTorch was not measured: give the path of the measuring program to do so" >&2
    exit "$status"
fi
if ! "$python" -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
    echo "PyTorch was not measured: $python has no PyTorch that sees a GPU, or no transformers" >&2
    exit "$status"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" - tests/truth/public.jsonl "$cases" "$out/pytorch_gpu.jsonl" > "$work/cases.jsonl" <<'PY'
import json, pathlib, sys, torch

source, count, done = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
known = {json.loads(line)["id"] for line in done.open()} if done.exists() else set()
room = 0.9 * torch.cuda.mem_get_info()[0]
rows = [json.loads(line) for line in open(source)]
# many GPUs are another matter, and what was measured already stays
rows = [row for row in rows if "parallel" not in row["case"] and row["measured"]["peak_reserved"] < room]
rows.sort(key=lambda row: row["measured"]["peak_reserved"])
count = min(count, len(rows))
chosen = [rows[i * len(rows) // count] for i in range(count)]
for row in chosen:
    if row["id"] not in known:
        print(json.dumps(row["case"]))
PY
echo "measuring $(wc -l < "$work/cases.jsonl") cases with PyTorch" >&2
# cases that could not be measured are told and are no rows
"$python" "$measure" "$work/cases.jsonl" | while IFS= read -r row; do
    case $row in
        *'"measured": '*) printf '%s\n' "$row" >> "$out/pytorch_gpu.jsonl" ;;
        *) printf 'not measured: %.300s\n' "$row" >&2 ;;
    esac
done || status=1

"$python" - tests/truth/public.jsonl "$out/pytorch_gpu.jsonl" <<'PY'
import json, sys

recorded = {row["id"]: row["measured"] for row in map(json.loads, open(sys.argv[1]))}
print(f"{'case':50} {'recorded allocated':>18} {'here':>15} {'':>8} {'recorded reserved':>18} {'here':>15} {'':>8}")
for row in map(json.loads, open(sys.argv[2])):
    here, there = row.get("measured", {}), recorded.get(row["id"])
    if there is None or "peak_allocated" not in here:
        continue
    cells = [row["id"].ljust(50)]
    for name in ("peak_allocated", "peak_reserved"):
        error = 100 * (there[name] / here[name] - 1)
        cells.append(f"{there[name]:>18} {here[name]:>15} {error:>+7.2f}%")
    print(" ".join(cells))
PY
exit "$status"
