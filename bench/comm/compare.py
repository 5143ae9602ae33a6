#!/usr/bin/env python3
"""Compares `cambium bench comm` with the same collectives in plain C, in one interleaved run, and writes the table.

    make mpi && bench/comm/compare.py --ranks 2 --rounds 5 --out bench/results/comm/openmpi-2.json

Every round runs, size by size, both programs in turn, in changing order; short sizes have up to 200 times the calls, so that a measurement
takes some ten milliseconds. A cell is the median over rounds, its range the smallest and largest. The ratio is the median over rounds of our
time by C's: below 1 is faster than C. It is taken round by round since a machine's state, which changes now and then, is then mostly
the same for both.
"""
import argparse, json, os, pathlib, platform, statistics, subprocess, sys, tempfile

root = pathlib.Path(__file__).resolve().parents[2]
p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--ranks", type=int, default=2)
p.add_argument("--rounds", type=int, default=5)
p.add_argument("--cambium", default=str(root / "bin/cambium-mpi"))
p.add_argument("--mpicc", default="mpicc.openmpi")
p.add_argument("--mpirun", default="mpirun.openmpi --bind-to none --oversubscribe")
p.add_argument("--minbytes", type=int, default=1024)
p.add_argument("--maxbytes", type=int, default=16 << 20)
p.add_argument("--factor", type=int, default=4)
p.add_argument("--warmup", type=int, default=5)
p.add_argument("--iters", type=int, default=50)
p.add_argument("--out")
o = p.parse_args()
env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
if o.ranks > os.cpu_count():
    env["OMPI_MCA_mpi_yield_when_idle"] = "1"  # else ranks that wait keep those from working that they wait for


def run(command):
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return done.stdout


def sizes():
    """Sizes, with the calls for warming up and those that are timed: (size, warmup, iters)."""
    size = o.minbytes
    while size <= o.maxbytes:
        times = max(1, min(200, (2 << 20) // size))
        yield size, times * o.warmup, times * o.iters
        size *= o.factor


def ours(mpirun, size, warmup, iters):
    text = run(mpirun + [o.cambium, "bench", "comm", "--groups", "world", "--json", "-b", str(size), "-e", str(size), "-w", str(warmup), "-n",
                         str(iters)])
    for table in json.loads(text):
        for row in table["results"]:
            for in_place, key in enumerate(("out_of_place", "in_place")):
                if row[key]:
                    if row[key]["nwrong"]:
                        sys.exit(f"{table['collective']} of {row['size']} bytes: {row[key]['nwrong']} wrong elements")
                    yield (table["collective"], in_place, row["size"]), row[key]["time"]


def plain(mpirun, program, size, warmup, iters):
    numbers = [str(x) for x in (size, size, o.factor, warmup, iters)]
    for line in run(mpirun + [program] + numbers).splitlines():
        row = json.loads(line)
        yield (row["collective"], row["in_place"], row["size"]), row["time"]


with tempfile.TemporaryDirectory() as tmp:
    program = tmp + "/collectives"
    subprocess.run([o.mpicc, "-O3", "-o", program, str(root / "bench/comm/collectives.c")], check=True)
    mpirun = o.mpirun.split() + ["-n", str(o.ranks)]
    a, b = {}, {}
    turns = [(b, lambda *call: plain(mpirun, program, *call)), (a, lambda *call: ours(mpirun, *call))]
    for _ in range(o.rounds):
        for call in sizes():
            for times, measure in turns:
                for key, t in measure(*call):
                    times.setdefault(key, []).append(t)
        turns.reverse()

cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
said = [line.strip() for line in run([next(w for w in o.mpirun.split() if "mpirun" in w), "--version"]).splitlines()]
mpi = next(("MPICH " + line.split()[1] for line in said if line.startswith("Version:")), said[0])
rows = []
print(f"{o.ranks} ranks, {os.cpu_count()} x {cpu}, {mpi}, {o.rounds} rounds, microseconds (median [range])\n")
print("| call | in place | bytes | plain C | Cambium | ratio |\n| --- | --- | ---: | ---: | ---: | ---: |")
calls = list(dict.fromkeys(k[0] for k in b))
for key in sorted(b, key=lambda k: (calls.index(k[0]), k[2], k[1])):
    c, g = statistics.median(b[key]), statistics.median(a[key])
    ratio = statistics.median(x / y for x, y in zip(a[key], b[key]))
    rows.append({"collective": key[0], "in_place": bool(key[1]), "size": key[2], "c_us": b[key], "cambium_us": a[key], "ratio": ratio})
    cell = lambda x, m: f"{m:.1f} [{min(x):.1f}..{max(x):.1f}]"
    print(f"| {key[0]} | {'yes' if key[1] else 'no'} | {key[2]} | {cell(b[key], c)} | {cell(a[key], g)} | {ratio:.2f} |")
if o.out:
    version = run([o.cambium, "version"]).splitlines()[0]
    out = {"machine": f"{os.cpu_count()} x {cpu}", "mpi": mpi, "cambium": version, "command": " ".join(sys.argv), "ranks": o.ranks,
           "rounds": o.rounds, "rows": rows}
    pathlib.Path(o.out).write_text(json.dumps(out, indent=1) + "\n")
