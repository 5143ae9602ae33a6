"""Records what torch.optim.AdamW with clip_grad_norm_ does, for TestStepsLikePyTorch: python adamw.py > adamw.json

Two matrices in two groups (the second with a tenth of the learning rate and ten times the decay, as muP has it) and a
vector without decay. Values are multiples of 1/64, so that JSON and fp32 hold them exactly."""
import json
import torch

torch.manual_seed(1)
shapes = {"table": (5, 3), "matrix": (4, 7), "gain": (6,)}
draw = lambda s: torch.randint(-64, 65, s).float() / 64
p = {k: torch.nn.Parameter(draw(s)) for k, s in shapes.items()}
lr, wd = [0.01, 0.02, 0.015, 0.01, 0.005], 0.1
groups = [{"params": [p["table"]], "f": 1.0, "weight_decay": wd}, {"params": [p["matrix"]], "f": 0.1, "weight_decay": 10 * wd},
          {"params": [p["gain"]], "f": 1.0, "weight_decay": 0.0}]
opt = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8, foreach=False)
out = {"lr": lr, "weights": {k: v.tolist() for k, v in p.items()}, "steps": []}
for l in lr:
    g = {k: draw(s) for k, s in shapes.items()}
    for k in p:
        p[k].grad = g[k].clone()
    norm = torch.nn.utils.clip_grad_norm_(p.values(), 1.0).item()
    for grp in opt.param_groups:
        grp["lr"] = l * grp["f"]
    opt.step()
    out["steps"].append({"norm": norm, "grads": {k: v.tolist() for k, v in g.items()}, "weights": {k: v.tolist() for k, v in p.items()}})
print(json.dumps(out))
