#!/usr/bin/env python3
"""Promise: the same run twice, and a run killed at any moments and resumed, end with the same bits.

    python3 kill_and_resume.py reference|lavapipe|swiftshader      (DURE_FULL=1: 20 kills instead of 5)

Half of the kills come at a random time, half a random instant after a checkpoint has begun to be written. After each
one `checkpoints/latest` must be readable or not there yet. A run that ends before its kill is compared too, and the
next kill meets a fresh one.
"""

import os
import random
import signal
import sys
import tempfile
import time

import run_directory as runs
from run_directory import program

SEED = int(os.environ.get("DURE_TEST_SEED", "20"))


def entries(folder):
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def wait_for_writing(process, out):
    """Returns as soon as anything new appears among the checkpoints (or the run ends)."""
    folder = os.path.join(out, "checkpoints")
    known = entries(folder)
    while process.poll() is None and entries(folder) <= known:
        time.sleep(0.0003)


def kill_once(device, out, generator, aim, longest_wait):
    """False when the run had ended before it could be killed."""
    arguments = runs.train_arguments(out, *(["--resume"] if os.path.isdir(out) else []))
    process = runs.start(device, arguments)
    if aim:
        for _ in range(generator.randint(1, 3)):
            wait_for_writing(process, out)
        time.sleep(generator.uniform(0, 0.01))
    else:
        time.sleep(generator.uniform(0, longest_wait))
    process.send_signal(signal.SIGKILL)
    status = process.wait()
    directory = runs.check_latest(out)
    program.check(status in (-signal.SIGKILL, 0), f"the run ended by itself with status {status}")
    if status == 0:
        return False
    print(f"  killed {'while saving' if aim else 'at random'}: "
          f"latest {os.path.basename(directory) if directory else 'none yet'}", flush=True)
    return True


def finish(device, out, first, what):
    """Lets the run end and compares it with the uninterrupted one."""
    program.run(device, *runs.train_arguments(out, *(["--resume"] if os.path.isdir(out) else [])))
    runs.check_same_end(out, first, what)
    left = [n for n in entries(os.path.join(out, "checkpoints")) if n != "latest" and not n.startswith("step-")]
    program.check(not left, f"half-written checkpoints were left behind: {left}")


def main():
    device = sys.argv[1]
    program.require_device(device)
    wanted = 20 if os.environ.get("DURE_FULL") == "1" else 5
    generator = random.Random(SEED)
    print(f"DURE_TEST_SEED={SEED}, {wanted} kills on {device}")
    with tempfile.TemporaryDirectory() as folder:
        first, second = os.path.join(folder, "first"), os.path.join(folder, "second")
        began = time.monotonic()
        program.run(device, *runs.train_arguments(first))
        seconds = time.monotonic() - began
        program.run(device, *runs.train_arguments(second))
        runs.check_same_end(second, first, "the same run twice")
        print(f"  the same run twice: same bits ({seconds:.1f} s each)", flush=True)
        kills = attempt = 0
        while kills < wanted:
            killed = os.path.join(folder, f"killed-{attempt}")
            attempt += 1
            program.check(attempt <= wanted, "the runs end before they can be killed")
            while kills < wanted and kill_once(device, killed, generator, kills % 2 == 1, seconds / 2):
                kills += 1
            finish(device, killed, first, f"after {kills} kills")
        print(f"killed {kills} times and resumed on {device}, {attempt} runs in all: same bits")


if __name__ == "__main__":
    main()
