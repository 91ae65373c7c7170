#!/usr/bin/env python3
"""What a checkpoint that is saved in the background costs the steps of a training of 355 million parameters.

    python3 tests/bench/saving.py DURE [--device auto] [--saves 4] [--between 6] [--batch 1] [--context 64] [--folder DIR]

One run of `dure train` (GPT-2 medium, f32, from scratch), so that both kinds of steps alternate under the same
conditions. It saves weights and optimizer state now and then: a step during which a checkpoint is copied or written
counts as "with", every other one as "without" (but for the first two, which compile and warm up). Prints both kinds'
median with quartiles, the slowdown while a save is under way (the medians' ratio, and what all those steps took over
what they would have taken: the copy that the device makes before the first of them is in it), and how long saves took.
Needs 16 GB of memory and 13 GB of disk; only the standard library.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

SHAPE = dict(model_type="gpt2", n_layer=24, n_embd=1024, n_head=16, vocab_size=50257)


def prepare(program, folder, context):
    """The configuration and some packed text, what about does not matter; made once."""
    data, config = os.path.join(folder, "data"), os.path.join(folder, "config.json")
    with open(config, "w") as file:
        json.dump(dict(SHAPE, n_positions=context), file)
    if os.path.isdir(data):
        return config, data
    text, tokenizer = os.path.join(folder, "text.txt"), os.path.join(folder, "tokenizer.json")
    with open(text, "w") as file:
        for number in range(40000):
            file.write(f"the square of {number} is {number * number}\n")
    quiet = dict(check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([program, "tokenizer", "train", "--vocab-size", "400", "-o", tokenizer, text], **quiet)
    subprocess.run([program, "data", "pack", text, "--tokenizer", tokenizer, "-o", data], **quiet)
    return config, data


def begun_aside(run):
    """Whether a checkpoint is being written."""
    try:
        return any(re.fullmatch(r"\.step-\d+\.part", name) for name in os.listdir(os.path.join(run, "checkpoints")))
    except FileNotFoundError:
        return False


def watch(command, run, every, count):
    """The first `count` steps as (seconds, whether a save was under way), and the seconds of every save."""
    log = open(os.path.join(os.path.dirname(run), "log"), "w+")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    metrics, steps, saves, seen = os.path.join(run, "metrics.jsonl"), [], [], 0
    begun, has_been_writing, overlaps = None, False, False
    while process.poll() is None and len(steps) < count:
        time.sleep(0.02)
        lines = open(metrics).read().splitlines() if os.path.exists(metrics) else []
        is_writing = begun_aside(run)
        has_been_writing = has_been_writing or is_writing
        if begun is not None and has_been_writing and not is_writing:
            saves.append(time.monotonic() - begun)
            begun, has_been_writing = None, False
        for line in lines[seen:]:
            row = json.loads(line)
            steps.append((row["seconds"], overlaps))
            # The copy of this step's state is made before the next step's update.
            if row["step"] % every == 0 and begun is None:
                begun = time.monotonic()
            overlaps = begun is not None
        seen = len(lines)
    process.kill()
    process.wait()
    log.seek(0)
    said = log.read()
    if len(steps) < count or "training waits while" in said:
        raise SystemExit("no such run: " + said[-2000:])
    return steps, saves


def describe(seconds):
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{middle:.2f} s ({low:.2f} to {high:.2f}, {len(seconds)} steps)"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--saves", type=int, default=4)
    parser.add_argument("--between", type=int, default=6, help="steps from a save to the next")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--folder", help="keeps the packed text (default: a temporary one)")
    options = parser.parse_args()
    folder = options.folder or tempfile.mkdtemp(prefix="dure-saving-")
    os.makedirs(folder, exist_ok=True)
    run = os.path.join(folder, "run")
    shutil.rmtree(run, ignore_errors=True)
    try:
        config, data = prepare(options.program, folder, options.context)
        count = (options.saves + 1) * options.between
        steps, saves = watch([options.program, "train", "--model", config, "--data", data, "--out", run, "--device",
                              options.device, "--dtype", "f32", "--batch-size", str(options.batch), "--context",
                              str(options.context), "--eval-every", "0", "--save-every", str(options.between), "--keep",
                              "1", "--steps", "1000000"], run, options.between, count)
    finally:
        shutil.rmtree(run if options.folder else folder, ignore_errors=True)
    plain = [seconds for seconds, overlaps in steps[2:] if not overlaps]
    saving = [seconds for seconds, overlaps in steps[2:] if overlaps]
    median = statistics.median(plain)
    print(f"without a save: {describe(plain)}")
    print(f"with one:       {describe(saving)}")
    print(f"slowdown while saving: {statistics.median(saving) / median - 1:+.1%} (medians), "
          f"{sum(saving) / (len(saving) * median) - 1:+.1%} (all, copies included)")
    print("saves took " + ", ".join(f"{seconds:.0f}" for seconds in saves) + " s")


main()
