"""PyTorch's counterparts of `cambium bench kernels`, on the same shapes: batches back to back, host clock, one synchronisation a
batch. Prints one line a kernel and writes JSON.

    python3 bench/gpu/torch_kernels.py --shape gpt2-124m --dtype bf16 --json out.json

PyTorch is given its best: what it would launch as several kernels goes through torch.compile ("compiled" in the output), and calls are
captured in a CUDA graph, so that the host's time does not count. Matrix products are cuBLAS's, attention is
scaled_dot_product_attention's FlashAttention.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

# tokens, sequence, hidden, ffn, heads, groups, head size, vocabulary: src/bench/kernelcases.go
SHAPES = {
    "gpt2-124m": (16384, 1024, 768, 3072, 12, 12, 64, 50304),
    "gpt2-1.5b": (16384, 1024, 1600, 6400, 25, 25, 64, 50304),
    "llama-1b": (16384, 2048, 2048, 5632, 32, 8, 64, 32000),
    "tiny": (64, 32, 64, 128, 2, 2, 32, 512),
}
DEVICE = "cuda"


def new(*size, t):
    return torch.rand(*size, device=DEVICE, dtype=torch.float32).mul(0.9375).add(0.0625).to(t)


def fused(f):
    return torch.compile(f, dynamic=False)


def products(shape, t):
    """Matrix products of a layer. Weight gradients leave cuBLAS in t here, and are added to fp32 in Cambium."""
    n, _, c, f, heads, groups, d, vocab = shape
    q, kv = heads * d, groups * d
    x, wq, w1, w2, dy, hidden = new(n, c, t=t), new(q + 2 * kv, c, t=t), new(f, c, t=t), new(c, f, t=t), new(n, f, t=t), new(n, c, t=t)
    yield "gemm qkv forward", 2 * n * (q + 2 * kv) * c, lambda: x @ wq.T
    if heads == groups:
        yield "gemm fc1 forward, compiled", 2 * n * f * c, fused(lambda: F.gelu(x @ w1.T, approximate="tanh"))
    else:
        yield "gemm fc1 forward", 2 * n * f * c, lambda: x @ w1.T
    yield "gemm fc2 data gradient", 2 * n * f * c, lambda: hidden @ w2
    yield "gemm fc1 weight gradient", 2 * n * f * c, lambda: dy.T @ x
    head, rows = new(vocab, c, t=t), x[: min(n, 1024)]
    yield "gemm logits", 2 * rows.shape[0] * vocab * c, lambda: rows @ head.T


def norms(shape, t, rms):
    n, _, c, *_ = shape
    x, delta, dy, residual = (new(n, c, t=t) for _ in range(4))
    gain, bias = new(c, t=t), new(c, t=t)

    def forward(x, delta):
        y = x + delta
        return y, F.rms_norm(y, (c,), gain, 1e-5) if rms else F.layer_norm(y, (c,), gain, bias, 1e-5)

    yield "norm forward + residual, compiled", 8 * n * c, lambda f=fused(forward): f(x, delta)
    mean = x.float().mean(1, keepdim=True) * (not rms)
    rstd = ((x.float() - mean).square().mean(1, keepdim=True) + 1e-5).rsqrt()

    def backward(x, dy, residual):
        xh, g = (x.float() - mean) * rstd, dy.float()
        h = g * gain.float()
        b = h - xh * (h * xh).mean(1, keepdim=True)
        if rms:
            return (residual.float() + rstd * b).to(t), (g * xh).sum(0)
        return (residual.float() + rstd * (b - h.mean(1, keepdim=True))).to(t), (g * xh).sum(0), g.sum(0)

    yield "norm backward + residual, compiled", 14 * n * c, lambda f=fused(backward): f(x, dy, residual)


def attention(shape, t):
    n, seq, _, _, heads, groups, d, _ = shape
    x, half = new(n // seq, seq, heads + groups, d, t=t), d // 2
    angle = torch.rand(seq, 1, half, device=DEVICE)
    cos, sin = angle.cos(), angle.sin()

    def rotary(x):
        a, b = x.float().split(half, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(t)

    yield "rotary, compiled", 3 * n * (heads + groups) * d, lambda f=fused(rotary): f(x)
    qkv = [new(n // seq, h, seq, d, t=t).requires_grad_() for h in (heads, groups, groups)]

    def attend():
        return F.scaled_dot_product_attention(*qkv, is_causal=True, enable_gqa=heads != groups)

    def forward():
        with torch.no_grad():
            return attend()

    yield "attention forward", 2 * n * seq * heads * d, forward
    out = attend()
    do = torch.ones_like(out)
    yield "attention backward", 5 * n * seq * heads * d, lambda: torch.autograd.grad(out, qkv, do, retain_graph=True)


def ends(shape, t):
    """The classifier and the embedding."""
    n, _, c, _, _, _, _, vocab = shape
    m = min(n, 1024)
    logits, targets = new(m, vocab, t=t), torch.arange(m, device=DEVICE) % vocab

    def classifier(z):
        z = z.float()
        lse = z.logsumexp(1, keepdim=True)
        hit = torch.arange(vocab, device=DEVICE) == targets[:, None]
        return lse.squeeze(1) - z.gather(1, targets[:, None]).squeeze(1), ((z - lse).exp() - hit.float()).to(t)

    yield "classifier, compiled", 5 * m * vocab, lambda f=fused(classifier): f(logits)
    table, ids, dx = new(vocab, c, t=t), torch.arange(n, device=DEVICE) * 7919 % vocab, new(n, c, t=t)
    yield "embedding forward", 0, lambda: F.embedding(ids, table)
    yield "embedding backward", n * c, lambda: torch.ops.aten.embedding_dense_backward(dx, ids, vocab, -1, False)


def rest(shape, t, swiglu):
    n, _, c, f, *_, vocab = shape
    dy, x = new(n, f, t=t), new(vocab, c, t=torch.float32)
    yield "column sum", n * f, lambda: dy.sum(0, dtype=torch.float32)
    yield "sum of squares", 2 * vocab * c, lambda: torch.linalg.vector_norm(x)
    w, g, m, v = ([new(2 * f, c, t=torch.float32)] for _ in range(4))
    step = [torch.tensor(10.0, device=DEVICE)]
    yield "adamw", 28 * c * f, lambda: torch._fused_adamw_(
        w, g, m, v, [], step, lr=1e-4, beta1=0.9, beta2=0.95, weight_decay=0.1, eps=1e-8, amsgrad=False, maximize=False
    )
    if not swiglu:
        return
    gate, up = new(n, f, t=t), new(n, f, t=t)
    yield "swiglu forward, compiled", 6 * n * f, lambda h=fused(lambda a, b: F.silu(a) * b): h(gate, up)

    def backward(a, b, d):
        s = torch.sigmoid(a.float())
        silu = a.float() * s
        return (d.float() * b.float() * (s + silu * (1 - s))).to(t), (d.float() * silu).to(t)

    yield "swiglu backward, compiled", 12 * n * f, lambda h=fused(backward): h(gate, up, dy)


def timed(f, count):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(count):
        f()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / count


def captured(f, calls=10):
    """f in a CUDA graph, several times, and how often; f itself where that fails. Backward passes run in the stream of their forward
    pass, so all is in one."""
    for _ in range(3):
        f()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            for _ in range(calls):
                f()
        return graph.replay, calls
    except RuntimeError as e:
        print(f"not captured: {e}")
        torch.cuda.synchronize()
        return f, 1


def measure(f, a):
    run, calls = captured(f)
    timed(run, 1)
    count = max(1, min(1000, int(a.batch / max(timed(run, 1), 1e-7))))
    return [timed(run, count) / calls for _ in range(a.samples)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", default="gpt2-124m", choices=sorted(SHAPES))
    p.add_argument("--dtype", default="bf16", choices=["bf16", "fp16", "fp32"])
    p.add_argument("--tokens", type=int, help="of the micro-batch; default: the shape's")
    p.add_argument("--samples", type=int, default=20)
    p.add_argument("--batch", type=float, default=0.05, help="seconds of a batch")
    p.add_argument("--json")
    a = p.parse_args()
    t = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[a.dtype]
    torch.backends.cuda.enable_cudnn_sdp(False)  # FlashAttention's kernels, as in torch_step.py
    torch.cuda.set_stream(torch.cuda.Stream())  # what is captured must not be in the default stream
    shape, llama, rows = SHAPES[a.shape], a.shape.startswith("llama"), []
    shape = (a.tokens or shape[0], *shape[1:])
    cases = [lambda: products(shape, t), lambda: norms(shape, t, llama), lambda: attention(shape, t), lambda: ends(shape, t), lambda: rest(shape, t, llama)]
    for group in cases:
        for title, flops, f in group():
            name, _, how = title.partition(", ")
            try:
                times = measure(f, a)
            except Exception as e:  # the others go on
                print(f"{name}: failed: {e}")
                continue
            us = 1e6 * statistics.median(times)
            rows.append({"name": name, "how": how or "eager", "batch_us": us, "batch_us_min": 1e6 * min(times), "gflops": flops / us / 1e3})
            print("%-28s %10.1f us  %10.1f GFLOP/s  %s" % (name, us, flops / us / 1e3, rows[-1]["how"]))
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"program": "torch " + torch.__version__, "device": torch.cuda.get_device_name(), "shape": a.shape, "tokens": shape[0], "dtype": a.dtype, "kernels": rows}, f, indent=2)


if __name__ == "__main__":
    main()
