#!/usr/bin/env python3
"""Times Dure's tokenizers beside `tokenizers`, `tiktoken` and `sentencepiece`, in turns on the same machine.

    python3 -m venv venv && venv/bin/pip install tokenizers tiktoken sentencepiece
    venv/bin/python tests/bench/tokenizers_speed.py --dure build/dure --work DIR train TEXT [--vocab-size 32000] [--threads 1]
    venv/bin/python tests/bench/tokenizers_speed.py --dure build/dure --work DIR encode TEXT [--megabytes 4] [--passes 7]

`train` learns a byte-level BPE vocabulary from the lines of TEXT with both, once each, prints processor seconds, wall seconds and
the peak of memory, and compares the merges one by one. `encode` gives MB/s of text on one thread by processor time, the median,
lowest and highest of the passes, for vocabularies that tests/bench/tokenizers_agree.py fetched or trained into DIR: for
Dure of the whole program but for opening the file (measured on no text), printing the ids included; for the others of the calls
in Python, one for a batch of lines where there is one, else one a line.
"""
import argparse, json, os, resource, statistics, subprocess, sys, time

os.environ["TOKENIZERS_PARALLELISM"] = "false"


def measured(command, environment=None, given=None):
    """Processor seconds, wall seconds and peak MiB of one process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, env=dict(os.environ, **(environment or {})), stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}: {error.decode()}")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 1024


PEER = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer.train([sys.argv[1]], trainers.BpeTrainer(vocab_size=int(sys.argv[2]), special_tokens=["<|endoftext|>"],
                show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
tokenizer.save(sys.argv[3])
"""


def merges(path):
    with open(path, encoding="utf-8") as file:
        return [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in json.load(file)["model"]["merges"]]


def train(arguments):
    ours, theirs = f"{arguments.work}/speed_ours.json", f"{arguments.work}/speed_theirs.json"
    size = os.path.getsize(arguments.text)
    threads = {"RAYON_NUM_THREADS": str(arguments.threads), "TOKENIZERS_PARALLELISM": "true" if arguments.threads > 1 else "false"}
    rows = [("dure", measured([arguments.dure, "tokenizer", "train", "--vocab-size", str(arguments.vocab_size), "-o", ours, arguments.text])),
            (f"tokenizers, {arguments.threads} threads", measured([sys.executable, "-c", PEER, arguments.text, str(arguments.vocab_size), theirs], threads))]
    print(f"{size:,} bytes, vocabulary {arguments.vocab_size}\n| | processor seconds | wall seconds | peak MiB |\n| --- | --- | --- | --- |")
    for name, (processor, wall, peak) in rows:
        print(f"| {name} | {processor:.1f} | {wall:.1f} | {peak:.0f} |")
    (processor, wall, peak), (other_processor, other_wall, other_peak) = rows[0][1], rows[1][1]
    print(f"| ratio | {other_processor / processor:.1f} x | {other_wall / wall:.1f} x | {peak / other_peak:.2f} of it |")
    a, b = merges(ours), merges(theirs)
    first = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    print(f"merges: {len(a)} and {len(b)}, " + ("all the same" if a == b else f"the first other one at {first}: {a[first:first + 1]} {b[first:first + 1]}"))
    sys.exit(a != b)


def encode(arguments):
    import tokenizers_agree
    with open(arguments.text, "rb") as file:
        text = file.read(int(arguments.megabytes * 1e6))
    text = text[: text.rfind(b"\n") + 1]
    part = f"{arguments.work}/speed_text.txt"
    with open(part, "wb") as file:
        file.write(text)
    lines = text.decode().split("\n")[:-1]
    print(f"{len(text):,} bytes, {len(lines):,} lines, {arguments.passes} passes\n| vocabulary | dure, MB/s | peer, MB/s | ratio of the medians |\n| --- | --- | --- | --- |")
    wanted = arguments.only.split(",") if arguments.only else None
    for name, (path, options, make_peer, _) in tokenizers_agree.vocabularies(arguments.work).items():
        if wanted is not None and name not in wanted:
            continue
        peer = make_peer()
        command = [arguments.dure, "tokenizer", "encode", "--tokenizer", path, "--no-add-special", *options]
        ours, theirs = [], []
        for _ in range(arguments.passes):
            with open(os.devnull, "rb") as nothing, open(part, "rb") as given:
                opening, _, _ = measured(command, given=nothing)
                whole, _, _ = measured(command, given=given)
            ours.append(len(text) / 1e6 / max(whole - opening, 1e-9))
            started = time.process_time()
            if isinstance(peer, tokenizers_agree.OfTokenizers):
                peer.tokenizer.encode_batch_fast(lines, add_special_tokens=False)
            elif isinstance(peer, tokenizers_agree.OfSentencepiece):
                peer.processor.encode(lines, num_threads=1)
            else:
                for line in lines:
                    peer.encode(line)
            theirs.append(len(text) / 1e6 / (time.process_time() - started))
        spread = lambda values: f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
        print(f"| {name} | {spread(ours)} | {type(peer).__name__[2:].lower()} {spread(theirs)} | {statistics.median(ours) / statistics.median(theirs):.1f} x |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dure", required=True)
    parser.add_argument("--work", required=True, help="a folder for vocabularies and results")
    actions = parser.add_subparsers(dest="action", required=True)
    training = actions.add_parser("train")
    training.add_argument("text")
    training.add_argument("--vocab-size", type=int, default=32000)
    training.add_argument("--threads", type=int, default=1, help="of tokenizers")
    encoding = actions.add_parser("encode")
    encoding.add_argument("text")
    encoding.add_argument("--megabytes", type=float, default=4)
    encoding.add_argument("--passes", type=int, default=7)
    encoding.add_argument("--only", help="names of vocabularies, commas between them")
    arguments = parser.parse_args()
    os.makedirs(arguments.work, exist_ok=True)
    {"train": train, "encode": encode}[arguments.action](arguments)


if __name__ == "__main__":
    main()
