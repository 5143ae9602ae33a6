#!/bin/sh
# Compiles every kernel for every target into one fatbin a file, and reads what ptxas says of it: registers, shared memory and
# spills go into OUT/resources.txt, and a kernel that spills fails the build unless cuda/spills.txt accepts it by name.
# Usage: cuda/compile.sh TOOLKIT OUT DESTINATION     (fatbins go to DESTINATION)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
toolkit=$1 out=$2 destination=$3
mkdir -p "$out/fatbins" "$destination"
targets='-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_100,code=[sm_100,compute_100]'

# One file, which this script calls itself for.
if [ -n "${CAMBIUM_COMPILE_ONE:-}" ]; then
    f=$CAMBIUM_COMPILE_ONE
    name=$(echo "${f#"$here"/}" | sed 's|/kernel\.cu$||; s|\.cu$||; s|/|-|g')
    log=$out/fatbins/$name.log
    if [ ! -e "$destination/$name.fatbin" ] || [ -n "$(find "$here" -newer "$destination/$name.fatbin" -name '*.cu*' | head -n 1)" ]; then
        # shellcheck disable=SC2086
        "$toolkit/bin/nvcc" -std=c++17 -O3 $targets -fatbin -Xptxas -v -diag-suppress 177 "$f" -o "$destination/$name.fatbin" >"$log" 2>&1 || {
            cat "$log" >&2
            rm -f "$destination/$name.fatbin"
            exit 1
        }
    fi
    exit 0
fi

# As many at once as there are cores, and the longest first: gemm/mma.cu alone takes a third of the time of two cores.
{
    echo "$here/gemm/mma.cu"
    ls -S "$here"/*/*.cu | grep -vxF "$here/gemm/mma.cu"
} | xargs -P "$(nproc 2>/dev/null || echo 2)" -I '{}' env CAMBIUM_COMPILE_ONE='{}' "$0" "$toolkit" "$out" "$destination"

# ptxas -v says, for every kernel and target, three lines: which, its stack and spills, and its registers and shared memory.
cat "$out"/fatbins/*.log | awk '
    /Compiling entry function/ { split($0, q, "\x27"); kernel = q[2]; target = q[4] }
    /bytes spill stores/ { for (i = 1; i <= NF; i++) { if ($i == "stack") stack = $(i-2); if ($i == "spill" && $(i+1) ~ /^stores/) spill = $(i-2) } }
    /Used [0-9]+ registers/ {
        registers = shared = 0
        for (i = 1; i <= NF; i++) { if ($(i) == "registers,") registers = $(i-1); if ($(i) ~ /^smem/) shared = $(i-2) }
        printf "%-36s %-8s %4d registers %6d bytes shared %4d bytes stack %4d bytes spilled\n", kernel, target, registers, shared, stack, spill
    }' | sort -u >"$out/resources.txt"
bad=$(awk '$(NF-2) > 0 { print $1 }' "$out/resources.txt" | sort -u | grep -vxFf "$here/spills.txt" || true)
if [ -n "$bad" ]; then
    echo "cuda: registers of these kernels spill, and cuda/spills.txt does not accept that:" >&2
    for k in $bad; do grep "^$k " "$out/resources.txt" >&2; done
    exit 1
fi
echo "cuda: $(awk '{ print $1 }' "$out/resources.txt" | sort -u | wc -l) kernels for $(awk '{ print $2 }' "$out/resources.txt" | sort -u | tr '\n' ' ')in $destination; resources in $out/resources.txt"
