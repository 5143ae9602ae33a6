"""PyTorch's training step for the models that `cambium bench step` times on a GPU, set up as the most careful user would.

    python3 bench/gpu/torch_step.py --model gpt2-124m --micro-batch 16 --json

What it does: fp32 weights, gradients and moments, bf16 autocast (the common practice; Cambium has fp32 master weights, moments and
gradients too, and bf16 weights); the residual stream in bf16, as Cambium's; torch.compile; scaled_dot_product_attention by the
FlashAttention kernels; fused AdamW; the global gradient norm clipped to 1; tokens from pinned memory. Steps are timed by
events on the GPU, one after the other without a wait for the host in between, and the loss is read at the end: nothing of
PyTorch's host side counts unless it holds the GPU up. The output has the keys of `cambium bench step --json`.

--compile blocks compiles one block and uses it for all layers, with the residual addition before the norm inside, so that nothing
is lost by it but the host's time; whole compiles the model as one graph. --attention auto leaves the choice to PyTorch.
"""

import argparse
import json
import math
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Shape:
    """A model of configs/NAME.yaml."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    groups: int  # key/value heads
    vocab: int  # rows of the table, padded to a multiple of 128
    seq: int
    llama: bool = False  # RMSNorm, SwiGLU, RoPE, no biases, an output layer of its own; else GPT-2


SHAPES = {
    "gpt2-124m": Shape(12, 768, 3072, 12, 12, 50304, 1024),
    "gpt2-1.5b": Shape(48, 1600, 6400, 25, 25, 50304, 1024),
    "llama-1b": Shape(22, 2048, 5632, 32, 8, 32000, 2048, llama=True),
    "tiny": Shape(2, 64, 128, 2, 2, 512, 32),
    "tiny-llama": Shape(2, 64, 128, 2, 1, 512, 32, llama=True),
}

# Dense bf16 with fp32 accumulation, TFLOP/s, of NVIDIA's datasheets; the first name that the device's begins with.
PEAKS = [("NVIDIA A100", 312), ("NVIDIA H100 PCIe", 756), ("NVIDIA H100", 989), ("NVIDIA H200", 989), ("NVIDIA B200", 2250)]


def norm(s):
    return nn.RMSNorm(s.hidden, eps=1e-5) if s.llama else nn.LayerNorm(s.hidden, eps=1e-5)


def turn(x, cos, sin):
    """RoPE on half-split pairs: x [B, heads, T, D], cos and sin [T, D]."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Block(nn.Module):
    """x + delta is the residual stream; what the block adds to it last comes back as the next delta."""

    def __init__(self, s):
        super().__init__()
        self.s, bias = s, not s.llama
        self.head = s.hidden // s.heads
        self.norm1, self.norm2 = norm(s), norm(s)
        self.qkv = nn.Linear(s.hidden, (s.heads + 2 * s.groups) * self.head, bias=bias)
        self.proj = nn.Linear(s.hidden, s.hidden, bias=bias)
        self.fc1 = nn.Linear(s.hidden, s.ffn * (2 if s.llama else 1), bias=bias)
        self.fc2 = nn.Linear(s.ffn, s.hidden, bias=bias)

    def forward(self, x, delta, rope):
        s = self.s
        if delta is not None:
            x = x + delta
        b, t, _ = x.shape
        heads = self.qkv(self.norm1(x)).view(b, t, s.heads + 2 * s.groups, self.head).transpose(1, 2)
        q, k, v = heads.split([s.heads, s.groups, s.groups], dim=1)
        if s.llama:
            q, k = turn(q, *rope), turn(k, *rope)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=s.heads != s.groups)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, s.hidden))
        h = self.fc1(self.norm2(x))
        if s.llama:
            gate, up = h.chunk(2, dim=-1)
            h = F.silu(gate) * up
        else:
            h = F.gelu(h, approximate="tanh")
        return x, self.fc2(h)


class Head(nn.Module):
    """The last norm, the logits and the mean loss."""

    def __init__(self, s, table):
        super().__init__()
        self.norm = norm(s)
        self.out = nn.Linear(s.hidden, s.vocab, bias=False)
        if not s.llama:
            self.out.weight = table.weight

    def forward(self, x, delta, targets):
        logits = self.out(self.norm(x + delta))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.view(-1))


class Model(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.table = nn.Embedding(s.vocab, s.hidden)
        if not s.llama:
            self.positions = nn.Parameter(torch.zeros(s.seq, s.hidden))
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.head = Head(s, self.table)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * s.layers) if name.endswith(("proj.weight", "fc2.weight")) else 0.02)
        half = s.hidden // s.heads // 2
        angles = torch.arange(s.seq)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        for name, x in (("cos", angles.cos()), ("sin", angles.sin())):
            self.register_buffer(name, torch.cat((x, x), dim=1).to(torch.bfloat16), persistent=False)

    def forward(self, tokens, targets):
        x = self.table(tokens)
        if not self.s.llama:
            x = x + self.positions
        x, delta = x.to(torch.bfloat16), None
        for b in self.blocks:
            x, delta = b(x, delta, (self.cos, self.sin))
        return self.head(x, delta, targets)

    def flops(self):
        """Operations of training on a token, by the formula of src/flops, palm: 6 N + 12 L H Q T; N without learned positions."""
        s = self.s
        n = sum(p.numel() for p in self.parameters()) - (0 if s.llama else self.positions.numel())
        return 6 * n + 12 * s.layers * s.hidden * s.seq


