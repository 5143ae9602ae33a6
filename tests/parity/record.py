#!/usr/bin/env python3
"""Records the cases of this folder's Go test: python record.py (needs torch and safetensors), writes testdata/.

A case is NAME.json (architecture, function, mask, optimizer, in the names of src/arch; and how far torch's own run in bf16 and in fp16 is
from fp64, relative to the largest element, of gradients tensor by tensor) and NAME.safetensors:
  tokens [steps, B, T+1] int32     logits [B, T, V]     losses [B, T]     step_losses [steps]: before each AdamW step
  w/PARAMETER, g/PARAMETER         weights before the first step; gradient of the mean loss of batch 0
Everything is computed in fp64 by autograd from weights that are exact in fp32, and rounded to fp32 at the end. The model is
written from the papers and from torch's own operators where they exist, independently of the Go code.
"""
import json, math, os
import torch, torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "testdata")
STEPS, BATCH, SEQ = 10, 2, 12
ADAMW = dict(lr=3e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip_grad=1.0)

BASE = dict(num_layers=2, hidden_size=20, ffn_hidden_size=36, num_attention_heads=3, num_query_groups=3, kv_channels=6,
            vocab_size=53, make_vocab_size_divisible_by=8, max_position_embeddings=SEQ, rotary_base=10000.0,
            position_embedding_type="learned_absolute", rotary_xpos_scale_base=512.0, normalization="LayerNorm",
            norm_epsilon=1e-5, swiglu=False, add_bias_linear=True, untie_embeddings_and_output_weights=False,
            init_method_std=0.02, embedding_init_method_std=0.0, mup_base_width=0, input_mult=1.0, output_mult=1.0)
LLAMA = dict(num_attention_heads=4, num_query_groups=2, position_embedding_type="rope", normalization="RMSNorm", swiglu=True,
             add_bias_linear=False, untie_embeddings_and_output_weights=True)
FLM = dict(position_embedding_type="xpos", mup_base_width=8, output_mult=2.0, input_mult=1.5)
CASES = {
    "gpt2": (BASE, {}),
    "llama": (BASE | LLAMA, {}),
    "flm": (BASE | FLM, {}),
    # growing models, half-way: everything new at once, in both forms of the norm
    "masked-gpt2": (BASE | dict(num_layers=3), dict(v=0.3, old_hidden=13, old_ffn=25, new_heads=[1], new_layers=[1])),
    "masked-llama": (BASE | LLAMA | dict(num_layers=3, add_bias_linear=True), dict(v=0.3, old_hidden=13, old_ffn=25, new_heads=[1, 3], new_layers=[2])),
    "masked-flm-msg": (BASE | FLM | dict(rotary_xpos_scale_base=8.0), dict(v=0.3, old_hidden=13, msg_statistics=True, logit_scale_from=1.2)),
}


