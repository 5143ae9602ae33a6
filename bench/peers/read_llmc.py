#!/usr/bin/env python3
"""Turns the first lines of llm.c's CPU program into the JSON of `cambium bench step --json`, and then ends it.

    stdbuf -oL ./train_gpt2 | read_llmc.py MODEL THREADS STEPS

A line reads "step 3: train loss 5.1 (took 1234.5 ms)"; step 0 is not counted: it touches the optimizer's pages first.
"""
import json, re, statistics, sys

tokens = {"124M": 4 * 64, "30M": 8 * 256}[sys.argv[1]]
times, loss = [], None
for line in sys.stdin:
    m = re.match(r"step (\d+): train loss ([\d.]+) \(took ([\d.]+) ms\)", line)
    if m:
        loss = float(m[2])
        if int(m[1]) > 0:
            times.append(float(m[3]))
        if len(times) == int(sys.argv[3]):
            break
if not times:
    raise SystemExit("read_llmc.py: no line of the form 'step N: train loss L (took T ms)' after step 0")
median = statistics.median(times)
print(json.dumps(dict(program="llm.c train_gpt2", tokens=tokens, threads=int(sys.argv[2]), step_ms=times, step_ms_median=median,
                      tokens_per_sec=round(tokens / median * 1e3, 2), loss=loss)))
