#!/usr/bin/env python3
"""Several ranks train as one would: `ranks.py DEVICE`. Standard library only.

The processes are started as torchrun starts them: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT in the environment.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "resume"))
import program  # noqa: E402
import run_directory  # noqa: E402

IS_FULL = os.environ.get("DURE_FULL") == "1"
STEPS = 50 if IS_FULL else 6
HALF = STEPS // 2
SHARDINGS = ("none", "optimizer", "gradients", "parameters")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def arguments(out, *more):
    return ["train", "--model", os.path.join(program.GPT2, "even"),
            "--data", os.path.join(program.GPT2, "train", "data"), "--out", out, "--steps", STEPS, "--batch-size", 2,
            "--context", 16, "--accumulate", 3, "--lr", 1e-3, "--warmup", 2, "--seed", 11, "--eval-every", 0,
            "--save-every", HALF, *more]


def start(device, ranks, lines):
    """Runs a line a rank; returns the exit statuses and what they said."""
    port, processes = free_port(), []
    for rank in range(ranks):
        environment = program.device_environment(device)
        environment.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(ranks),
                           MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        processes.append(subprocess.Popen(program.command(device, *lines[rank]), env=environment,
                                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                          text=True, errors="replace"))
    said = [process.communicate(timeout=900)[0] for process in processes]
    return [process.returncode for process in processes], said


def train(device, ranks, out, *more):
    if ranks == 1:
        return program.run(device, *arguments(out, *more))
    codes, said = start(device, ranks, [arguments(out, *more)] * ranks)
    program.check(codes == [0] * ranks, f"{ranks} ranks, {more}: ended with {codes}:\n" + "\n".join(said))
    program.check("training on" not in "".join(said[1:]), "another rank than the first speaks")
    return None


def check_losses(found, expected, what, first=1):
    for step in range(first, STEPS + 1):
        tolerance = 1e-5 if step - first < 10 else 1e-3
        program.check(step in found, f"{what}: step {step} is missing")
        error = abs(found[step] - expected[step]) / abs(expected[step])
        program.check(error <= tolerance, f"{what}: the loss of step {step} is {found[step]}, of one rank "
                                          f"{expected[step]}: off by {error:.2g}, more than {tolerance}")


def digests(out):
    directory = run_directory.latest(out)
    return {name: run_directory.digest(os.path.join(directory, name)) for name in sorted(os.listdir(directory))
            if name.endswith((".safetensors", ".index.json"))}


def check_every_sharding(device, folder, expected):
    counts = (2, 3, 4) if IS_FULL else (3,)
    for ranks in counts:
        for sharding in SHARDINGS:
            out = os.path.join(folder, f"{sharding}-{ranks}")
            train(device, ranks, out, "--shard", sharding, "--verify-every", HALF)
            check_losses(run_directory.losses(out), expected, f"{ranks} ranks, --shard {sharding}")


def check_same_bits_twice(device, folder):
    ranks = 4 if IS_FULL else 3
    again = os.path.join(folder, "again")
    train(device, ranks, again, "--shard", "gradients", "--verify-every", HALF)
    program.check(digests(again) == digests(os.path.join(folder, f"gradients-{ranks}")),
                  "the same run twice ends with other bits")


def check_uneven_rows(device, folder, expected):
    """The six rows of a step, four to one rank and two to the other: of at most two in a micro-step."""
    out = os.path.join(folder, "uneven")
    train(device, 2, out, "--shard", "gradients", "--rank-share", "2:1")
    check_losses(run_directory.losses(out), expected, "2 ranks with rows 2:1")


def check_resuming(device, folder, expected):
    """Saved by three ranks that have parts of everything, read by one and by two."""
    for ranks, sharding in ((1, "none"), (2, "optimizer")) + (((3, "parameters"),) if IS_FULL else ()):
        out = os.path.join(folder, f"moved-{ranks}")
        train(device, 3, out, "--shard", "parameters", "--stop-after", HALF)
        train(device, ranks, out, "--shard", sharding, "--resume")
        check_losses(run_directory.losses(out), expected, f"3 ranks, then {ranks}", first=HALF + 1)


def check_converting(folder, one):
    ranks = 4 if IS_FULL else 3
    parts = run_directory.latest(os.path.join(folder, f"parameters-{ranks}"))
    program.check(not os.path.exists(os.path.join(parts, "model.safetensors")), "a rank had all parameters")
    whole = os.path.join(folder, "whole")
    done = subprocess.run([program.PROGRAM, "convert", parts, whole], capture_output=True, text=True)
    program.check(done.returncode == 0, f"convert: {done.stderr}")
    found = program.read_safetensors(os.path.join(whole, "model.safetensors"))
    expected = program.read_safetensors(os.path.join(run_directory.latest(one), "model.safetensors"))
    program.check(sorted(found) == sorted(expected), "convert left tensors out, or made some up")


def check_damaged_index(device, folder):
    """Parts that overlap, that leave a hole, or that are in another file than their rank's are refused."""
    out = os.path.join(folder, "moved-1")
    shutil.rmtree(os.path.join(out, "checkpoints", f"step-{STEPS:08d}"))
    path = os.path.join(out, "checkpoints", f"step-{HALF:08d}", "optimizer.index.json")
    with open(path, encoding="utf-8") as file:
        good = file.read()
    name = next(name for name, tensor in json.loads(good)["tensors"].items() if len(tensor["parts"]) > 1)
    for damage in ("overlap", "hole", "file"):
        index = json.loads(good)
        parts = index["tensors"][name]["parts"]
        if damage == "overlap":
            parts.append(parts[0])
        elif damage == "hole":
            del parts[0]
        else:
            index["files"][1] = index["files"][0]
        with open(path, "w", encoding="utf-8") as file:
            json.dump(index, file)
        done = program.run(device, *arguments(out, "--resume"), expect=1)
        program.check("is damaged" in done.stderr, f"an index with a damage ({damage}) was taken: {done.stderr}")


