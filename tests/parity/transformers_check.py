#!/usr/bin/env python3
"""The other side of TestTransformersAgrees: runs folders in the real transformers library (needs torch and transformers).

  transformers_check.py logits DIR   DIR is an exported model with tokens.json [B][T]: writes DIR/logits.json, fp64 sums in fp32 weights
  transformers_check.py make DIR     writes DIR/gpt2 and DIR/llama, random models saved by transformers, with tokens.json and logits.json
"""
import json, os, sys
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def logits(dir):
    m = AutoModelForCausalLM.from_pretrained(dir, dtype=torch.float32, attn_implementation="eager").double().eval()
    tokens = torch.tensor(json.load(open(os.path.join(dir, "tokens.json"))))
    with torch.no_grad(): z = m(tokens).logits
    json.dump(z.flatten().tolist(), open(os.path.join(dir, "logits.json"), "w"))


def make(dir):
    torch.manual_seed(1)
    for name, m in {
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=53, n_positions=16, n_embd=24, n_layer=2, n_head=3, n_inner=40, bos_token_id=0, eos_token_id=0)),
        "llama": LlamaForCausalLM(LlamaConfig(vocab_size=53, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
                                              num_key_value_heads=2, head_dim=8, max_position_embeddings=16, attention_bias=True, rms_norm_eps=1e-5,
                                              rope_parameters={"rope_type": "default", "rope_theta": 500.0})),
    }.items():
        for p in m.parameters(): p.data += 0.2 * torch.randn_like(p)
        out = os.path.join(dir, name); m.save_pretrained(out)
        json.dump(torch.randint(0, 53, (2, 12)).tolist(), open(os.path.join(out, "tokens.json"), "w")); logits(out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"logits": logits, "make": make}[sys.argv[1]](sys.argv[2])
