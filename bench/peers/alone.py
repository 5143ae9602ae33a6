#!/usr/bin/env python3
"""Runs a program that prints one JSON object, and adds to it what else happened on the machine meanwhile.

    alone.py PROGRAM ARGUMENTS ...

others_share: processor time that other programs and the hypervisor took, over the time of all cores (from /proc/stat). A run
with more than a few percent compares nothing but the neighbours.
"""
import json, os, subprocess, sys, time


def busy():
    """Seconds that all cores were in use, or taken away, since the machine started."""
    user, nice, system, _, _, irq, softirq, steal = map(int, open("/proc/stat").readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


start, used = time.monotonic(), busy()
child = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
if child.returncode:
    sys.exit(child.returncode)
used, own = busy() - used, os.times()
others = used - own.children_user - own.children_system
result = json.loads(child.stdout)
result["others_share"] = round(max(0, others) / (time.monotonic() - start) / os.cpu_count(), 3)
print(json.dumps(result))
