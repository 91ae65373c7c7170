#!/usr/bin/env python3
"""Ends, freezes or cuts off a rank of a training at a random moment, many times over, and counts what became of it.

  kill_ranks.py --dure build/dure --work DIR [--runs 100] [--ranks 3] [--ways kill,stop,cut]
                [--moments step,save,join,end] [--seed 1] -- train OPTIONS

Each run is `dure launch --restart-on-failure 3 -- train OPTIONS --out DIR/run-N`; `train` needs --save-every, so that
there is something to go on from, and --steps. Moments: `step`, up to --window seconds after the first step; `save`,
while a checkpoint is being written; `join`, up to --start seconds after the ranks were started, when they read their
options, meet, and compile; `end`, up to 0.3 s after the last step, when the last checkpoint is written and ranks part.
Way `cut` needs the hosts of network_hosts.sh (made and removed here; root). With --program FILE the words after -- go
to another program that joins a world, without --out and checkpoints, and the only moment is `step`.

A row a run and a summary: noticed (a message that names the rank, within 30 s), hung (not over within --limit),
damaged (a checkpoint that `dure inspect` refuses), resumed (the run ended well after a restart). Exits with 1 where a
count is not as it should be.
"""
import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NAMED = re.compile(r"rank (\d+)( \(| is lost|.* was ended by signal|.* has not ended)")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dure", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--ways", default="kill,stop,cut")
    parser.add_argument("--moments", default="step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--window", type=float, default=5.0, help="seconds after the first step in which it happens")
    parser.add_argument("--start", type=float, default=1.5, help="seconds after the start in which `join` happens")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds until a run counts as hung")
    parser.add_argument("--program")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


class Launch:
    """One `dure launch` with what it says, line by line, and when."""

    def __init__(self, words):
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        errors="replace")
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip("\n")))

    def ranks(self):
        """Process of each rank of the attempt that runs now."""
        found = {}
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
                children = file.read().split()
        except OSError:
            return found
        for child in children:
            try:
                with open(f"/proc/{child}/environ", "rb") as file:
                    variables = file.read().split(b"\0")
            except OSError:
                continue
            for variable in variables:
                if variable.startswith(b"RANK="):
                    found[int(variable[5:])] = int(child)
        return found


def has_begun(options, launch, run):
    if options.program:
        return len(launch.ranks()) == options.ranks
    metrics = os.path.join(run, "metrics.jsonl")
    return os.path.exists(metrics) and os.path.getsize(metrics) > 0


def is_saving(run):
    """Whether a checkpoint is being written: under another name than it will have."""
    folder = os.path.join(run, "checkpoints")
    try:
        return any(not (name.startswith("step-") and name[5:].isdigit()) and name != "latest"
                   for name in os.listdir(folder))
    except OSError:
        return False


def has_ended(options, run):
    """Whether the last step is booked."""
    try:
        with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
            return f'"step":{options.steps},' in file.read().replace(" ", "")
    except OSError:
        return False


def wait_for_moment(options, moment, launch, run, draw):
    """Waits for the moment; how long after its beginning it is, or None where the run was over first."""
    conditions = {
        "step": (lambda: has_begun(options, launch, run), options.window),
        "save": (lambda: has_begun(options, launch, run), options.window),
        "join": (lambda: len(launch.ranks()) == options.ranks, options.start),
        "end": (lambda: has_ended(options, run), 0.3),
    }
    begins, window = conditions[moment]
    delay = draw.uniform(0, window)
    is_over = lambda: launch.process.poll() is not None
    wait_until(lambda: begins() or is_over(), options.limit, 0.01)
    wait_until(is_over, delay)
    if moment == "save":
        wait_until(lambda: is_saving(run) or is_over(), options.limit, 0.0005)
        wait_until(is_over, draw.uniform(0, 0.02), 0.001)
    return None if is_over() else delay


def network(*words):
    subprocess.run([os.path.join(HERE, "network_hosts.sh"), *map(str, words)], check=True)


def strike(way, rank, launch):
    """Does it; whether there still was something to do it to."""
    if way == "cut":
        network("cut", rank + 1)
        return launch.process.poll() is None
    process = launch.ranks().get(rank)
    if process is None:
        return False
    try:
        os.kill(process, signal.SIGKILL if way == "kill" else signal.SIGSTOP)
    except ProcessLookupError:
        return False
    return True


def words_of(options, way, run):
    words = [options.dure, "launch", "-n", str(options.ranks), "--restart-on-failure", "3"]
    if way == "cut":
        prefix = os.environ.get("DURE_HOSTS", "dure")
        hosts = ",".join(f"{prefix}-host-{i + 1}" for i in range(options.ranks))
        words += ["--hosts", hosts, "--remote-shell", "ip netns exec"]
    if options.program:
        return words + ["--program", options.program, "--", *options.command]
    return words + ["--", *options.command, "--out", run]


