#!/usr/bin/env python3
"""GFLOP/s a processor second of torch.mm for the products of package backend/cpu's BenchmarkGemm, one thread.

    python torch_gemm.py [--calls 10] [--model 124M]
    go test -run xxx -bench 'Gemm/124M/./././workers1$' -benchtime 10x ./src/backend/cpu        beside it, in turns

Time is the processor time of the process, so that other programs only disturb its caches. The operands are those of a
linear layer: forward x W^T, data dy W, weight dy^T x; several sets in turn, so that weights come from memory.
"""
import argparse, time

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--calls", type=int, default=10)
ap.add_argument("--model", default="124M")
a = ap.parse_args()

import torch

torch.set_num_threads(1)
layers = {
    "124M": [("qkv", 256, 2304, 768), ("dense", 256, 768, 768), ("fc1", 256, 3072, 768), ("fc2", 256, 768, 3072), ("head", 256, 50304, 768)],
    "30M": [("qkv", 2048, 1152, 384), ("dense", 2048, 384, 384), ("fc1", 2048, 1536, 384), ("fc2", 2048, 384, 1536), ("head", 2048, 50304, 384)],
}[a.model]
for name, tokens, out, inside in layers:
    sets = max(1, min(16, (64 << 20) // (4 * max(out * inside, tokens * out))))
    x = [torch.rand(tokens, inside) for _ in range(sets)]
    w = [torch.rand(out, inside) for _ in range(sets)]
    dy = [torch.rand(tokens, out) for _ in range(sets)]
    kinds = {
        "forward": [(x[i], w[i].t(), torch.empty(tokens, out)) for i in range(sets)],
        "data": [(dy[i], w[i], torch.empty(tokens, inside)) for i in range(sets)],
        "weight": [(dy[i].t(), x[i], torch.empty(out, inside)) for i in range(sets)],
    }
    for kind, products in kinds.items():
        torch.mm(*products[0][:2], out=products[0][2])
        t = time.process_time()
        for i in range(a.calls):
            p = products[i % sets]
            torch.mm(p[0], p[1], out=p[2])
        t = time.process_time() - t
        print(f"{a.model}/{name}/{kind} {2e-9 * tokens * out * inside * a.calls / t:.1f}", flush=True)
