#!/usr/bin/env python3
"""Promise: a run stopped halfway and resumed ends with the same bits in every type it may be trained and stored in, and
with the optimizer on the device or on the host; on a device with correct rounding also when it moves between the two.

    python3 every_type.py reference|lavapipe|swiftshader
"""

import os
import subprocess
import sys
import tempfile

import run_directory as runs
from run_directory import program

STEPS = 12
NO_KERNEL = "has no 16-bit kernel"

# What is trained, and the type that config.json names (that of model.safetensors).
WAYS = [
    (["--dtype", "bf16"], "float32"),
    (["--dtype", "f16"], "float32"),
    (["--dtype", "bf16", "--masters", "off"], "bfloat16"),
    (["--dtype", "f16", "--masters", "off"], "float16"),
    (["--dtype", "bf16", "--optimizer-states", "bf16"], "float32"),
    (["--dtype", "f32", "--optimizer-states", "8bit"], "float32"),
    (["--dtype", "f32", "--offload", "optimizer"], "float32"),
    (["--dtype", "bf16", "--offload", "optimizer", "--optimizer-states", "8bit"], "float32"),
]


def train(device, out, *more):
    arguments = runs.train_arguments(out, *more, steps=STEPS, save_every=0)
    result = subprocess.run(program.command(device, *arguments), env=program.device_environment(device),
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if NO_KERNEL in result.stderr:
        return None
    program.check(result.returncode == 0, f"{' '.join(map(str, more))}: {result.stderr}")
    return result.stderr


def check_way(device, folder, number, options, dtype):
    whole, halves = os.path.join(folder, f"whole-{number}"), os.path.join(folder, f"halves-{number}")
    name = " ".join(options)
    if train(device, whole, *options) is None:
        print(f"  left out on {device}: {name}", flush=True)
        return
    train(device, halves, *options, "--stop-after", STEPS // 2)
    train(device, halves, *options, "--resume")
    runs.check_same_end(halves, whole, name)
    found = program.read_json(os.path.join(runs.latest(whole), "config.json"))["dtype"]
    program.check(found == dtype, f"{name}: config.json says {found}, expected {dtype}")
    print(f"  the same bits: {name}", flush=True)


def check_moving(device, folder):
    """From the device to the host and back."""
    here, moved = os.path.join(folder, "here"), os.path.join(folder, "moved")
    train(device, here, "--offload", "none")
    train(device, moved, "--offload", "none", "--stop-after", 4)
    said = train(device, moved, "--offload", "optimizer", "--stop-after", 8, "--resume")
    program.check("optimizer on the host" in said, f"moving is not said: {said}")
    train(device, moved, "--offload", "none", "--resume")
    runs.check_same_end(moved, here, "to the host and back")
    print("  the same bits: the optimizer on the host for a while", flush=True)


def check_other_type(device, folder):
    """Another type is another run, and is said to be."""
    out = os.path.join(folder, "other")
    train(device, out, "--dtype", "f32", "--stop-after", 4)
    said = train(device, out, "--dtype", "bf16", "--resume")
    if said is None:
        return
    program.check("the dtype was 'f32' and is now 'bf16'" in said, f"the other type is not said: {said}")


def main():
    device = sys.argv[1]
    program.require_device(device)
    with tempfile.TemporaryDirectory() as folder:
        for number, (options, dtype) in enumerate(WAYS):
            check_way(device, folder, number, options, dtype)
        if device != "reference":  # which sums in double
            check_moving(device, folder)
        check_other_type(device, folder)


if __name__ == "__main__":
    main()
