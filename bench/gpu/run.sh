#!/bin/sh
# Checks and times Cambium on the GPU of this machine, into one folder: conformance against float64, every kernel and whole training
# steps beside PyTorch's where it is installed, and compute-sanitizer where that is installed.
#   make cuda gpu-bench             (on any machine: makes bin/cambium-cuda and bin/cuda-conformance; no GPU is needed)
#   bench/gpu/run.sh OUT [PART...]  (on the machine with the GPU, with those two files; nothing else is needed: about 5 minutes)
#   bench/gpu/run.sh OUT --tiny     (sizes that the emulated driver ends soon: CAMBIUM_CUDA_DRIVER=.../libcuda.so.1)
# Parts: conformance kernels steps sanitizer; none named: all. Every program has a time limit of its own; what fails or runs into it is
# told, and the rest goes on. Variables, with what they are otherwise:
#   SHAPES="gpt2-124m gpt2-1.5b llama-1b"  TYPES=bf16  TOKENS=16384   of kernels
#   MODELS="gpt2-124m:16 gpt2-1.5b:8 llama-1b:8"               of steps, with the sequences of a batch
#   LLMC=   the path of llm.c's train_gpt2cu, timed in turn with the others on LLMC_MODELS=gpt2-124m (it starts slowly)
#   CAMBIUM=bin/cambium-cuda  CONFORMANCE=bin/cuda-conformance  the programs
#   ROUNDS=2  STEPS=20  COMPILE="whole for gpt2-124m, blocks for larger ones"  PYTHON=python3
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2; }
out=$1
shift
tiny= parts=
for p in "$@"; do
    case $p in
    --tiny) tiny=yes ;;
    conformance | kernels | steps | sanitizer) parts="$parts $p" ;;
    *) echo "bench/gpu: $p: want conformance, kernels, steps, sanitizer or --tiny" >&2; exit 2 ;;
    esac
done
parts=${parts:-conformance kernels steps sanitizer}
python=${PYTHON:-python3}
cambium=${CAMBIUM:-$root/bin/cambium-cuda}
conformance=${CONFORMANCE:-$root/bin/cuda-conformance}
for f in "$cambium" "$conformance"; do
    [ -x "$f" ] || { echo "bench/gpu: no $f: make cuda gpu-bench, and carry bin/ here" >&2; exit 1; }
done
mkdir -p "$out" || exit 1
torch=
{
    date -u
    "$cambium" version
    uname -a
    lscpu 2>/dev/null | grep 'Model name' | head -n 1
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit --format=csv,noheader 2>/dev/null || echo 'no nvidia-smi: an emulated driver, or none'
    "$python" -c 'import torch; print("torch", torch.__version__, torch.version.cuda)' 2>/dev/null || echo 'no PyTorch here: its columns are left out'
} >"$out/machine.txt" 2>&1
cat "$out/machine.txt"
grep -q '^torch' "$out/machine.txt" && [ -z "$tiny" ] && torch=yes

# PyTorch's cuBLASLt for both.
if [ -n "$torch" ] && [ -z "${CAMBIUM_CUBLASLT:-}" ]; then
    CAMBIUM_CUBLASLT=$("$python" -c 'import glob, sysconfig; print((glob.glob(sysconfig.get_paths()["purelib"] + "/nvidia/*/lib/libcublasLt.so.1[23]") + [""])[0])')
    if [ -n "$CAMBIUM_CUBLASLT" ]; then export CAMBIUM_CUBLASLT; else unset CAMBIUM_CUBLASLT; fi
fi
"$cambium" doctor --disk-mib 0 2>&1 | sed -n '/^CUDA/,/^$/p' | tee -a "$out/machine.txt"

began=$(date +%s)
failed=
file() { # NAME: where its output is
    case $1 in step-*) echo "$out/$1.json" ;; *) echo "$out/$1.txt" ;; esac
}
limited() { # SECONDS NAME COMMAND...: its output into a file, its errors into OUT/NAME.err
    seconds=$1 what=$2
    shift 2
    timeout -k 5 "$seconds" "$@" >"$(file "$what")" 2>"$out/$what.err"
}
told() { # LINES NAME STATUS: the last lines of a program's output, and of its errors where it failed
    show=$1
    shift
    echo "== [$(($(date +%s) - began)) s] $1"
    [ -s "$out/$1.err" ] || rm -f "$out/$1.err"
    case $2 in
    0) tail -n "$show" "$(file "$1")" ;;
    124 | 137) failed="$failed $1"; tail -n 3 "$(file "$1")"; echo "$1: not at its end after its time" ;;
    *) failed="$failed $1"; tail -n 5 "$(file "$1")"; tail -n 15 "$out/$1.err" 2>/dev/null; echo "$1: failed with $2" ;;
    esac
}
step() { # LINES SECONDS NAME COMMAND...
    lines=$1
    shift
    limited "$@"
    told "$lines" "$2" $?
}

