#!/usr/bin/env python3
"""Turns the JSON objects of run.sh into a Markdown table: a row a program, medians over rounds, ratios round by round.

    table.py TITLE [--cpu] FILE.json ...       the first program of a round is the one that the others are compared with
"""
import json, statistics, sys


def objects(text):
    """The JSON objects of a file, one after another."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        yield value


cpu = "--cpu" in sys.argv  # tokens a processor second, for a machine that others use too
paths = [p for p in sys.argv[2:] if p != "--cpu"]
unit = "tokens a processor second" if cpu else "tokens/s"
print(f"| model, threads | program | {unit}: median (least to most) of rounds | share of FMA peak | ours / theirs, median of rounds |")
print("| --- | --- | --- | --- | --- |")
for path in paths:
    rows, used = {}, {}
    peak = []
    for r in objects(open(path).read()):
        name = "Cambium" if r["program"].startswith("cambium") else r["program"]
        rows.setdefault(name, []).append(r["tokens_per_sec"])
        if r.get("cpu_ms_median"):
            used.setdefault(name, []).append(1e3 * r["tokens"] / r["cpu_ms_median"])
        if "peak_gflops" in r:
            peak.append((r["peak_gflops"], r["gflops"] / r["tokens_per_sec"]))
    rows = used if cpu else rows
    flop, top = peak[0][1], max(p for p, _ in peak)
    ours = rows["Cambium"]
    title = path.rsplit("/", 1)[-1].removesuffix(".json")
    for name, t in rows.items():
        n = min(len(t), len(ours))
        ratio = statistics.median(ours[i] / t[i] for i in range(n))
        print(f"| {title} | {name} | {statistics.median(t):.0f} ({min(t):.0f} to {max(t):.0f}, {len(t)} rounds) | {100 * statistics.median(t) * flop / top:.0f} % | {ratio:.2f} |")
