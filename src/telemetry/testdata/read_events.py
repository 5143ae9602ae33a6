"""Reads an event file with TensorBoard's own reader and prints what it holds.

    python read_events.py events.hex

The recorded file passed with TensorBoard 2.21.0: 12 points of "learning-rate"; 11 of "lm loss" and "grad-norm" (one
iteration was skipped, its norm infinite); growth and stages as texts.
"""
import os
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = tempfile.mkdtemp()
with open(sys.argv[1]) as text, open(os.path.join(folder, "events.out.tfevents.1.host.1.0"), "wb") as out:
    for line in text:
        out.write(bytes.fromhex(line.strip()))
events = EventAccumulator(folder)
events.Reload()
for tag in events.Tags()["scalars"]:
    print(tag, [(e.step, round(e.value, 6)) for e in events.Scalars(tag)])
for tag in events.Tags()["tensors"]:
    print(tag, [(e.step, e.tensor_proto.string_val) for e in events.Tensors(tag)])
