"""Writes python.safetensors with the reference implementation and compares go.safetensors, which the Go test wrote.

    python make.py          writes python.safetensors
    python make.py check    reads go.safetensors (go test -run Python -update writes it) and compares it

Needs safetensors and torch. Recorded with safetensors 0.8.0 and torch 2.15.
"""
import os
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

here = os.path.dirname(os.path.abspath(__file__))
base = torch.tensor([0.0, -0.0, 1.0, -1.5, 3.14159274, 1e-3, 65504.0, 65519.996, 6e-8, 2.9e-8, 1e-40, float("inf")])
want = {
    "f32": base.reshape(3, 4),
    "bf16": base.reshape(2, 6).to(torch.bfloat16),
    "f16": base.to(torch.float16),
    "i32": torch.tensor([[1, -2, 2147483520]], dtype=torch.int32),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "a name/with \"quotes\" \u00e4": torch.ones(1),
}
metadata = {"format": "pt", "by": "make.py"}

if sys.argv[1:] == ["check"]:
    path = os.path.join(here, "go.safetensors")
    got = load_file(path)
    assert set(got) == set(want), set(got) ^ set(want)
    for name, w in want.items():
        g = got[name]
        assert g.dtype == w.dtype and g.shape == w.shape, (name, g.dtype, g.shape)
        assert bytes(g.contiguous().view(-1).view(torch.uint8).numpy()) == bytes(w.contiguous().view(-1).view(torch.uint8).numpy()), name
    with safe_open(path, "pt") as f:
        assert f.metadata() == metadata, f.metadata()
    print("go.safetensors is as it should be")
else:
    save_file(want, os.path.join(here, "python.safetensors"), metadata)