def wait_until(condition, seconds, pause=0.05):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
    return condition()


def noticed_after(launch, when, rank, ranks):
    """Seconds from `when` to the first line that names the rank (cut off with it, rank 0 may be named instead)."""
    for moment, line in list(launch.lines):
        match = NAMED.search(line)
        if moment >= when and match and int(match.group(1)) in ranks:
            return moment - when
    return None


def count_damaged(options, run):
    folder = os.path.join(run, "checkpoints")
    damaged = 0
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        if not name.startswith("step-") or not name[5:].isdigit():
            continue  # being written when a rank died: never taken for whole
        done = subprocess.run([options.dure, "inspect", os.path.join(folder, name)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
        damaged += done.returncode != 0
    return damaged


def one_run(options, number, way, moment, draw):
    run = os.path.join(options.work, f"run-{number}")
    shutil.rmtree(run, ignore_errors=True)
    rank = draw.randrange(options.ranks)
    launch = Launch(words_of(options, way, run))
    row = {"way": way, "moment": moment, "rank": rank, "noticed": None, "hung": False, "damaged": 0, "resumed": False,
           "struck": False}
    start = time.monotonic()
    row["delay"] = wait_for_moment(options, moment, launch, run, draw)
    if row["delay"] is not None:
        when = time.monotonic()
        row["struck"] = strike(way, rank, launch)
        named = range(options.ranks) if way == "cut" else [rank]
        wait_until(lambda: noticed_after(launch, when, rank, named) is not None or launch.process.poll() is not None, 60)
        row["noticed"] = noticed_after(launch, when, rank, named)
        if way == "cut":
            wait_until(lambda: any("restart 1 of" in line for _, line in list(launch.lines))
                       or launch.process.poll() is not None, 90)
            network("mend", rank + 1)
    row["hung"] = not wait_until(lambda: launch.process.poll() is not None, options.limit - (time.monotonic() - start))
    if row["hung"]:
        launch.process.kill()
    launch.process.wait()
    launch.reader.join(5)
    row["damaged"] = count_damaged(options, run)
    restarts = any("restart 1 of" in line for _, line in launch.lines)
    row["resumed"] = launch.process.returncode == 0 and restarts
    if row["struck"] and launch.process.returncode == 0 and not restarts:
        row["struck"] = False  # it came too late to do harm
    row["seconds"] = time.monotonic() - start
    row["text"] = "\n".join(line for _, line in launch.lines)
    return row


def main():
    options = arguments()
    draw = random.Random(options.seed)
    ways, moments = options.ways.split(","), options.moments.split(",")
    options.steps = int(options.command[options.command.index("--steps") + 1]) if "--steps" in options.command else 0
    os.makedirs(options.work, exist_ok=True)
    rows, attempts = [], 0
    print(f"seed {options.seed}, {options.runs} runs of {options.ranks} ranks: {', '.join(ways)} at {', '.join(moments)}")
    if "cut" in ways:
        network("up", options.ranks)
    try:
        while len(rows) < options.runs and attempts < 3 * options.runs:
            attempts += 1
            way, moment = ways[len(rows) % len(ways)], moments[len(rows) // len(ways) % len(moments)]
            row = one_run(options, attempts, way, moment, draw)
            if not row["struck"] and not row["hung"] and row["damaged"] == 0:
                continue  # it was over before
            rows.append(row)
            noticed = f"{row['noticed']:.1f} s" if row["noticed"] is not None else "never"
            print(f"{len(rows):4d} {row['way']:4s} rank {row['rank']}, {row['moment']} + {row['delay']:.2f} s: noticed {noticed}, "
                  f"{'hung' if row['hung'] else 'over'} in {row['seconds']:.0f} s, "
                  f"{'resumed' if row['resumed'] else 'NOT RESUMED'}, {row['damaged']} damaged", flush=True)
            if row["hung"] or row["damaged"] or not row["resumed"]:
                print(row["text"])
    finally:
        if "cut" in ways:
            network("down")
    noticed = [row["noticed"] for row in rows if row["noticed"] is not None and row["noticed"] <= 30]
    hung = sum(row["hung"] for row in rows)
    damaged = sum(row["damaged"] for row in rows)
    resumed = sum(row["resumed"] for row in rows)
    worst = max(noticed) if noticed else float("nan")
    print(f"{len(rows)} runs: {len(noticed)} noticed within 30 s (the slowest after {worst:.1f} s), {hung} hung, "
          f"{damaged} damaged checkpoints, {resumed} resumed")
    sys.exit(0 if len(rows) == options.runs == len(noticed) == resumed and not hung and not damaged else 1)


if __name__ == "__main__":
    main()
