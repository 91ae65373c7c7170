#!/usr/bin/env python3
"""How much of what two ranks of `dure train` send each other hides behind computing, on a shaped link.

  train_overlap.py --dure build/dure --work DIR [--rate 1gbit] [--steps 12] [--width 256] [--layers 8] [--rows 8]

Two hosts of network_hosts.sh (made and removed here; root), a GPT-2 shape with random weights, `--shard none`, software
Vulkan, each rank kept on one core. Collectives and how long each took come from the trace (DURE_TRACE_SPANS), how long
the device waited from metrics.jsonl. What follows the last bucket, and it, have nothing to hide behind: the share is of
the rest. A step a line and the median; the first step, which compiles, is left out.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "..", "..")
RANK = """#!/bin/sh
export LP_NUM_THREADS=1 DURE_TRACE='{trace}' DURE_TRACE_SPANS=1
exec taskset -c $((RANK % {cores})) '{dure}' "$@"
"""


def run(options, work):
    with open(os.path.join(SOURCE, "tests", "golden", "gpt2", "even", "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config.update(n_layer=options.layers, n_embd=options.width, n_head=4)
    config_path, rank, trace = (os.path.join(work, name) for name in ("config.json", "rank.sh", "trace.json"))
    with open(config_path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    with open(rank, "w", encoding="utf-8") as file:
        file.write(RANK.format(trace=trace, cores=os.cpu_count(), dure=os.path.abspath(options.dure)))
    os.chmod(rank, 0o755)
    hosts = os.path.join(HERE, "network_hosts.sh")
    environment = dict(os.environ, DURE_HOSTS="train-overlap")
    subprocess.run([hosts, "up", "2", options.rate], env=environment, check=True)
    try:
        subprocess.run([os.path.abspath(options.dure), "launch", "-n", "2", "--hosts",
                        "train-overlap-host-1,train-overlap-host-2", "--remote-shell", "ip netns exec", "--program", rank,
                        "--", "train", "--model", config_path, "--from-scratch", "--data",
                        os.path.join(SOURCE, "tests", "golden", "gpt2", "train", "data"), "--out",
                        os.path.join(work, "run"), "--steps", str(options.steps), "--batch-size", str(options.rows),
                        "--context", "64", "--shard", "none", "--eval-every", "0", "--save-every", "0", "--device",
                        "vulkan:0", "--communicator", "staged"], check=True)
    finally:
        subprocess.run([hosts, "down"], env=environment, check=False)
    return trace + ".0", os.path.join(work, "run", "metrics.jsonl")


def read_steps(path):
    """Milliseconds of each step's collectives: (elements, time). The sum of the loss ends a step."""
    with open(path, encoding="utf-8") as file:
        text = file.read().rstrip()
    steps, step = [], []
    for event in json.loads(text if text.endswith("]") else text + "]"):
        if event.get("cat") != "collectives" or event.get("ph") != "X":
            continue
        step.append((int(re.search(r" of (\d+) ", event["name"]).group(1)), event["dur"] / 1e3))
        if step[-1][0] == 1:
            steps.append(step)
            step = []
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dure", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--rate", default="1gbit")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rows", type=int, default=8)
    options = parser.parse_args()
    work = os.path.abspath(options.work)
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    trace, metrics = run(options, work)
    with open(metrics, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    shares = []
    for step, row in list(zip(read_steps(trace), rows))[1:]:
        largest = max(count for count, _ in step)
        last = max(i for i, (count, _) in enumerate(step) if count == largest)
        whole, rest = sum(time for _, time in step), sum(time for _, time in step[last:])
        exposed = 1e3 * row["exposed_seconds"]
        shares.append(min(1, (whole - exposed) / (whole - rest)))
        print(f"step {row['step']}: {whole:.0f} ms of collectives in {1e3 * row['seconds']:.0f} ms, {rest:.0f} ms of "
              f"them the last bucket's and after, the device waited {exposed:.0f} ms: {100 * shares[-1]:.0f} % hidden")
    print(f"median {100 * statistics.median(shares):.0f} % of what could be hidden")


main()