def compiled(model, how):
    if how == "whole":
        return torch.compile(model)
    if how == "blocks":
        for part in [*model.blocks, model.head]:
            part.compile()
    return model


def attend_by(name):
    """flash: FlashAttention's kernels or an error; auto: PyTorch's own order."""
    if name == "flash":
        torch.backends.cuda.enable_flash_sdp(True)
        for other in (torch.backends.cuda.enable_mem_efficient_sdp, torch.backends.cuda.enable_math_sdp, torch.backends.cuda.enable_cudnn_sdp):
            other(False)


class Clock:
    """Marks on the device, or on the host where there is no GPU."""

    def __init__(self, device):
        self.gpu, self.marks = device == "cuda", []

    def mark(self):
        if not self.gpu:
            self.marks.append(time.perf_counter())
            return
        e = torch.cuda.Event(enable_timing=True)
        e.record()
        self.marks.append(e)

    def milliseconds(self):
        if self.gpu:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) for a, b in zip(self.marks, self.marks[1:])]
        return [1e3 * (b - a) for a, b in zip(self.marks, self.marks[1:])]


def train(a, s, model):
    """The times of a.steps steps after a.warmup, and the last loss."""
    step_model = compiled(model, a.compile)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    pin = a.device == "cuda"
    batches = [torch.randint(0, s.vocab, (a.micro_batch, s.seq + 1)) for _ in range(4)]
    pairs = [(b[:, :-1].contiguous(), b[:, 1:].contiguous()) for b in batches]
    if pin:
        pairs = [(x.pin_memory(), y.pin_memory()) for x, y in pairs]
    clock = Clock(a.device)
    for i in range(a.warmup + a.steps):
        if i == a.warmup:
            if pin:
                torch.cuda.synchronize()
            clock.mark()
        tokens, targets = (x.to(a.device, non_blocking=True) for x in pairs[i % len(pairs)])
        with torch.autocast(a.device, dtype=torch.bfloat16):
            loss = step_model(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        opt.step()
        opt.zero_grad(set_to_none=True)
        if i >= a.warmup:
            clock.mark()
    return clock.milliseconds(), loss.item()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="gpt2-124m", choices=sorted(SHAPES))
    p.add_argument("--micro-batch", type=int, default=16, help="sequences of a step")
    p.add_argument("--seq-length", type=int, help="default: the model's")
    p.add_argument("--warmup", type=int, default=5)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--compile", default="whole", choices=["whole", "blocks", "off"])
    p.add_argument("--attention", default="flash", choices=["flash", "auto"])
    p.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    s = SHAPES[a.model]
    s.seq = a.seq_length or s.seq
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    attend_by(a.attention)
    begin = time.perf_counter()
    with torch.device(a.device):
        model = Model(s)
    times, loss = train(a, s, model)
    if not math.isfinite(loss):
        raise SystemExit(f"the loss is not finite: {loss}")
    name = torch.cuda.get_device_name() if a.device == "cuda" else "cpu"
    peak = next((tflops for start, tflops in PEAKS if name.startswith(start)), None)
    ms, tokens = statistics.median(times), a.micro_batch * s.seq
    gflops = model.flops() * tokens / ms / 1e6
    out = {
        "program": f"pytorch {torch.__version__} compile {a.compile}, attention {a.attention}",
        "backend": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": tokens,
        "step_ms": [round(t, 3) for t in times],
        "step_ms_median": round(ms, 3),
        "tokens_per_sec": round(1e3 * tokens / ms, 2),
        "flops_formula": "palm",
        "gflops": round(gflops, 1),
        "memory_mb": round(torch.cuda.max_memory_allocated() / 1e6, 1) if a.device == "cuda" else None,
        "loss": loss,
        "all_seconds": round(time.perf_counter() - begin, 1),  # compiling included
    }
    if peak:
        out |= {"datasheet_tflops": peak, "mfu": round(gflops / 1e3 / peak, 4)}
    if a.json:
        print(json.dumps(out, indent=2))
    else:
        mfu = f", {100 * out['mfu']:.1f} % of the datasheet's {peak} TFLOP/s" if peak else ""
        print(f"{out['program']}: {out['tokens_per_sec']} tokens/s, {ms:.2f} ms a step, {gflops / 1e3:.1f} TFLOP/s{mfu}, loss {loss:.4f}")


if __name__ == "__main__":
    main()
