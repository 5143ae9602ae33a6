#!/usr/bin/env python3
"""Writes what llm.c's CPU program reads, with random weights and tokens, so that it can be timed without a download.

    make_llmc.py FOLDER MODEL        MODEL 124M or 30M; then run train_gpt2 inside FOLDER

Checkpoint: int32[256] = {20240326, 3, maxT, V, layers, heads, channels, padded V}, then fp32 wte wpe ln1w ln1b qkvw qkvb
attprojw attprojb ln2w ln2b fcw fcb fcprojw fcprojb lnfw lnfb. Shard: int32[256] = {20240520, 1, tokens}, then uint16.
llm.c's program fixes batch 4 x 64 tokens; for 30M edit its B and T to 8 and 256 before building.
"""
import os, sys
import numpy as np

folder, model = sys.argv[1:3]
L, H, C, T = {"124M": (12, 12, 768, 1024), "30M": (6, 6, 384, 1024)}[model]
V, Vp = 50257, 50304
rng = np.random.default_rng(1)
data = os.path.join(folder, "dev", "data", "tinyshakespeare")
os.makedirs(data, exist_ok=True)


def header(*values):
    h = np.zeros(256, np.int32)
    h[: len(values)] = values
    return h.tobytes()


normal = lambda *shape: (rng.standard_normal(shape, dtype=np.float32) * 0.02)
ones, zeros = lambda *s: np.ones(s, np.float32), lambda *s: np.zeros(s, np.float32)
with open(os.path.join(folder, "gpt2_124M.bin"), "wb") as f:
    f.write(header(20240326, 3, T, V, L, H, C, Vp))
    for t in (normal(Vp, C), normal(T, C), ones(L, C), zeros(L, C), normal(L, 3 * C, C), zeros(L, 3 * C), normal(L, C, C), zeros(L, C),
              ones(L, C), zeros(L, C), normal(L, 4 * C, C), zeros(L, 4 * C), normal(L, C, 4 * C), zeros(L, C), ones(C), zeros(C)):
        f.write(t.tobytes())
for name in "train", "val":
    with open(os.path.join(data, f"tiny_shakespeare_{name}.bin"), "wb") as f:
        n = 1 << 17
        f.write(header(20240520, 1, n))
        f.write(rng.integers(0, V, n, dtype=np.uint16).tobytes())