def check_skipping(device, folder):
    """Steps with a large gradient norm are left out, the same ones after resuming and with other ranks."""
    more = ("--steps", 30, "--skip-norm", 0.97)
    outs = [os.path.join(folder, f"skipped-{i}") for i in range(3)]
    done = program.run(device, *arguments(outs[0], *more))
    program.check("is left out" in done.stderr, "no step was left out: the test has lost its meaning")
    train(device, 1, outs[1], *more, "--stop-after", 16)
    train(device, 1, outs[1], *more, "--resume")
    train(device, 2, outs[2], *more, "--shard", "gradients")
    run_directory.check_same_end(outs[1], outs[0], "resumed with --skip-norm")
    alone, together = run_directory.losses(outs[0]), run_directory.losses(outs[2])
    program.check(all(abs(together[step] - alone[step]) <= 1e-5 * alone[step] for step in alone),
                  "with two ranks other steps are left out")


def check_naming_bad_values(device, folder):
    """A step that breaks down is looked through on every rank, also where none has whole gradients."""
    for sharding in SHARDINGS[2:] if IS_FULL else SHARDINGS[3:]:
        line = arguments(os.path.join(folder, f"broken-{sharding}"), "--lr", 1000, "--warmup", 0, "--shard", sharding)
        codes, said = start(device, 2, [line] * 2)
        program.check(codes == [1, 1], f"ranks whose loss broke down ended with {codes}:\n" + "\n".join(said))
        for rank in range(2):
            program.check("the first bad value: rank 0 (" in said[rank] and ": op " in said[rank],
                          f"--shard {sharding}: rank {rank} does not name the first bad value:\n{said[rank]}")


def check_refusals(device, folder):
    out = os.path.join(folder, "refused")
    lines = [arguments(out, "--lr", 1e-3), arguments(out, "--lr", 2e-3)]
    codes, said = start(device, 2, lines)
    program.check(0 not in codes, "ranks with different options trained together")
    program.check("rank 1" in "".join(said), "the rank that differs is not named:\n" + "\n".join(said))
    codes, said = start(device, 2, [arguments(out, "--shard", "everything")] * 2)
    program.check(0 not in codes and "--shard" in "".join(said), "an unknown --shard was taken")


def main():
    device = sys.argv[1]
    program.require_device(device)
    with tempfile.TemporaryDirectory() as folder:
        one = os.path.join(folder, "one")
        train(device, 1, one)
        expected = run_directory.losses(one)
        if device != "reference" and not IS_FULL:  # on the reference all that is slow; here that devices can do it
            out = os.path.join(folder, "parameters-2")
            train(device, 2, out, "--shard", "parameters")
            check_losses(run_directory.losses(out), expected, "2 ranks, --shard parameters")
            return
        check_every_sharding(device, folder, expected)
        check_same_bits_twice(device, folder)
        check_uneven_rows(device, folder, expected)
        check_resuming(device, folder, expected)
        check_converting(folder, one)
        check_damaged_index(device, folder)
        check_skipping(device, folder)
        check_naming_bad_values(device, folder)
        check_refusals(device, folder)


main()
