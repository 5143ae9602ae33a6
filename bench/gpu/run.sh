#!/bin/sh
# Checks and times Cambium on the GPU of this machine, into one folder: conformance against float64, compute-sanitizer where it is
# installed, every kernel beside PyTorch's where it is installed, and training steps.
#   make cuda gpu-bench          (on any machine: makes bin/cambium-cuda and bin/cuda-conformance; no GPU is needed)
#   bench/gpu/run.sh OUT         (on the machine with the GPU, with those two files; nothing else is needed)
#   bench/gpu/run.sh OUT --tiny  (sizes that the emulated driver ends soon: CAMBIUM_CUDA_DRIVER=.../libcuda.so.1)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
out=$1
tiny=${2:-}
mkdir -p "$out"
cambium=$root/bin/cambium-cuda
conformance=$root/bin/cuda-conformance
for f in "$cambium" "$conformance"; do
    [ -x "$f" ] || { echo "bench/gpu: no $f: make cuda gpu-bench, and carry bin/ here" >&2; exit 1; }
done
{
    date -u
    "$cambium" version
    uname -a
    nvidia-smi 2>/dev/null || echo 'no nvidia-smi: an emulated driver, or none'
    python3 -c 'import torch; print("torch", torch.__version__, torch.version.cuda)' 2>/dev/null || echo 'no PyTorch here: its columns are left out'
} >"$out/machine.txt" 2>&1
cat "$out/machine.txt"

step() { # NAME COMMAND...: its output into OUT/NAME.txt; a failure is told and the rest goes on
    name=$1
    shift
    echo "== $name"
    if "$@" >"$out/$name.txt" 2>&1; then tail -n 3 "$out/$name.txt"; else
        failed="$failed $name"
        tail -n 20 "$out/$name.txt"
    fi
}
failed=
short=
shapes='gpt2-124m gpt2-1.5b llama-1b'
types='bf16 fp16'
samples='--samples 20 --batch 50ms'
if [ "$tiny" = --tiny ]; then
    short='-test.short -test.run TestConformance/^(Fill|Norm.*|Gemm|AttentionForward)$'
    shapes=tiny
    types=bf16
    samples='--samples 2 --batch 0s'
fi
# shellcheck disable=SC2086
step conformance "$conformance" -test.count=1 $short
if command -v compute-sanitizer >/dev/null && [ "$tiny" != --tiny ]; then
    for tool in memcheck racecheck; do
        step "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "$conformance" -test.short -test.count=1
    done
fi
for shape in $shapes; do
    for type in $types; do
        # shellcheck disable=SC2086
        step "kernels-$shape-$type" "$cambium" bench kernels --backend cuda --shape "$shape" --dtype "$type" $samples --output-dir "$out/kernels-$shape-$type"
        if grep -q '^torch' "$out/machine.txt"; then
            step "torch-$shape-$type" python3 "$here/torch_kernels.py" --shape "$shape" --dtype "$type" --json "$out/torch-$shape-$type.json"
        fi
    done
done
if [ "$tiny" = --tiny ]; then
    step step-tiny "$cambium" bench step --backend cuda --config "$root/configs/gpt-30m.yaml" --num-layers 1 --hidden-size 32 --num-attention-heads 1 \
        --vocab-size 128 --seq-length 32 --micro-batch-size 1 --global-batch-size 1 --bf16 --warmup 1 --steps 1 --json
else
    step step-gpt2-124m "$cambium" bench step --backend cuda --config "$root/configs/gpt2-124m.yaml" --seq-length 1024 --micro-batch-size 16 \
        --global-batch-size 16 --bf16 --warmup 5 --steps 20 --json
fi
[ -z "$failed" ] || { echo "bench/gpu: failed:$failed; see $out" >&2; exit 1; }
echo "bench/gpu: results in $out"
