#!/usr/bin/env python3
"""Promise: a checkpoint is written aside, its files and its directory synced, then renamed into place, the parent
synced, and only then does `latest` point at it. Watched through strace.

    python3 write_order.py      on the reference device
"""

import os
import re
import shutil
import subprocess
import tempfile

import run_directory as runs
from run_directory import program

CALLS = "write,pwrite64,writev,pwritev,ftruncate,fallocate,fsync,fdatasync,sync,syncfs,rename,renameat,renameat2," \
        "symlink,symlinkat,link,linkat,sendfile,copy_file_range"
WRITES = {"write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate", "sendfile", "copy_file_range"}
LINE = re.compile(r"^(?:\d+\s+)?(\w+)\((.*)\)\s+= (-?\d+)")
UNFINISHED = re.compile(r"^(?:\d+\s+)?(\w+)\((.*) <unfinished \.\.\.>")


def trace(folder, out):
    log = os.path.join(folder, "strace.log")
    line = ["strace", "-f", "-y", "-s", "0", "-e", "trace=" + CALLS, "-o", log,
            *program.command("reference", *runs.train_arguments(out, steps=4, save_every=2))]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr and done.returncode != 0:
        program.skip("strace may not trace here")
    program.check(done.returncode == 0, f"strace or the run failed: {done.stderr[-500:]}")
    with open(log, encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


def events(lines):
    """(call, paths) of every call that succeeded, in order."""
    for line in lines:
        match = LINE.match(line) or UNFINISHED.match(line)
        if match is None or (match.re is LINE and int(match.group(3)) < 0):
            continue
        call, arguments = match.group(1), match.group(2)
        if call in WRITES or call.startswith(("fsync", "fdatasync", "syncfs")):
            paths = re.findall(r"^\d+<([^>]*)>", arguments)
        else:
            paths = re.findall(r'"([^"]*)"', arguments)
        if paths:
            yield call, paths


def positions(history, call_names, path):
    return [i for i, (call, paths) in enumerate(history) if call in call_names and paths[0] == path]


def check_one(history, checkpoints, step_name):
    final = os.path.join(checkpoints, step_name)
    renames = [(i, paths) for i, (call, paths) in enumerate(history)
               if call.startswith("rename") and paths[-1] == final]
    program.check(len(renames) == 1, f"{step_name}: {len(renames)} renames into place, expected 1")
    renamed, (aside, _) = renames[0]
    written = {paths[0] for call, paths in history[:renamed] if call in WRITES and paths[0].startswith(aside + "/")}
    for name in ("model.safetensors", "optimizer.safetensors", "trainer.json"):
        program.check(any(os.path.basename(path).startswith(name) for path in written),
                      f"{step_name}: {name} was not written under {aside}")
    syncs = {"fsync", "fdatasync"}
    for path in sorted(written):
        last_write = max(positions(history[:renamed], WRITES, path))
        program.check(any(i > last_write for i in positions(history[:renamed], syncs, path)),
                      f"{step_name}: {path} is not synced between its last write and the rename")
    program.check(any(i > max(max(positions(history[:renamed], WRITES, p)) for p in written)
                      for i in positions(history[:renamed], syncs, aside)),
                  f"{step_name}: the directory {aside} is not synced after its files and before the rename")
    pointed = [i for i, (call, paths) in enumerate(history)
               if i > renamed and call.startswith("rename") and paths[-1] == os.path.join(checkpoints, "latest")]
    program.check(pointed != [], f"{step_name}: `latest` is not replaced by a rename after it")
    program.check(any(renamed < i < pointed[0] for i in positions(history, syncs, checkpoints)),
                  f"{step_name}: {checkpoints} is not synced between the rename and the change of `latest`")
    program.check(any(i > pointed[0] for i in positions(history, syncs, checkpoints)),
                  f"{step_name}: {checkpoints} is not synced after the change of `latest`")
    return len(written)


def main():
    if shutil.which("strace") is None:
        program.skip("strace is missing (scripts/install.sh)")
    with tempfile.TemporaryDirectory() as folder:
        folder = os.path.realpath(folder)
        out = os.path.join(folder, "run")
        history = list(events(trace(folder, out)))
        checkpoints = os.path.join(out, "checkpoints")
        steps = sorted(name for name in os.listdir(checkpoints) if name.startswith("step-"))
        program.check(len(steps) == 2, f"checkpoints {steps}, expected two")
        for name in steps:
            files = check_one(history, checkpoints, name)
            print(f"{name}: {files} files written, each synced, directory synced, renamed, parent synced, latest moved")


if __name__ == "__main__":
    main()
