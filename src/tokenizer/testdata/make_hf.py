"""Records what Hugging Face's tokenizers (0.23) make of small texts, for the tests of package tokenizer.

    python make_hf.py record           writes corpus.txt, texts.json, trained.json and the tokenizer_*.json beside this script
    python make_hf.py check FOLDER     loads FOLDER/tokenizer.json, and the folder with transformers, and prints the ids of texts.json
"""
import json
import pathlib
import sys

from tokenizers import Regex, Tokenizer, AddedToken, decoders, models, pre_tokenizers, trainers

here = pathlib.Path(__file__).parent
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

CORPUS = """package main

import "fmt"

// The layer of a tree that makes it grow in girth is the cambium. It's between the bark and the wood.
func main() {
\tfor i := 0; i < 1234567; i++ {
\t\tif i%2 == 0 {
\t\t\tfmt.Println("hello, world", i)
\t\t}
\t}
}

Das Kambium (von lateinisch cambiare) ist eine Schicht von teilungsfähigem Gewebe: größere, längere Äste.
Камбий — образовательная ткань в стеблях и корнях. Камбий растёт. Камбий и древесина.
形成層は、植物の茎や根にある分裂組織である。形成層は木を太らせる。
We're sure they'll grow; I'd say it's what trees DO, isn't it? That's THAT'S 'S.
aaaaaaaaaaaaaaaa aaaaaaaa aaaa abababababab  \u00a0\u00a0x   \r\n\r\n end    of\t\t\ttext\n\n\n\n
""" * 3

TEXTS = [
    "", " ", "  x", "\t\tif x {\n\t\t\treturn\n\t\t}\n", "\n \n x", " \n \n ", "x \r\n\r\n y", "end  ", "a\u00a0\u00a0b\u3000c\u2028d\u0085e",
    "we're WE'RE 'S'sS ''t ' s", "'\u017ft x'\u017ft", "12345 1 12 123 1234 \u0663\u0664\u00b2\u2167\u00bd", "foo(bar)[0] != nil && x...;\n\n", "aaaaaaaaaaaaaaaaaaa ababababa",
    "größere Äste, Камбий и 形成層は木 🌳🏽👩‍👩‍👧 e\u0301", "<|endoftext|>x <|pad|>y", "\ufffd\ufeff\u200b\u200d", "fmt.Println(\"hello, world\", i) // cambium",
    "The layer of a tree that makes it grow is the cambium.",
]


def train(pre, vocab, specials=()):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, min_frequency=2, show_progress=False, special_tokens=list(specials),
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator([CORPUS], trainer)
    return t


def record():
    byte_level = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    split = lambda p: pre_tokenizers.Split(Regex(p), "isolated")
    pres = {
        "gpt2": byte_level(True),
        "llama3": pre_tokenizers.Sequence([split(CL100K), byte_level(False)]),
        "o200k": pre_tokenizers.Sequence([split(O200K), byte_level(False)]),
        "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
        "whole": byte_level(False),
    }
    (here / "corpus.txt").write_bytes(CORPUS.encode())
    (here / "texts.json").write_text(json.dumps(TEXTS))
    # The merges alone: the same trainer with 500 ids and no special token.
    merges = {}
    for name in ("gpt2", "llama3"):
        merges[name] = json.loads(train(pres[name], 500).to_str())["model"]["merges"]
    ids = {}
    for name, pre in pres.items():
        t = train(pre, 340, ["<|endoftext|>"])
        if name == "digits":
            t.add_tokens([AddedToken("    ", normalized=False), AddedToken("  ", normalized=False), AddedToken("\t\t", normalized=False)])
        if name == "gpt2":
            t.add_special_tokens(["<|pad|>"])
        text = t.to_str()
        if name == "llama3":  # the older spelling of merges, and whole words first
            j = json.loads(text)
            j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
            j["model"]["ignore_merges"] = True
            text = json.dumps(j, ensure_ascii=False)
            t = Tokenizer.from_str(text)
        (here / f"tokenizer_{name}.json").write_text(text)
        # special tokens are matched here, as EncodeSpecial does
        ids[name] = [t.encode(x).ids for x in TEXTS]
    (here / "trained.json").write_text(json.dumps({"merges": merges, "ids": ids}))


def check(folder):
    texts = json.loads((here / "texts.json").read_text())
    t = Tokenizer.from_file(f"{folder}/tokenizer.json")
    print(json.dumps([t.encode(x).ids for x in texts]))
    from transformers import AutoTokenizer
    a = AutoTokenizer.from_pretrained(folder)
    print(json.dumps([a(x, add_special_tokens=False)["input_ids"] for x in texts]))
    assert all(t.decode(t.encode(x).ids, skip_special_tokens=False) == x for x in texts)


if sys.argv[1] == "record":
    record()
else:
    check(sys.argv[2])
