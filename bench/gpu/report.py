"""Makes the page of a machine from what bench/gpu/run.sh left in a folder.

    python3 bench/gpu/report.py RESULTS [--resources build/cuda/resources.txt] [--tested build/cuda/tested.txt] > README.md

Prints Markdown: kernels beside PyTorch's and the device's roofs, training steps, where a step's time goes, conformance,
compute-sanitizer, every kernel with its tests and static resources. What is not in the folder is called unmeasured.
"""

import argparse
import glob
import json
import os
import re
import statistics

MODELS = {"gpt2-124m": "GPT-2 124M", "gpt2-1.5b": "GPT-2 1.5B", "llama-1b": "Llama 1.1B"}


def read(*path):
    try:
        with open(os.path.join(*path)) as f:
            return f.read()
    except FileNotFoundError:
        return ""


def load(*path):
    text = read(*path)
    try:
        return json.loads(text) if text.strip() else None
    except json.JSONDecodeError:  # cut off by its time limit
        return None


def table(head, rows):
    """Markdown; columns after the first are numbers."""
    out = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(out + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


def percent(x):
    return f"{100 * x:.0f} %"


def kernels(folder):
    """One table a shape: ours, PyTorch's, and the share of the nearer roof: the measured peak of a GEMM where an operation has more work
    a byte than the device's knee, the measured bandwidth of a copy elsewhere."""
    found = False
    for path in sorted(glob.glob(os.path.join(folder, "kernels-*", "kernels.json"))):
        found = True
        name = os.path.basename(os.path.dirname(path)).removeprefix("kernels-")
        ours, theirs = load(path), load(folder, f"torch-{name}.json") or {"kernels": []}
        by_name = {k["name"]: k for k in theirs["kernels"]}
        same = theirs.get("tokens", ours.get("tokens")) == ours.get("tokens")
        copy, peak = ours["copy_gbs"], ours["peak_gflops"]
        rows, ratios, by_mode = [], [], {}
        for k in ours["kernels"]:
            plain, _, mode = k["name"].partition(", ")
            peer = by_name.get(plain) if same else None
            share, bound = of_roof(k, peak, copy)
            rate = f"{k['gflops'] / 1e3:.0f} TFLOP/s" if bound else f"{k['gbs']:.0f} GB/s"
            ratio = peer["batch_us"] / k["batch_us"] if peer else None
            if ratio and not mode:
                ratios.append(ratio)
            by_mode.setdefault(plain, {})[mode] = k["batch_us"]
            how = f"{peer['batch_us']:.1f}" + (" c" if peer.get("how") == "compiled" else "") if peer else "-"
            rows.append([k["name"], f"{k['batch_us']:.1f}", how, f"{ratio:.2f}" if ratio else "-", rate, percent(share) + (" of the GEMM" if bound else " of the copy"), f"{k['cold_us']:.1f}"])
        print(f"### {name}, {ours.get('tokens', '?')} tokens\n")
        print(f"{ours['backend']}, {ours['program']}; copy {copy:.0f} GB/s, GEMM {peak / 1e3:.0f} TFLOP/s, both measured just before; {theirs.get('program', 'no PyTorch there')}. "
              f"Medians of {ours['kernels'][0]['samples']} batches, microseconds; c: PyTorch's through torch.compile.\n")
        print(table(["kernel", "ours", "PyTorch", "PyTorch / ours", "rate", "share of its roof", "cold"], rows))
        if ratios:
            print(f"Faster than PyTorch: {sum(r > 1 for r in ratios)} of {len(ratios)}.\n")
        own = [(name, m["cublaslt"] / m["own"]) for name, m in by_mode.items() if {"own", "cublaslt"} <= m.keys()]
        if own:
            print("Own GEMM's share of cuBLASLt's speed: " + ", ".join(f"{name.removeprefix('gemm ')} {percent(r)}" for name, r in own) + ".\n")
        for note in ours.get("notes") or []:
            print("- " + note)
        print()
    if not found:
        print("Unmeasured.\n")


def steps(folder):
    runs = {}
    for path in sorted(glob.glob(os.path.join(folder, "step-*-*.json"))):
        m = re.fullmatch(r"step-(.+)-(cambium|torch|llmc)-(\d+)\.json", os.path.basename(path))
        run = load(path)
        if m and run:
            runs.setdefault(m[1], {}).setdefault(m[2], {})[int(m[3])] = run
    rows, profiles, programs = [], [], set()
    for model, by in runs.items():
        ours = by.get("cambium", {})
        sheet = next((r["datasheet_tflops"] for rounds in by.values() for r in rounds.values() if r.get("datasheet_tflops")), None)
        for program, rounds in (("Cambium", ours), ("PyTorch", by.get("torch", {})), ("llm.c", by.get("llmc", {}))):
            if not rounds:
                continue
            one = rounds[min(rounds)]
            programs.add(one["program"])
            ms = statistics.median(r["step_ms_median"] for r in rounds.values())
            rate = statistics.median(r["tokens_per_sec"] for r in rounds.values())
            gflops = statistics.median(r["gflops"] for r in rounds.values())
            mfu = percent(gflops / 1e3 / sheet) if sheet else "-"
            memory = f"{one['memory_mb'] / 1e3:.1f} GB" if one.get("memory_mb") else "-"
            ratios = []
            if rounds is not ours:
                ratios = [ours[n]["tokens_per_sec"] / r["tokens_per_sec"] for n, r in rounds.items() if n in ours and (ours[n]["parameters"], ours[n]["tokens"]) == (r["parameters"], r["tokens"])]
            ratio = f"{statistics.median(ratios):.2f} ({', '.join(f'{r:.2f}' for r in ratios)})" if ratios else "-"
            rows.append([MODELS.get(model, model), program, str(one["tokens"]), f"{ms:.2f}", f"{rate:,.0f}", f"{gflops / 1e3:.1f}", mfu, memory, ratio])
        for run in ours.values():
            if run.get("profile"):
                profiles.append((model, run["profile"], run["step_ms_median"]))
    if not rows:
        print("Unmeasured.\n")
        return []
    print("; ".join(sorted(programs)) + ". In turn in one run, ratios round by round; FLOPs by the formula palm, 6 N + 12 L H Q T; MFU of the datasheet's dense bf16.\n")
    print(table(["model", "program", "tokens a step", "ms a step", "tokens/s", "TFLOP/s", "MFU", "memory", "ours / theirs, median"], rows))
    return profiles


def profile(model, p, median):
    print(f"### {MODELS.get(model, model)}\n")
    print(f"A step of {median:.2f} ms, of {p['step_ms']:.2f} ms while kernels were timed; kernels {p['kernels_ms']:.2f} ms together.\n")
    sums = {}
    for k in p["kernels"]:
        s = sums.setdefault((k["operation"], k.get("kernel", "")), [0, 0])
        s[0], s[1] = s[0] + k["ms"], s[1] + k["count"]
    rows = [[f"{op}{', `' + kernel + '`' if kernel else ''}", f"{ms:.2f}", f"{100 * ms / p['kernels_ms']:.1f} %", str(n), f"{1e3 * ms / n:.1f}"] for (op, kernel), (ms, n) in sorted(sums.items(), key=lambda s: -s[1][0])]
    rest = rows[20:]
    print(table(["kernel", "ms", "share", "launches", "us each"], rows[:20]))
    if rest:
        print(f"and {len(rest)} more.\n")


def checks(folder):
    text = read(folder, "conformance.txt")
    passed, failed = len(re.findall(r"--- PASS: \S+/", text)), re.findall(r"--- FAIL: (\S+/\S+)", text)
    whole = "every operation against float64, in fp32, bf16 and fp16, odd and aligned sizes"
    print(f"- Conformance ({whole}): {passed} groups passed" + (f", failed: {', '.join(failed)}." if failed else "." if text else ": unmeasured."))
    for tool in ("memcheck", "racecheck"):
        text = read(folder, f"sanitizer-{tool}.txt")
        if not text:
            print(f"- compute-sanitizer {tool}: unmeasured.")
            continue
        end = re.findall(r"=+ (.*SUMMARY.*)", text)
        ran = re.findall(r"--- PASS: TestConformance/(\S+)", text)
        print(f"- compute-sanitizer {tool}: {end[-1] if end else 'not at its end in its time'}; {len(ran)} groups: {', '.join(ran)}.")
    print()


def shares(folder):
    """What share of its roof every kernel had, and in what: {kernel: [(share, text)]}. An operation of several kernels is measured as a whole.
    Which they are the results say themselves, or launched.json beside them, for those of a time when they did not."""
    out = {}
    launched = load(folder, "launched.json") or {}
    for path in sorted(glob.glob(os.path.join(folder, "kernels-*", "kernels.json"))):
        name, ours = os.path.basename(os.path.dirname(path)).removeprefix("kernels-"), load(path)
        for k in ours["kernels"]:
            share, bound = of_roof(k, ours["peak_gflops"], ours["copy_gbs"])
            for kernel in k.get("kernels") or launched.get(name, {}).get(k["name"], []):
                out.setdefault(kernel, []).append((share, f"{percent(share)} of the {'GEMM' if bound else 'copy'} ({k['name'].removesuffix(', own')})"))
    return out


def of_roof(k, peak, copy):
    """The share of the nearer roof, and whether that is arithmetic."""
    bound = k["flops"] / k["bytes"] > peak / copy
    return (k["gflops"] / peak if bound else k["gbs"] / copy), bound


def every_kernel(folder, resources, tested):
    """Every kernel with its tests, static resources on every target, and share of its roof."""
    by, targets = {}, []
    for line in read(resources).splitlines():
        w = line.split()  # name target N registers N bytes shared N bytes stack N bytes spilled
        if len(w) == 13:
            by.setdefault(w[0], {})[w[1]] = [int(w[i]) for i in (2, 4, 7, 10)]
            targets = sorted({*targets, w[1]}, key=lambda t: int(re.sub(r"\D", "", t)))
    if not by:
        return
    tests = {w[0]: w[1:] for w in map(str.split, read(tested).splitlines())}
    measured = shares(folder)
    print("## Every kernel\n\nTests: cases of `backend/conformance` that run it, against float64 (" + ("on the emulated driver" if tests else "not recorded: cuda/tested.sh") + "). "
          f"Registers, shared memory (without what a launch asks for) and spills by ptxas, for {', '.join(targets)}; one number where they agree; wgmma is sm_90a's alone. "
          "Share of its roof: measured here, of the operation that it is all or part of; the range where there are several.\n")
    rows = []
    for name in sorted(by):
        at = [by[name].get(t) for t in targets]

        def cell(i):
            values = [str(x[i]) for x in at if x]
            return values[0] if len(set(values)) == 1 else " / ".join(values)
        known = sorted(measured.get(name, []))
        share = "unmeasured" if not known else known[0][1] if len(known) == 1 else f"{percent(known[0][0])} to {known[-1][1]}"
        rows.append([f"`{name}`", " ".join(tests.get(name, ["-"])), cell(0), cell(1), cell(3), share])
    print(table(["kernel", "tests", "registers", "shared, bytes", "spilled, bytes", "share of its roof"], rows))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("results")
    p.add_argument("--resources", default="build/cuda/resources.txt", help="of cuda/compile.sh")
    p.add_argument("--tested", default="build/cuda/tested.txt", help="of cuda/tested.sh")
    p.add_argument("--title", help="default: the GPU's name")
    a = p.parse_args()
    machine = read(a.results, "machine.txt").strip()
    gpu = re.search(r"NVIDIA [A-Z]+\d[^,\n]*", machine)
    print(f"# {a.title or (gpu[0].strip() if gpu else 'A GPU')}\n\nBy `bench/gpu/run.sh` and `bench/gpu/report.py`.\n\n```\n{machine}\n```\n")
    print("## Kernels\n")
    kernels(a.results)
    print("## Training steps\n")
    profiles = steps(a.results)
    if profiles:
        print("## Where a step's time goes\n")
    for one in profiles:
        profile(*one)
    print("## Checks\n")
    checks(a.results)
    every_kernel(a.results, a.resources, a.tested)


if __name__ == "__main__":
    main()
