#!/bin/sh
# Finds the CUDA toolkit and prints its root, the folder with bin/nvcc and include/cuda.h:
#   1. CUDA_HOME or CUDA_PATH, 2. the nvcc on the PATH, 3. /usr/local/cuda,
#   4. NVIDIA's Python packages, installed into OUT/toolkit by this script (about 300 MB; no GPU and no driver is needed).
# Usage: cuda/toolkit.sh OUT
set -eu
out=$1
package='cuda-toolkit[nvcc,crt,nvvm,cudart,cccl]==13.0.3' # the version that is tested; drivers from 580 on run its code
complete() { [ -x "$1/bin/nvcc" ] && [ -e "$1/include/cuda.h" ]; }
for root in "${CUDA_HOME:-}" "${CUDA_PATH:-}" "$(dirname "$(dirname "$(command -v nvcc || echo /none/bin/nvcc)")")" /usr/local/cuda; do
    if [ -n "$root" ] && complete "$root"; then
        echo "$root"
        exit 0
    fi
done
wheels() { find "$out/toolkit/lib" -maxdepth 4 -type d -path '*/site-packages/nvidia/cu13' 2>/dev/null | head -n 1; }
root=$(wheels)
if [ -z "$root" ] || ! complete "$root"; then
    echo "cuda: no CUDA toolkit on this machine: installing $package below $out" >&2
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq >&2
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >&2
        else
            echo "cuda: install the CUDA toolkit 12.8 or later (nvcc), or python3 with venv, and call make again" >&2
            exit 1
        fi
    fi
    python3 -m venv "$out/toolkit" >&2
    "$out/toolkit/bin/pip" install -q --disable-pip-version-check "$package" >&2
    root=$(wheels)
fi
complete "$root" || { echo "cuda: $package brought no nvcc" >&2; exit 1; }
echo "$root"
