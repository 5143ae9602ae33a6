#!/bin/sh
# Everything of CUDA that needs no GPU: the emulated driver's own tests, the backend and the trainer on it, with delayed streams and
# with every access checked, and bench/gpu's script at tiny sizes. Called by `make test-cuda` with GO; SHORT=-short takes fewer sizes.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}
fast=$PWD/build/cuda/emu/fast checked=$PWD/build/cuda/emu/checked
environment=$(GO=$go cuda/env.sh build/cuda)
eval "$environment"

"$go" vet -tags cuda ./src/backend/cuda ./src/comm/nccl
"$go" tool -modfile=tools.mod staticcheck -tags cuda ./src/backend/cuda ./src/comm/nccl

ran=$PWD/build/cuda/ran.txt # names of kernels that the tests ran
rm -f "$ran"

on() { # DRIVER'S FOLDER, VARIABLES... -- ARGUMENTS OF go test...
    variables="CAMBIUM_CUDA_DRIVER=$1/libcuda.so.1 CAMBIUM_EMU_RAN=$ran"
    shift
    while [ "$1" != -- ]; do variables="$variables $1"; shift; done
    shift
    # shellcheck disable=SC2086
    env $variables "$go" test -count=1 -tags cuda -timeout 15m "$@"
}

# Two lists at once: each keeps about one core busy. What the second one says follows the first.
log=build/cuda/test.log
trains() {
    on "$fast" CAMBIUM_EMU_SEED=3 -- -run Device ./src/bench ./src/cmd/cambium/doctor ./src/comm/staged ./tests/layouts ./tests/parity
    on "$fast" CAMBIUM_NCCL="$fast/libnccl.so.2" CAMBIUM_EMU_DEVICES=8 CAMBIUM_EMU_SEED=5 -- -run 'Conformance|NCCL|Refused|Wrong|Differ|UnderWay|Free|OnGPUs' ./src/comm/nccl ./src/train ./tests/layouts
}
(trains) >"$log" 2>&1 &
second=$!
trap 'kill "$second" 2>/dev/null || true; cat "$log"' EXIT

# CAMBIUM_EMU_SEED delays streams at random: a result that an event should have ordered changes.
# shellcheck disable=SC2086
on "$fast" CAMBIUM_CUBLASLT="$fast/libcublasLt.so.13" CAMBIUM_EMU_SEED=7 -- ${SHORT:-} ./src/backend/cuda
on "$fast" CAMBIUM_EMU_SM=90 CAMBIUM_EMU_SEED=2 -- -short -run 'Wgmma|Conformance/(Gemm|Attention).*16,_aligned' ./src/backend/cuda
# One block at a time: what is found is the same, and no locks are taken.
on "$checked" CAMBIUM_EMU_THREADS=1 -- -short -run '(TestConformance|Missing)/^([A-Za-z]+|Gemm_in_bf16|.*_in_bf16,_aligned)$' ./src/backend/cuda

# sm_90a's too, with warps in random order: of two warpgroups one must be behind for a tile to be overwritten under it.
on "$checked" CAMBIUM_EMU_THREADS=1 CAMBIUM_EMU_SM=90 CAMBIUM_EMU_SEED=3 -- -short -run '(TestConformance|TestWgmmaConforms)/^(Gemm|Attention).*bf16,_aligned' ./src/backend/cuda

# Every kernel that was compiled has been in some test.
if [ -e build/cuda/resources.txt ]; then
    idle=$(awk '{ print $1 }' build/cuda/resources.txt | sort -u | while read -r k; do grep -qx "$k" "$ran" || echo "$k"; done)
    if [ -n "$idle" ]; then
        echo "test-cuda: no test ran these kernels:" $idle >&2
        exit 1
    fi
    echo "test-cuda: tests ran all $(awk '{ print $1 }' build/cuda/resources.txt | sort -u | wc -l) kernels"
fi

"$go" build -tags cuda -o build/cuda/cambium ./src/cmd/cambium
"$go" test -c -tags cuda -o build/cuda/conformance ./src/backend/cuda
CAMBIUM_CUDA_DRIVER=$fast/libcuda.so.1 CAMBIUM=build/cuda/cambium CONFORMANCE=build/cuda/conformance bench/gpu/run.sh build/cuda/tiny --tiny

trap - EXIT
status=0
wait "$second" || status=$?
cat "$log"
exit "$status"