conformance() {
    if [ -n "$tiny" ]; then
        step 3 120 conformance "$conformance" -test.count=1 -test.v -test.short -test.run 'TestConformance/^(Fill|Norm.*|Gemm|AttentionForward)$'
    else
        step 3 90 conformance "$conformance" -test.count=1 -test.v
        grep -c -- '--- PASS' "$out/conformance.txt"
    fi
}

kernels() {
    samples='--samples 15 --batch 20ms --tokens '"${TOKENS:-16384}"
    [ -n "$tiny" ] && samples='--samples 2 --batch 0s' SHAPES=tiny
    for shape in ${SHAPES:-gpt2-124m gpt2-1.5b llama-1b}; do
        for type in ${TYPES:-bf16}; do
            # shellcheck disable=SC2086
            step 40 60 "kernels-$shape-$type" "$cambium" bench kernels --backend cuda --shape "$shape" --dtype "$type" $samples --output-dir "$out/kernels-$shape-$type"
            [ -n "$torch" ] && step 40 60 "torch-$shape-$type" "$python" "$here/torch_kernels.py" --shape "$shape" --dtype "$type" --samples 15 --batch 0.02 --tokens "${TOKENS:-16384}" --json "$out/torch-$shape-$type.json"
        done
    done
}

# Ours and PyTorch's in turn, so that a GPU that grows warm slows both.
steps() {
    if [ -n "$tiny" ]; then
        step 3 120 step-tiny-cambium-1 "$cambium" bench step --backend cuda --config "$root/configs/gpt-30m.yaml" --num-layers 1 --hidden-size 32 \
            --num-attention-heads 1 --vocab-size 128 --seq-length 32 --micro-batch-size 1 --global-batch-size 1 --bf16 --warmup 1 --steps 1 --profile --json
        return
    fi
    for model in ${MODELS:-gpt2-124m:16 gpt2-1.5b:8 llama-1b:8}; do
        name=${model%:*} batch=${model#*:} profile=--profile
        compile=blocks
        [ "$name" = gpt2-124m ] && compile=whole
        for round in $(seq "${ROUNDS:-2}"); do
            step 0 60 "step-$name-cambium-$round" "$cambium" bench step --backend cuda --config "$root/configs/$name.yaml" --bf16 \
                --micro-batch-size "$batch" --global-batch-size "$batch" --warmup 5 --steps "${STEPS:-20}" --json $profile
            profile=
            [ -n "$torch" ] && step 0 120 "step-$name-torch-$round" "$python" "$here/torch_step.py" --model "$name" --micro-batch "$batch" \
                --warmup 5 --steps "${STEPS:-20}" --compile "${COMPILE:-$compile}" --json
            case " ${LLMC_MODELS:-gpt2-124m} " in
            *" $name "*) [ -n "${LLMC:-}" ] && step 0 60 "step-$name-llmc-$round" "$python" "$here/llmc_step.py" "$LLMC" --model "$name" --micro-batch "$batch" --steps "${STEPS:-20}" ;;
            esac
            grep -h -E '"(program|step_ms_median|tokens_per_sec|gflops|mfu|memory_mb|loss)"' "$out"/step-"$name"-*-"$round".json
        done
    done
}

# Kernels of a type are one template: bf16 stands for all of 16 bits. Racecheck is the slowest, and looks at shared memory alone. Both tools run at once, for they measure no time.
sanitizer() {
    [ -z "$tiny" ] || return
    command -v compute-sanitizer >/dev/null || { echo 'no compute-sanitizer here'; return; }
    limited 90 sanitizer-memcheck compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 1 "$conformance" -test.short -test.v -test.count=1 \
        -test.run "${MEMCHECK:-TestConformance/^(Fill|Copy|.*_in_bf16|.*_in_bf16,_aligned|Gemm|NormBackward|AdamW)\$}" &
    memcheck=$!
    limited 90 sanitizer-racecheck compute-sanitizer --tool racecheck --error-exitcode 1 "$conformance" -test.short -test.v -test.count=1 \
        -test.run "${RACECHECK:-TestConformance/^(Gemm.*_in_bf16,_aligned|Norm.*_in_bf16,_aligned|Attention(Forward|Backward)_in_bf16,_aligned|ColumnSum_in_bf16|SumSquares|CrossEntropy_in_bf16|Embedding_in_bf16)\$}"
    raced=$?
    wait $memcheck
    told 3 sanitizer-memcheck $?
    told 3 sanitizer-racecheck $raced
    for tool in memcheck racecheck; do
        f=$out/sanitizer-$tool.txt
        echo "$tool: $(grep -c -- '--- PASS' "$f") tests passed, $(grep -c -E '^========= (Invalid|Error:|Race reported|Misaligned|Program hit)' "$f") reports; $(grep SUMMARY "$f" || echo 'no summary')"
    done
}

for part in $parts; do $part; done
command -v "$python" >/dev/null && "$python" "$here/report.py" "$out" --resources "$root/build/cuda/resources.txt" --tested "$root/build/cuda/tested.txt" >"$out/README.md"
echo "bench/gpu: $(($(date +%s) - began)) s"
[ -z "$failed" ] || { echo "bench/gpu: failed:$failed; see $out" >&2; exit 1; }
echo "bench/gpu: results in $out"
