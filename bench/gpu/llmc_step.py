"""Times the training step of llm.c's GPU program (train_gpt2cu of github.com/karpathy/llm.c, built with cuDNN), on random tokens.

    python3 bench/gpu/llmc_step.py TRAIN_GPT2CU --model gpt2-124m --micro-batch 16

bf16 with fp32 master weights, clipping and AdamW, no recomputation (-r 0), times by its own events, a step each. Its libraries (cuBLASLt, cuDNN)
are looked for beside the program and in the packages that PyTorch brings. The output has the keys of `cambium bench step --json`.
"""

import argparse
import glob
import json
import math
import os
import random
import re
import statistics
import struct
import subprocess
import sysconfig
import tempfile

MODELS = {"gpt2-124m": ("d12", 12, 768, 1024), "gpt2-1.5b": ("d48", 48, 1600, 1024)}
VOCAB = 50304  # rows of the table


def parameters(layers, hidden, seq):
    """Of a GPT-2 with biases and a tied table."""
    return (VOCAB + seq) * hidden + layers * (12 * hidden * hidden + 13 * hidden) + 2 * hidden


def write_tokens(path, n):
    """A shard: int32[256] = {20240520, 1, tokens}, then uint16 each."""
    rng = random.Random(1)
    with open(path, "wb") as f:
        f.write(struct.pack("<256i", 20240520, 1, n, *[0] * 253))
        f.write(struct.pack(f"<{n}H", *(rng.randrange(50257) for _ in range(n))))


def environment(program):
    packages = glob.glob(os.path.join(sysconfig.get_paths()["purelib"], "nvidia", "*", "lib"))
    dirs = [os.path.dirname(os.path.abspath(program)), *packages, os.environ.get("LD_LIBRARY_PATH", "")]
    return dict(os.environ, LD_LIBRARY_PATH=":".join(d for d in dirs if d))


def run(a, folder):
    descriptor, _, _, seq = MODELS[a.model]
    shards = [os.path.join(folder, name) for name in ("train.bin", "val.bin")]
    write_tokens(shards[0], a.micro_batch * seq * 8 + 1)
    write_tokens(shards[1], a.micro_batch * seq + 1)
    command = [os.path.abspath(a.program), "-i", shards[0], "-j", shards[1], "-e", descriptor, "-b", a.micro_batch, "-t", seq, "-d", a.micro_batch * seq]
    command += ["-x", a.warmup + a.steps, "-l", 3e-4, "-c", 0.1, "-v", 1000000, "-m", 1, "-s", 0, "-h", 0, "-r", 0, "-w", 1]
    out = subprocess.run([str(x) for x in command], env=environment(a.program), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if out.returncode:
        raise SystemExit(f"{a.program} failed with {out.returncode}:\n{out.stdout[-3000:]}")
    return out.stdout


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("--model", default="gpt2-124m", choices=sorted(MODELS))
    p.add_argument("--micro-batch", type=int, default=16)
    p.add_argument("--warmup", type=int, default=5)
    p.add_argument("--steps", type=int, default=20)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = run(a, folder)
    lines = re.findall(r"^step +\d+/\d+ \| loss (\S+) .*\| ([\d.]+) ms \|", text, re.MULTILINE)[a.warmup :]
    if len(lines) != a.steps:
        raise SystemExit(f"{len(lines)} steps in its output, want {a.steps}:\n{text[-3000:]}")
    times, loss = [float(ms) for _, ms in lines], float(lines[-1][0])
    if not math.isfinite(loss):
        raise SystemExit(f"the loss is not finite: {loss}")
    memory = re.search(r"device memory usage: (\d+) MiB", text)
    _, layers, hidden, seq = MODELS[a.model]
    n, ms, tokens = parameters(layers, hidden, seq), statistics.median(times), a.micro_batch * seq
    gflops = (6 * (n - seq * hidden) + 12 * layers * hidden * seq) * tokens / ms / 1e6
    out = {"program": "llm.c", "parameters": n, "tokens": tokens, "step_ms": times, "step_ms_median": ms, "tokens_per_sec": round(1e3 * tokens / ms, 2), "flops_formula": "palm",
           "gflops": round(gflops, 1), "memory_mb": int(memory[1]) * 1.048576 if memory else None, "loss": loss}
    print(json.dumps(out, indent=2))


if __name__ == "__main__":
    main()
