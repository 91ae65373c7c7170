"""A small training run and what its directory must look like, for the tests in this folder. Standard library only."""

import hashlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import program  # noqa: E402

STEPS = 60
SAVE_EVERY = 4
TIMINGS = {"communication_seconds", "exposed_seconds", "seconds", "tokens_per_second", "flops_per_second", "device_memory_bytes", "time"}
FILES = ("config.json", "model.safetensors", "tokenizer.json", "optimizer.safetensors", "trainer.json")


def train_arguments(out, *more, steps=STEPS, save_every=SAVE_EVERY):
    """Shuffled windows, warmup, cosine decay and accumulation: whatever resuming could forget."""
    return ["train", "--model", os.path.join(program.GPT2, "even"),
            "--data", os.path.join(program.GPT2, "train", "data"), "--out", out, "--steps", steps, "--batch-size", 2,
            "--context", 32, "--accumulate", 2, "--lr", 1e-3, "--min-lr", 1e-4, "--warmup", 5, "--schedule", "cosine",
            "--shuffle", "on", "--seed", 11, "--eval-every", 0, "--save-every", save_every, "--keep", 3, *more]


def start(device, arguments, **options):
    """The running program, its output thrown away."""
    return subprocess.Popen(program.command(device, *arguments), env=program.device_environment(device),
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


def latest(out):
    """The directory of the last complete checkpoint, or None before the first."""
    link = os.path.join(out, "checkpoints", "latest")
    if not os.path.lexists(link):
        return None
    program.check(os.path.islink(link), f"{link} is not a symbolic link")
    program.check(os.path.isdir(link), f"{link} points at {os.readlink(link)}, which is not there")
    return os.path.realpath(link)


def check_checkpoint(directory):
    """Every file is there and whole; an unreadable one fails the test."""
    for name in FILES:
        path = os.path.join(directory, name)
        program.check(os.path.isfile(path), f"{path} is missing")
        try:
            program.read_safetensors(path) if name.endswith(".safetensors") else program.read_json(path)
        except ValueError as error:
            program.fail(f"unreadable checkpoint: {path}: {error}")


def check_latest(out):
    directory = latest(out)
    if directory is not None:
        check_checkpoint(directory)
    return directory


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def check_same_end(out, expected_out, what):
    """The last checkpoints hold the same bits, and the metrics tell the same story once."""
    found, expected = check_latest(out), check_latest(expected_out)
    program.check(found is not None and os.path.basename(found) == os.path.basename(expected),
                  f"{what}: ended at {found}, expected {expected}")
    for name in ("model.safetensors", "optimizer.safetensors"):
        program.check(digest(os.path.join(found, name)) == digest(os.path.join(expected, name)),
                      f"{what}: {name} differs from the uninterrupted run's")
    metrics = [{k: v for k, v in line.items() if k not in TIMINGS}
               for line in program.read_json_lines(os.path.join(out, "metrics.jsonl"))]
    expected_metrics = [{k: v for k, v in line.items() if k not in TIMINGS}
                        for line in program.read_json_lines(os.path.join(expected_out, "metrics.jsonl"))]
    program.check(metrics == expected_metrics, f"{what}: metrics.jsonl differs from the uninterrupted run's")


def losses(out):
    return {line["step"]: line["loss"] for line in program.read_json_lines(os.path.join(out, "metrics.jsonl"))}
