#!/bin/sh
# Times Cambium against PyTorch (and, when given, llm.c's CPU program) in one interleaved run: every round runs each
# program once, in turn, so that a machine that slows down slows all of them. Prints one JSON object a run; its key
# others_share tells what other programs took meanwhile (alone.py).
#
#   bench/peers/run.sh ROUNDS THREADS MODEL LEVEL > out.jsonl
#
#   MODEL   124M (GPT-2, batch 4 x 64 tokens) or 30M (6 layers, 384, batch 8 x 256)
#   LEVEL   native, or avx2: Cambium by CAMBIUM_CPU_LEVEL, PyTorch by its own switches and eager (torch.compile under
#           these switches gives a loss of NaN)
#   STEPS   (environment) steps that count, default 6
#   PYTHON  (environment) a python with torch, default python3
#   TORCH   (environment) how PyTorch runs at level native, default "compile eager"
#   IOMP    (environment) the path of libiomp5.so (PyPI: intel-openmp): every PyTorch run is repeated under it; optional
#   LLMC    (environment) the path of llm.c's train_gpt2, run in its own folder (make_llmc.py fills it); optional
set -eu
rounds=$1 threads=$2 model=$3 level=${4:-native}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
case $model in
124M) layers=12 hidden=768 heads=12 batch=4 seq=64 config=gpt2-124m ;;
30M) layers=6 hidden=384 heads=6 batch=8 seq=256 config=gpt-30m ;;
*) echo "run.sh: model $model: want 124M or 30M" >&2; exit 2 ;;
esac
# Keep freed pages: without this every step faults its large temporaries in again.
malloc="MALLOC_MMAP_THRESHOLD_=17179869184 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456"
torch() { # variables, -- and flags of torch_gpt.py
    variables=""
    while [ "$1" != -- ]; do variables="$variables $1"; shift; done
    shift
    # shellcheck disable=SC2086
    env $malloc $variables OMP_NUM_THREADS="$threads" MKL_NUM_THREADS="$threads" "$python" "$here/alone.py" "$python" "$here/torch_gpt.py" --layers $layers \
        --hidden $hidden --heads $heads --batch $batch --seq $seq --threads "$threads" --steps "${STEPS:-6}" --json "$@"
}
cambium() { # ranks
    "$python" "$here/alone.py" "$root/bin/cambium" bench step --config "$root/configs/$config.yaml" --seq-length $seq --micro-batch-size $((batch / $1)) \
        --global-batch-size $batch --local-ranks "$1" --threads-per-rank $((threads / $1)) --warmup 2 --steps "${STEPS:-6}" --json
}
for _ in $(seq "$rounds"); do
    case $level in
    native)
        CAMBIUM_CPU_LEVEL= cambium 1
        for way in ${TORCH:-compile eager}; do
            case $way in compile) flag=--compile ;; *) flag= ;; esac
            torch -- $flag
            if [ -n "${IOMP:-}" ]; then torch LD_PRELOAD="$IOMP" -- $flag --label " iomp5"; fi
        done
        ;;
    avx2)
        CAMBIUM_CPU_LEVEL=avx2 cambium 1
        torch ATEN_CPU_CAPABILITY=avx2 DNNL_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 --
        ;;
    *) echo "run.sh: level $level: want native or avx2" >&2; exit 2 ;;
    esac
    if [ -n "${LLMC:-}" ] && [ "$level" = native ]; then
        (cd "$(dirname "$LLMC")" && OMP_NUM_THREADS=$threads stdbuf -oL "./$(basename "$LLMC")" 2>&1 || true) |
            "$python" "$here/read_llmc.py" "$model" "$threads" 3
    fi
done
