#!/usr/bin/env bash
# Builds target/release/vramplan with CUDA, or says what that takes and is missing. Arguments go to `cargo build`.
set -euo pipefail
cd "$(dirname "$0")/.."

toolkit=${CUDA_HOME:-${CUDA_PATH:-}}
for folder in "$toolkit" /usr/local/cuda /opt/cuda; do
    if [[ -n $folder && -x $folder/bin/nvcc ]]; then
        export CUDA_HOME=$folder PATH=$folder/bin:$PATH
        break
    fi
done
if ! command -v nvcc >/dev/null; then
    cat >&2 <<'TEXT'
error: there is no nvcc, neither in PATH nor in CUDA_HOME, /usr/local/cuda or /opt/cuda: install the CUDA toolkit, version 12 or
13 (https://developer.nvidia.com/cuda-downloads), or five wheels of PyPI, 105 MB (README, "Building for CUDA")
TEXT
    exit 2
fi
if ! command -v "${CXX:-g++}" >/dev/null; then
    echo "error: there is no ${CXX:-g++}, which nvcc compiles with: install it (Debian and Ubuntu: apt-get install g++)" >&2
    exit 2
fi
if [[ -z ${CUDA_COMPUTE_CAP:-} ]] && ! nvidia-smi -L >/dev/null 2>&1; then
    echo "error: no GPU says what to build for: set CUDA_COMPUTE_CAP to its compute capability without the dot, as 80 for an A100" >&2
    exit 2
fi
exec cargo build --release --features cuda "$@"
