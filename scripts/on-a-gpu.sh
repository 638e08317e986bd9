#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go; what it measures is added to tests/truth, line by line as it comes.
#
#   scripts/on-a-gpu.sh path/to/measure.py    all of it
#   scripts/on-a-gpu.sh                       without the recorded cases
#
# verify_gpu.jsonl    candle's training steps, held against what was predicted
# contexts_gpu.jsonl  what PyTorch takes of the card for itself: context, kernels, cuBLAS
# pytorch_gpu.jsonl   recorded cases, measured again with PyTorch
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
if [[ -n $measure && ! -f $measure ]]; then
    echo "error: $measure: no such file; give the path of the measuring program" >&2
    exit 2
fi
if [[ ! $cases =~ ^[1-9][0-9]*$ ]]; then
    echo "error: CASES=$cases: give the number of cases to measure, as CASES=60" >&2
    exit 2
fi
# /dev/dxg: Windows' subsystem for Linux
if ! nvidia-smi -L >/dev/null 2>&1 && [[ ! -e /dev/nvidiactl && ! -e /dev/dxg ]]; then
    echo "error: no NVIDIA GPU here: nvidia-smi lists none, and there is no /dev/nvidiactl; run this on a machine with one" >&2
    exit 3
fi
if [[ -z ${VRAMPLAN:-} ]]; then
    scripts/build-cuda.sh
    VRAMPLAN=target/release/vramplan
fi
mkdir -p "$out"
# cuBLAS and cuRAND may be there only as PyTorch's
if prefix=$("$python" -c 'import sys; print(sys.prefix)' 2>/dev/null); then
    export VIRTUAL_ENV=${VIRTUAL_ENV:-$prefix}
fi

status=0
"$VRAMPLAN" verify --device cuda --save "$out/verify_gpu.jsonl" || status=$?

if ! "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    echo "error: PyTorch was not measured: $python has none that sees a GPU; install it, or name a Python that has with PYTHON" >&2
    exit $((status > 0 ? status : 3))
fi

"$python" - "$out/contexts_gpu.jsonl" <<'PY' || status=1
import json, os, subprocess, sys, torch


def asked(what, *columns):
    text = subprocess.run(["nvidia-smi", f"--query-{what}={','.join(columns)}", "--format=csv,noheader,nounits"],
                          capture_output=True, text=True).stdout
    return [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]


def process():
    """What NVML says of this process; nothing in a container with processes of its own."""
    own = [used for pid, used in asked("compute-apps", "pid", "used_memory") if pid == str(os.getpid())]
    return int(own[0]) << 20 if own and own[0].isdigit() else None


cards = asked("gpu", "memory.used", "driver_version")
# of several cards nobody says which one is first
before = int(cards[0][0]) << 20 if len(cards) == 1 and cards[0][0].isdigit() else None
stages = []


def stage(name, tensors=()):
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    own = sum(tensor.untyped_storage().nbytes() for tensor in tensors)
    stages.append({"name": name, "process_bytes": process(),
                   "card_growth_bytes": None if before is None else total - free - before,
                   "reserved_bytes": torch.cuda.memory_reserved(),
                   # cuBLAS' workspaces are PyTorch's allocations
                   "workspace_bytes": torch.cuda.memory_allocated() - own})


torch.cuda.init()
stage("context")
x = torch.ones(1024, 1024, device="cuda")
y = (x + x).exp()
stage("kernels", [x, y])
for dtype in (torch.float32, torch.bfloat16):
    a, b = x.to(dtype), y.to(dtype)
    z = a @ b
    # what is the same tensor counts once
    stage(f"matmul {str(dtype).removeprefix('torch.')}", {t.data_ptr(): t for t in (x, y, a, b, z)}.values())
    del a, b, z
major, minor = torch.cuda.get_device_capability()
row = {"gpu": torch.cuda.get_device_name(), "compute_capability": f"{major}.{minor}",
       "driver_version": cards[0][1] if cards else None, "torch": torch.__version__, "cuda": torch.version.cuda, "stages": stages}
with open(sys.argv[1], "a") as file:
    print(json.dumps(row), file=file)
print(f"\n{'PyTorch has done':20} {'process':>15} {'card grew by':>15} {'reserved':>15} {'workspaces':>15}")
for at in stages:
    figures = (at[key] for key in ("process_bytes", "card_growth_bytes", "reserved_bytes", "workspace_bytes"))
    print(f"{at['name']:20}", *(f"{'unknown' if one is None else one:>15}" for one in figures))
PY

if [[ -z $measure ]]; then
    echo "recorded cases were not measured: give the path of the measuring program to do so" >&2
    exit "$status"
fi
if ! "$python" -c 'import transformers, peft' 2>/dev/null; then
    echo "error: recorded cases were not measured: $python lacks transformers or peft; install both" >&2
    exit $((status > 0 ? status : 3))
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
for row in (rows[at * len(rows) // count] for at in range(count)):
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
if [[ ! -s $out/pytorch_gpu.jsonl ]]; then
    echo "error: no case was measured" >&2
    exit 1
fi

"$python" - tests/truth/public.jsonl "$out/pytorch_gpu.jsonl" <<'PY'
import json, sys

recorded = {row["id"]: row["measured"] for row in map(json.loads, open(sys.argv[1]))}
print(f"\n{'case':50} {'recorded allocated':>18} {'here':>15} {'':>8} {'recorded reserved':>18} {'here':>15} {'':>8}")
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
