#!/usr/bin/env python3
"""`dure data dedup --near` beside datasketch on the same shingles: pairs, recall against the curve, CPU time.

    pip install datasketch xxhash numpy
    tests/bench/near_duplicates.py build/dure            # one thread each, some 60 MB of Korean and English words

Half of the documents are copies of others with 0 to 30 words replaced. datasketch runs twice: with its own hashes, and with
ours, where its pairs must be exactly ours.
"""
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time

import numpy
import xxhash
from datasketch import MinHash, MinHashLSH

BANDS, ROWS, PERMUTATIONS, WIDTH = 9, 13, 128, 5


def make_documents(count):
    draw = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(20000)]
    words += ["".join(chr(draw.randint(0xAC00, 0xD7A3)) for _ in range(draw.randint(1, 4))) for _ in range(10000)]
    documents = []
    for _ in range(count):
        first = draw.choices(words, k=draw.randint(150, 600))
        second = list(first)
        for place in draw.sample(range(len(second)), draw.choice([0, 1, 2, 4, 6, 8, 10, 14, 20, 30])):
            second[place] = draw.choice(words)
        documents += [first, second]
    order = list(range(2 * count))
    draw.shuffle(order)
    place = {document: i for i, document in enumerate(order)}
    planted = [tuple(sorted((place[2 * i], place[2 * i + 1]))) for i in range(count)]
    return [documents[i] for i in order], planted


def shingles(words):
    return {" ".join(words[i : i + WIDTH]).encode() for i in range(len(words) - WIDTH + 1)}


def datasketch_pairs(documents, **options):
    started = time.process_time()
    index, pairs = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS)), set()
    for i, words in enumerate(documents):
        signature = MinHash(num_perm=PERMUTATIONS, **options)
        signature.update_batch(shingles(words))
        pairs.update((j, i) for j in index.query(signature))
        index.insert(i, signature, check_duplication=False)
    return pairs, time.process_time() - started


def dure_seconds(program, folder, *options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [program, "data", "dedup", f"{folder}/in.jsonl", "-o", f"{folder}/out.jsonl", "--threads", "1", *options]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def our_permutations():
    bits = [xxhash.xxh3_64_intdigest(i.to_bytes(4, "little"), seed=1) for i in range(PERMUTATIONS)]
    low, high = [(b & 0xFFFFFFFF) | 1 for b in bits], [b >> 32 for b in bits]
    return numpy.array(low, dtype=numpy.uint32), numpy.array(high, dtype=numpy.uint32)


def main():
    program = os.path.abspath(sys.argv[1])
    documents, planted = make_documents(int(sys.argv[2]) if len(sys.argv) > 2 else 10000)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/in.jsonl", "w", encoding="utf-8") as file:
            for words in documents:
                file.write(json.dumps({"text": " ".join(words)}, ensure_ascii=False) + "\n")
        exact = dure_seconds(program, folder)
        near = dure_seconds(program, folder, "--near", "--pairs", f"{folder}/pairs")
        with open(f"{folder}/pairs", encoding="utf-8") as file:
            ours = {tuple(map(int, line.split())) for line in file}
    same, _ = datasketch_pairs(documents, scheme="affine32", permutations=our_permutations(),
                               hashfunc=lambda text: xxhash.xxh3_64_intdigest(text) & 0xFFFFFFFF)
    own, seconds = datasketch_pairs(documents)
    print(f"pairs: dure {len(ours)}; datasketch with the same hashes {len(same)}, {'equal' if same == ours else 'OTHER'}")
    print(f"CPU seconds: datasketch {seconds:.2f}; dure {near:.2f} with reading and writing ({seconds / near:.1f} x), "
          f"{near - exact:.2f} more than without --near ({seconds / (near - exact):.1f} x)")
    expected = 0
    for pair in planted:
        a, b = shingles(documents[pair[0]]), shingles(documents[pair[1]])
        expected += 1 - (1 - (len(a & b) / len(a | b)) ** ROWS) ** BANDS
    for name, found in (("dure", ours), ("datasketch", own)):
        count = sum(pair in found for pair in planted)
        print(f"{name}: {count} of the planted pairs, {expected:.1f} expected by the curve: {count / expected:.4f}")
    return 0 if same == ours else 1


if __name__ == "__main__":
    sys.exit(main())
