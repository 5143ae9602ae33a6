"""PyTorch's counterparts of `cambium bench kernels`, on the same shapes, timed the same way: batches back to back, host clock, one
synchronisation a batch. Prints one line a kernel and writes JSON.

    python3 bench/gpu/torch_kernels.py --shape gpt2-124m --dtype bf16 --json out.json
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

# tokens, sequence, hidden, ffn, heads, groups, head size, vocabulary: src/bench/kernelcases.go
SHAPES = {
    "gpt2-124m": (4096, 1024, 768, 3072, 12, 12, 64, 50304),
    "gpt2-1.5b": (4096, 1024, 1600, 6400, 25, 25, 64, 50304),
    "llama-1b": (4096, 2048, 2048, 5632, 32, 8, 64, 32000),
    "tiny": (64, 32, 64, 128, 2, 2, 32, 512),
}


def cases(shape, dtype):
    n, seq, c, f, heads, groups, d, vocab = SHAPES[shape]
    new = lambda *size, t=dtype: torch.rand(*size, device="cuda", dtype=torch.float32).mul(0.9375).add(0.0625).to(t)
    q, kv = heads * d, groups * d
    x, wq, w1, dy = new(n, c), new(q + 2 * kv, c), new(f, c), new(n, f)
    yield "gemm qkv forward", 2 * n * (q + 2 * kv) * c, lambda: x @ wq.T
    yield "gemm fc1 forward", 2 * n * f * c, lambda: F.gelu(x @ w1.T, approximate="tanh")
    yield "gemm fc1 weight gradient", 2 * n * f * c, lambda: dy.T @ x
    head = new(vocab, c)
    rows = x[: min(n, 1024)]
    yield "gemm logits", 2 * rows.shape[0] * vocab * c, lambda: rows @ head.T
    gain, bias = new(c), new(c)
    yield "norm forward + residual", 8 * n * c, lambda: F.layer_norm(x + x, (c,), gain, bias)
    shape4 = lambda h: new(n // seq, h, seq, d)
    Q, K, V = shape4(heads), shape4(groups), shape4(groups)
    attend = lambda: F.scaled_dot_product_attention(Q, K, V, is_causal=True, enable_gqa=heads != groups)
    yield "attention forward", 2 * n * seq * q, attend
    leaves = [t.requires_grad_() for t in (Q, K, V)]
    out = attend()
    dO = torch.ones_like(out)
    yield "attention backward", 5 * n * seq * q, lambda: torch.autograd.grad(out, leaves, dO, retain_graph=True)
    logits = new(rows.shape[0], vocab).requires_grad_()
    targets = torch.arange(rows.shape[0], device="cuda") % vocab

    def classifier():
        return torch.autograd.grad(F.cross_entropy(logits.float(), targets), logits)

    yield "classifier", 5 * rows.shape[0] * vocab, classifier


def timed(f, count):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(count):
        f()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / count


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shape", default="gpt2-124m", choices=sorted(SHAPES))
    p.add_argument("--dtype", default="bf16", choices=["bf16", "fp16", "fp32"])
    p.add_argument("--samples", type=int, default=20)
    p.add_argument("--batch", type=float, default=0.05, help="seconds of a batch")
    p.add_argument("--json")
    a = p.parse_args()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[a.dtype]
    rows = []
    for name, flops, f in cases(a.shape, dtype):
        count = max(1, min(10000, int(a.batch / max(timed(f, 1), 1e-7))))
        times = [timed(f, count) for _ in range(a.samples)]
        row = {"name": name, "batch_us": 1e6 * statistics.median(times), "batch_us_min": 1e6 * min(times), "gflops": flops / statistics.median(times) / 1e9}
        rows.append(row)
        print("%-28s %10.1f us  %10.1f GFLOP/s" % (name, row["batch_us"], row["gflops"]))
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"program": "torch " + torch.__version__, "device": torch.cuda.get_device_name(), "shape": a.shape, "dtype": a.dtype, "kernels": rows}, f, indent=2)


if __name__ == "__main__":
    main()
