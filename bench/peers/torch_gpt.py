#!/usr/bin/env python3
"""Times training steps of a plain GPT-2 in PyTorch on the CPU, fp32, set up as the most careful user would.

    python torch_gpt.py --layers 12 --hidden 768 --heads 12 --batch 4 --seq 64 --threads 2 --steps 8 [--compile] [--json]

What it does for speed: scaled_dot_product_attention, fused AdamW, an allocator that keeps its pages (see run.sh for the
environment), cross-entropy on the flat logits, and torch.compile with --compile. Tokens are synthetic; the first steps
are not counted. The model is GPT-2's: learned positions, LayerNorm, GELU (tanh), biases, tied embeddings.
The output has the keys of `cambium bench step --json`.
"""
import argparse, json, math, os, statistics, time

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name, default in dict(layers=12, hidden=768, heads=12, batch=4, seq=64, vocab=50304, threads=2, steps=8, warmup=2).items():
    ap.add_argument("--" + name, type=int, default=default)
ap.add_argument("--compile", action="store_true")
ap.add_argument("--chunked", action="store_true", help="linear_cross_entropy in chunks: the logits never exist at once (eager only)")
ap.add_argument("--label", default="", help="added to the program's name, such as ' iomp5'")
ap.add_argument("--json", action="store_true")
a = ap.parse_args()

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(a.threads)
torch.manual_seed(1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        h = a.hidden
        self.ln1, self.ln2 = nn.LayerNorm(h), nn.LayerNorm(h)
        self.qkv, self.proj = nn.Linear(h, 3 * h), nn.Linear(h, h)
        self.fc, self.out = nn.Linear(h, 4 * h), nn.Linear(4 * h, h)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (z.view(b, t, a.heads, c // a.heads).transpose(1, 2) for z in self.qkv(self.ln1(x)).split(c, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.proj(y)
        return x + self.out(F.gelu(self.fc(self.ln2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(a.vocab, a.hidden), nn.Embedding(a.seq, a.hidden)
        self.blocks = nn.ModuleList(Block() for _ in range(a.layers))
        self.ln = nn.LayerNorm(a.hidden)
        for n, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * a.layers) if n.endswith(("proj.weight", "out.weight")) else 0.02)

    def forward(self, idx, target):
        x = self.wte(idx) + self.wpe.weight[: idx.shape[1]]
        for b in self.blocks:
            x = b(x)
        if a.chunked:
            options = nn.LinearCrossEntropyOptions()
            return F.linear_cross_entropy(self.ln(x).flatten(0, 1), self.wte.weight, target.flatten(), options=options)
        logits = F.linear(self.ln(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, a.vocab), target.view(-1))


model = GPT()
opt = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
step_model = torch.compile(model) if a.compile else model
times, used, losses = [], [], []
for i in range(a.warmup + a.steps):
    batch = torch.randint(0, min(a.vocab, 50257), (a.batch, a.seq + 1))
    t, u = time.perf_counter(), time.process_time()
    loss = step_model(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
    opt.step()
    opt.zero_grad(set_to_none=True)
    value = loss.item()
    if i >= a.warmup:
        times.append(time.perf_counter() - t)
        used.append(time.process_time() - u)
        losses.append(value)
if not all(map(math.isfinite, losses)):
    raise SystemExit(f"the loss is not finite: {losses}")
n = sum(p.numel() for p in model.parameters())
tokens = a.batch * a.seq
out = dict(
    program=f"pytorch {torch.__version__}" + (" compile" if a.compile else " eager") + (" chunked" if a.chunked else "") + a.label, parameters=n, tokens=tokens, threads=a.threads,
    step_ms=[round(1e3 * t, 2) for t in times], step_ms_median=round(1e3 * statistics.median(times), 2),
    cpu_ms_median=round(1e3 * statistics.median(used), 2),
    tokens_per_sec=round(tokens / statistics.median(times), 2), loss=losses[-1],
)
print(json.dumps(out) if a.json else "{program}: {tokens_per_sec} tokens/s, {step_ms_median} ms a step, loss {loss:.4f}".format(**out))
