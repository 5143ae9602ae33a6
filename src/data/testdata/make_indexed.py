"""Writes the token files beside this script, byte by byte from the formats' descriptions, for the tests of package data.

Megatron's .bin/.idx: documents [1 2 3 | 4 | 500 65000 0], 16 bits; the same with 70000 for 500, 32 bits.
llm.c's shards: GPT-2 (uint16, version 1) and Llama 3 (uint32, version 7), ten tokens each.
"""
import pathlib
import struct

here = pathlib.Path(__file__).parent


def megatron(name, documents, code, letter):
    lengths = [len(d) for d in documents]
    size = struct.calcsize("<" + letter)
    pointers = [sum(lengths[:i]) * size for i in range(len(lengths))]
    bounds = list(range(len(lengths) + 1))
    idx = b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", code)
    idx += struct.pack("<QQ", len(lengths), len(bounds))
    idx += struct.pack(f"<{len(lengths)}i", *lengths)
    idx += struct.pack(f"<{len(pointers)}q", *pointers)
    idx += struct.pack(f"<{len(bounds)}q", *bounds)
    tokens = [t for d in documents for t in d]
    (here / f"{name}.idx").write_bytes(idx)
    (here / f"{name}.bin").write_bytes(struct.pack(f"<{len(tokens)}{letter}", *tokens))


def llmc(name, magic, version, tokens, letter):
    header = struct.pack("<256i", magic, version, len(tokens), *[0] * 253)
    (here / f"{name}.bin").write_bytes(header + struct.pack(f"<{len(tokens)}{letter}", *tokens))


megatron("u16", [[1, 2, 3], [4], [500, 65000, 0]], 8, "H")
megatron("i32", [[1, 2, 3], [4], [70000, 65000, 0]], 4, "i")
llmc("llmc_gpt2", 20240520, 1, list(range(50247, 50257)), "H")
llmc("llmc_llama3", 20240801, 7, list(range(128246, 128256)), "I")