def shapes(m):
    """Parameter names and shapes, as arch.Tensors lists them."""
    C, FF, V = m["hidden_size"], m["ffn_hidden_size"], -(-m["vocab_size"] // m["make_vocab_size_divisible_by"]) * m["make_vocab_size_divisible_by"]
    Q, K = m["num_attention_heads"] * m["kv_channels"], m["num_query_groups"] * m["kv_channels"]
    out = {"embedding.word_embeddings.weight": (V, C)}
    if m["position_embedding_type"] == "learned_absolute":
        out["embedding.position_embeddings.weight"] = (m["max_position_embeddings"], C)
    def norm(name):
        out[name + ".weight"] = (C,)
        if m["normalization"] == "LayerNorm": out[name + ".bias"] = (C,)
    for l in range(m["num_layers"]):
        p = f"layers.{l}."
        norm(p + "input_norm"); norm(p + "post_attention_norm")
        mats = {"attention.query": (Q, C), "attention.key": (K, C), "attention.value": (K, C), "attention.dense": (C, Q),
                "mlp.fc1": (FF, C), "mlp.fc2": (C, FF)} | ({"mlp.gate": (FF, C)} if m["swiglu"] else {})
        for name, s in mats.items():
            out[p + name + ".weight"] = s
            if m["add_bias_linear"]: out[p + name + ".bias"] = s[:1]
    norm("final_norm")
    if m["untie_embeddings_and_output_weights"]: out["output_layer.weight"] = (V, C)
    return out


def initial(m, gen):
    """Random weights that leave nothing at 0 or 1, except the rows that pad the vocabulary."""
    P = {}
    for name, s in shapes(m).items():
        r = torch.randn(s, generator=gen, dtype=torch.float64)
        if len(s) == 1: r = r * 0.3 + (1.0 if name.endswith("norm.weight") else 0.0)
        else: r = r * (0.5 if "embedding" in name or "output" in name else 1.2 / math.sqrt(s[1]))
        if s[0] > m["vocab_size"] and len(s) == 2 and ("word" in name or "output" in name): r[m["vocab_size"]:] = 0
        P[name] = r.float().double()
    return P


def rotation(m, T, sign):
    """cos and sin [T, D], in fp64, with xPos's powers: queries zeta^p (sign +1), keys zeta^-p (-1); arXiv 2104.09864, 2212.10554."""
    D = m["kv_channels"]; i = torch.arange(0, D, 2, dtype=torch.float64)
    n = torch.arange(T, dtype=torch.float64)[:, None]
    angle = n * (m["rotary_base"] ** (-i / D))[None]
    scale = torch.ones(T, D // 2, dtype=torch.float64)
    if m["position_embedding_type"] == "xpos":
        zeta = (i + 0.4 * D) / (1.4 * D)
        scale = zeta[None] ** (sign * (n - T // 2) / m["rotary_xpos_scale_base"])
    two = lambda x: torch.cat([x, x], -1)
    return two(angle.cos() * scale), two(angle.sin() * scale)


def rotate(x, cs):
    half = x.shape[-1] // 2
    return x * cs[0] + torch.cat([-x[..., half:], x[..., :half]], -1) * cs[1]


def forward(P, m, f, k, idx):
    """Logits [B, T, vocab_size]. k is the growth mask, {} when not growing. In 16 bits, P's type, what an operation gives is rounded once."""
    B, T = idx.shape; kind = P["embedding.word_embeddings.weight"].dtype; C, H, K, D = m["hidden_size"], m["num_attention_heads"], m["num_query_groups"], m["kv_channels"]
    v = k.get("v", 1.0); ones = lambda n, old: torch.where(torch.arange(n) < old, 1.0, v).double()
    mask = ones(C, k["old_hidden"]) if k.get("old_hidden") else None
    units = ones(m["ffn_hidden_size"], k["old_ffn"]) if k.get("old_ffn") else None
    heads = torch.tensor([v if h in k.get("new_heads", []) else 1.0 for h in range(H)], dtype=kind)

    def norm(x, name): return exact_norm(x.double(), name).to(kind)
    def exact_norm(x, name):
        g, b, eps = P[name + ".weight"].double(), P.get(name + ".bias"), f["norm_eps"]
        if b is not None: b = b.double()
        if mask is None: return F.layer_norm(x, (C,), g, b, eps) if b is not None else F.rms_norm(x, (C,), g, eps)
        S = mask.sum(); divisor = S if k.get("msg_statistics") else C
        if b is not None: x = x - (x * mask).sum(-1, keepdim=True) / S
        y = x / torch.sqrt((x * x * mask).sum(-1, keepdim=True) / divisor + eps) * g
        return mask * (y if b is None else y + b)

    x = F.embedding(idx, P["embedding.word_embeddings.weight"])
    if "embedding.position_embeddings.weight" in P: x = x + P["embedding.position_embeddings.weight"][:T]
    x = x * m["input_mult"]
    for l in range(m["num_layers"]):
        lin = lambda h, name: F.linear(h, P[f"layers.{l}.{name}.weight"], P.get(f"layers.{l}.{name}.bias"))
        new = l in k.get("new_layers", []); branch = v if new else 1.0
        h = norm(x, f"layers.{l}.input_norm")
        q, key, val = (lin(h, "attention." + n).view(B, T, -1, D).transpose(1, 2) for n in ("query", "key", "value"))
        if m["position_embedding_type"] in ("rope", "xpos"):
            q, key = rotate(q.double(), rotation(m, T, 1)).to(kind), rotate(key.double(), rotation(m, T, -1)).to(kind)
        o = F.scaled_dot_product_attention(q, key.repeat_interleave(H // K, 1), val.repeat_interleave(H // K, 1), is_causal=True)
        if not new: o = o * heads[None, :, None, None]
        x = x + branch * lin(o.transpose(1, 2).reshape(B, T, H * D), "attention.dense")
        h = norm(x, f"layers.{l}.post_attention_norm")
        t = F.silu(lin(h, "mlp.gate")) * lin(h, "mlp.fc1") if m["swiglu"] else F.gelu(lin(h, "mlp.fc1"), approximate="tanh")
        if units is not None and not new: t = t * units.to(kind)
        x = x + branch * lin(t, "mlp.fc2")
    scale = f["logit_scale"]
    if k.get("logit_scale_from"): scale = k["logit_scale_from"] + (scale - k["logit_scale_from"]) * v
    table = P.get("output_layer.weight", P["embedding.word_embeddings.weight"])
    return scale * F.linear(norm(x, "final_norm"), table)[..., : m["vocab_size"]]


def factors(m, name):
    """muP's factors on learning rate and weight decay (matrices inside blocks), no decay on vectors."""
    w = m["hidden_size"] / m["mup_base_width"] if m["mup_base_width"] else 1.0
    if not name.endswith(".weight") or "norm" in name: return 1.0, 0.0
    return (1 / w, w) if name.startswith("layers.") else (1.0, 1.0)


def apart(a, b, floor=0.0): return ((a.double() - b.double()).abs().max() / max(b.double().abs().max().item(), floor)).item()


def rounding(m, f, k, exact, idx, targets, kind, loss_scale):
    """How far a run in 16 bits is from fp64: losses, logits, and the gradient that differs most (as parity_test.go compares them)."""
    P = {n[2:]: p.to(kind).requires_grad_(True) for n, p in exact.items() if n.startswith("w/")}
    z = forward(P, m, f, k, idx)
    each = F.cross_entropy(z.double().reshape(-1, m["vocab_size"]), targets.reshape(-1), reduction="none")
    (each.mean() * loss_scale).backward()
    largest = max(exact["g/" + n].abs().max().item() for n in P)
    floor = lambda n: 1e-2 * largest if n.endswith("attention.key.bias") else 0.0
    return dict(losses=apart(each.detach().view(idx.shape), exact["losses"]), logits=apart(z.detach(), exact["logits"]),
                gradients=max(apart(p.grad.double() / loss_scale, exact["g/" + n], floor(n)) for n, p in P.items()))


def record(name, m, k, seed):
    gen = torch.Generator().manual_seed(seed)
    f = dict(norm_eps=m["norm_epsilon"], logit_scale=m["output_mult"] * m["mup_base_width"] / m["hidden_size"] if m["mup_base_width"] else 1.0)
    P = {n: p.requires_grad_(True) for n, p in initial(m, gen).items()}
    tokens = torch.randint(0, m["vocab_size"], (STEPS, BATCH, SEQ + 1), generator=gen)
    out = {"w/" + n: p.detach().float() for n, p in P.items()} | {"tokens": tokens.int()}
    opt = torch.optim.AdamW([dict(params=[p], lr=ADAMW["lr"] * factors(m, n)[0], weight_decay=ADAMW["weight_decay"] * factors(m, n)[1])
                             for n, p in P.items()], betas=(ADAMW["beta1"], ADAMW["beta2"]), eps=ADAMW["eps"])
    losses = []
    for step in range(STEPS):
        z = forward(P, m, f, k, tokens[step, :, :-1])
        each = F.cross_entropy(z.reshape(-1, m["vocab_size"]), tokens[step, :, 1:].reshape(-1), reduction="none")
        opt.zero_grad(); each.mean().backward()
        if step == 0:
            out |= {"g/" + n: p.grad.float() for n, p in P.items()}
            out |= {"logits": z.detach().float(), "losses": each.detach().view(BATCH, SEQ).float()}
        torch.nn.utils.clip_grad_norm_(P.values(), ADAMW["clip_grad"])
        losses.append(each.mean().item()); opt.step()
    out["step_losses"] = torch.tensor(losses).float()
    save_file({n: t.contiguous() for n, t in out.items()}, os.path.join(HERE, name + ".safetensors"))
    first = tokens[0, :, :-1], tokens[0, :, 1:]
    rounded = {"bf16": rounding(m, f, k, out, *first, torch.bfloat16, 1.0), "fp16": rounding(m, f, k, out, *first, torch.float16, 1024.0)}
    with open(os.path.join(HERE, name + ".json"), "w") as w:
        json.dump(dict(model=m, function=f, mask=k, micro_batch=BATCH, seq_length=SEQ, adamw=ADAMW, rounding=rounded), w, indent=1); w.write("\n")
    print(f"{name:16s} {sum(p.numel() for p in P.values())} parameters, losses {losses[0]:.4f} -> {losses[-1]:.4f}")


if __name__ == "__main__":
    torch.set_num_threads(1); os.makedirs(HERE, exist_ok=True)
    for i, (name, (m, k)) in enumerate(CASES.items()): record(name, m, k, 100 + i)
