#!/bin/sh
# Which cases of the conformance suite run which kernel, on the emulated driver (`make emulator`): a line "KERNEL CASE..." each, into
# OUT, build/cuda/tested.txt otherwise. bench/gpu/report.py puts them into its table of kernels. A few minutes.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go} out=${1:-build/cuda/tested.txt}
driver=$PWD/build/cuda/emu/fast/libcuda.so.1
environment=$(GO=$go cuda/env.sh build/cuda)
eval "$environment"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
"$go" test -c -tags cuda -o "$work/conformance" ./src/backend/cuda
for name in $(sed -n 's/^\t{"\([A-Za-z]*\)", case.*/\1/p' src/backend/conformance/run.go); do
    for sm in 80 90; do # as a process notes a kernel once, every case has its own
        CAMBIUM_CUDA_DRIVER=$driver CAMBIUM_EMU_SM=$sm CAMBIUM_EMU_RAN=$work/ran "$work/conformance" -test.short \
            -test.run "^(TestConformance|TestWgmmaConforms)\$/^$name(_in_.*|,_aligned)?\$" >"$work/log" || { cat "$work/log"; exit 1; }
    done
    [ -e "$work/ran" ] || continue
    sort -u "$work/ran" | sed "s/\$/ $name/" >>"$work/all"
    rm "$work/ran"
done
sort "$work/all" | awk '$1 != last { if (NR > 1) print line; line = last = $1 } { line = line " " $2 } END { print line }' >"$out"
echo "cuda: $(wc -l <"$out") kernels by the conformance suite: $out"
