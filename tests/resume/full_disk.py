#!/usr/bin/env python3
"""Promise: when the disk fills while a checkpoint is saved, the command fails and says so, the last complete
checkpoint stays usable, and the run goes on bit for bit once there is room.

    python3 full_disk.py      on the reference device

As root the run lies on a tmpfs that is too small; otherwise a limit on the size of files stands in for the full disk.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

import run_directory as runs
from run_directory import program

DEVICE = "reference"


def limit_file_size(size):
    def apply():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writes then fail with EFBIG, as they would with ENOSPC
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return apply


def expect_failure(arguments, out, before, **options):
    done = program.run(DEVICE, *arguments, expect=1, **options)
    message = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    print(f"  the command said: {message[:200]}")
    program.check(any(text in done.stderr for text in ("No space left", "File too large")),
                  f"the message does not say that the disk is full: {done.stderr[-500:]}")
    program.check(runs.check_latest(out) == before, "the last complete checkpoint is not the one from before")


def on_small_disk(folder, expected):
    """True when it ran; False when file systems cannot be mounted here."""
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    checkpoint_size = sum(os.path.getsize(os.path.join(expected, "checkpoints", "latest", name))
                          for name in os.listdir(os.path.join(expected, "checkpoints", "latest")))
    size = int(1.6 * checkpoint_size) + 65536
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return False
    try:
        out = os.path.join(disk, "run")
        program.run(DEVICE, *runs.train_arguments(out, "--stop-after", 20, save_every=20))
        before = runs.check_latest(out)
        expect_failure(runs.train_arguments(out, "--resume", save_every=20), out, before)
        print(f"  a disk of {size} bytes was full at the second checkpoint")
        moved = os.path.join(folder, "moved")
        shutil.copytree(out, moved, symlinks=True)
    finally:
        subprocess.run(["umount", disk], check=False)
    program.run(DEVICE, *runs.train_arguments(moved, "--resume", save_every=20))
    runs.check_same_end(moved, expected, "after a full disk")
    return True


def with_file_limit(folder, expected):
    out = os.path.join(folder, "limited")
    program.run(DEVICE, *runs.train_arguments(out, "--stop-after", 20, save_every=20))
    before = runs.check_latest(out)
    for size in (100_000, 400_000):  # fails within the weights; within the optimizer's state
        expect_failure(runs.train_arguments(out, "--resume", save_every=20), out, before,
                       preexec_fn=limit_file_size(size))
    program.run(DEVICE, *runs.train_arguments(out, "--resume", save_every=20))
    runs.check_same_end(out, expected, "after files that could not be written")


def main():
    with tempfile.TemporaryDirectory() as folder:
        expected = os.path.join(folder, "expected")
        program.run(DEVICE, *runs.train_arguments(expected, save_every=20))
        with_file_limit(folder, expected)
        if not on_small_disk(folder, expected):
            print("  no right to mount a small disk: only the limit on file sizes was tried")
        print("a full disk leaves the previous checkpoint usable, and the run goes on from it")


if __name__ == "__main__":
    sys.exit(main())
