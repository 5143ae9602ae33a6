"""Records a growing model in the middle of its ramp, for TestTheRampAgreesWithPyTorch: python masked.py > masked.json

Plain PyTorch in fp64, written from the formulas (see backend.NormMask and arch.Mask): masks in the norms, after the activation, on the
heads' outputs and on new layers' branches; one mask a path. Weights are sines of their place, which the test computes again."""
import json
import math
import torch
import torch.nn.functional as F

B, T, V, PADDED = 2, 12, 29, 32


def weights(c):
    """Name -> tensor in the order and with the names of arch.Tensors."""
    H, q, kv, f = c["hidden"], c["heads"] * c["d"], c["groups"] * c["d"], c["ffn"]
    shapes = [("embedding.word_embeddings.weight", (PADDED, H))]
    if c["learned"]:
        shapes.append(("embedding.position_embeddings.weight", (T, H)))
    norm = lambda n: [(n + ".weight", (H,))] + ([] if c["rms"] else [(n + ".bias", (H,))])
    for l in range(c["layers"]):
        p = f"layers.{l}."
        shapes += norm(p + "input_norm")
        shapes += [(p + f"attention.{n}.weight", (s, H)) for n, s in (("query", q), ("key", kv), ("value", kv))]
        if c["bias"]:
            shapes += [(p + f"attention.{n}.bias", (s,)) for n, s in (("query", q), ("key", kv), ("value", kv))]
        shapes += [(p + "attention.dense.weight", (H, q))] + ([(p + "attention.dense.bias", (H,))] if c["bias"] else [])
        shapes += norm(p + "post_attention_norm")
        if c["swiglu"]:
            shapes.append((p + "mlp.gate.weight", (f, H)))
        shapes.append((p + "mlp.fc1.weight", (f, H)))
        if c["bias"]:
            shapes += ([(p + "mlp.gate.bias", (f,))] if c["swiglu"] else []) + [(p + "mlp.fc1.bias", (f,))]
        shapes += [(p + "mlp.fc2.weight", (H, f))] + ([(p + "mlp.fc2.bias", (H,))] if c["bias"] else [])
    shapes += norm("final_norm")
    if not c["tied"]:
        shapes.append(("output_layer.weight", (PADDED, H)))
    out = {}
    for n, (name, s) in enumerate(shapes):
        i = torch.arange(math.prod(s), dtype=torch.float64)
        w = 0.4 * torch.sin(1 + 0.7 * n + 1.9 * i)
        if name.endswith("norm.weight"):
            w = 1 + w
        out[name] = w.float().double().reshape(s).requires_grad_(True)
    return out


def forward(c, W, tokens):
    H, d, nh, nkv, v = c["hidden"], c["d"], c["heads"], c["groups"], c["v"]
    m = torch.ones(H, dtype=torch.float64)
    m[c["old_hidden"]:] = v
    S = m.sum()
    D = S if c["msg"] else float(H)
    mf = torch.ones(c["ffn"], dtype=torch.float64)
    mf[c["old_ffn"]:] = v
    mh = torch.ones(nh, dtype=torch.float64)
    mh[c["new_heads"]] = v

    def norm(x, n):
        g, b = W[n + ".weight"], W.get(n + ".bias")
        if b is not None:
            x = x - (m * x).sum(-1, keepdim=True) / S
        y = g * x / torch.sqrt((m * x * x).sum(-1, keepdim=True) / D + c["eps"])
        return m * (y if b is None else y + b)

    def rope(x):  # [B, heads, T, d], half-split pairs
        a = torch.arange(T, dtype=torch.float64)[:, None] * 10000.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        x1, x2 = x[..., : d // 2], x[..., d // 2:]
        return torch.cat([x1 * a.cos() - x2 * a.sin(), x2 * a.cos() + x1 * a.sin()], -1)

    x = W["embedding.word_embeddings.weight"][tokens]
    if c["learned"]:
        x = x + W["embedding.position_embeddings.weight"]
    for l in range(c["layers"]):
        w = lambda n: W.get(f"layers.{l}." + n)
        lin = lambda x, n: F.linear(x, w(n + ".weight"), w(n + ".bias"))
        new = l in c["new_layers"]
        h = norm(x, f"layers.{l}.input_norm")
        split = lambda t, n: t.view(B, T, n, d).transpose(1, 2)
        q, k, u = split(lin(h, "attention.query"), nh), split(lin(h, "attention.key"), nkv), split(lin(h, "attention.value"), nkv)
        if not c["learned"]:
            q, k = rope(q), rope(k)
        k, u = k.repeat_interleave(nh // nkv, 1), u.repeat_interleave(nh // nkv, 1)
        s = (q @ k.transpose(-1, -2) / math.sqrt(d)).masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
        o = s.softmax(-1) @ u
        if not new:
            o = o * mh[:, None, None]
        y = lin(o.transpose(1, 2).reshape(B, T, nh * d), "attention.dense")
        x = x + (v * y if new else y)
        h = norm(x, f"layers.{l}.post_attention_norm")
        t = lin(h, "mlp.fc1")
        t = F.silu(lin(h, "mlp.gate")) * t if c["swiglu"] else F.gelu(t, approximate="tanh")
        if not new:
            t = t * mf
        y = lin(t, "mlp.fc2")
        x = x + (v * y if new else y)
    scale = c["scale"] if not c["scale_from"] else c["scale_from"] + (c["scale"] - c["scale_from"]) * v
    return scale * F.linear(norm(x, "final_norm"), W["embedding.word_embeddings.weight" if c["tied"] else "output_layer.weight"])[..., :V]


cases = [
    dict(layers=3, hidden=20, old_hidden=13, ffn=24, old_ffn=17, heads=3, groups=3, d=4, new_heads=[2], new_layers=[1], v=0.3, rms=False,
         swiglu=False, bias=True, learned=True, tied=True, msg=False, scale=0.5, scale_from=0.0, eps=1e-3),
    dict(layers=2, hidden=18, old_hidden=16, ffn=21, old_ffn=8, heads=6, groups=2, d=6, new_heads=[2, 5], new_layers=[], v=0.7, rms=True,
         swiglu=True, bias=False, learned=False, tied=False, msg=False, scale=1.0, scale_from=0.0, eps=1e-3),
    dict(layers=2, hidden=18, old_hidden=11, ffn=21, old_ffn=20, heads=4, groups=2, d=6, new_heads=[1, 3], new_layers=[0], v=0.4, rms=False,
         swiglu=True, bias=True, learned=False, tied=True, msg=True, scale=0.5, scale_from=0.8, eps=1e-3)]
for c in cases:
    tokens = torch.tensor([(7 * i * i + 3 * i + 1) % V for i in range(B * T)]).view(B, T)
    targets = torch.tensor([(5 * i * i + 11 * i + 2) % V for i in range(B * T)])
    W = weights(c)
    z = forward(c, W, tokens).reshape(B * T, V)
    loss = F.cross_entropy(z, targets)
    loss.backward()
    c["loss"], c["logits"] = loss.item(), [round(x, 7) for x in z.flatten().tolist()]
    c["gradients"] = {}
    for k, w in W.items():
        g = w.grad.flatten()  # its length, and its product with a vector that knows the order
        c["gradients"][k] = [g.norm().item(), (g * torch.cos(0.3 * torch.arange(len(g), dtype=torch.float64))).sum().item()]
print(json.dumps(cases))
