#!/usr/bin/env python3
"""Promise: a run goes on where another device left it, and its loss stays within 1e-3 of the uninterrupted run's.

    python3 change_device.py FIRST SECOND [THIRD ...]

each of reference, lavapipe, swiftshader, cuda (emulated); 20 steps on each.
"""

import os
import sys
import tempfile

import run_directory as runs
from run_directory import program

EACH = 20


def main():
    devices = sys.argv[1:]
    for device in devices:
        program.require_device(device)
    steps = EACH * len(devices)
    with tempfile.TemporaryDirectory() as folder:
        stayed, moved = os.path.join(folder, "stayed"), os.path.join(folder, "moved")
        program.run(devices[0], *runs.train_arguments(stayed, steps=steps, save_every=EACH))
        for leg, device in enumerate(devices):
            more = ["--stop-after", EACH * (leg + 1)] + (["--resume"] if leg else [])
            program.run(device, *runs.train_arguments(moved, *more, steps=steps, save_every=EACH))
            runs.check_latest(moved)
        expected, found = runs.losses(stayed), runs.losses(moved)
        program.check(sorted(found) == sorted(expected), f"steps {sorted(found)}, expected {sorted(expected)}")
        for leg, device in enumerate(devices):
            part = sorted(expected)[EACH * leg:EACH * (leg + 1)]
            difference = max(abs(found[step] - expected[step]) for step in part)
            print(f"steps {part[0]}..{part[-1]} on {device}: loss within {difference:.1e} of staying on {devices[0]}")
            program.check(difference <= 1e-3, "the loss leaves the uninterrupted run's by more than 1e-3")


if __name__ == "__main__":
    main()
