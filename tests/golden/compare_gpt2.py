#!/usr/bin/env python3
"""Holds the program against the recorded GPT-2 fixtures (README.md) on one device.

    python3 compare_gpt2.py logits|generate|train reference|lavapipe|swiftshader|cuda
"""

import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import program  # noqa: E402

MODELS = ("even", "odd")


def compare_logits(device, folder):
    worst = 0.0
    for model in MODELS:
        directory = os.path.join(program.GPT2, model)
        expected = program.read_safetensors(os.path.join(directory, "logits.safetensors"))
        for case in program.read_json(os.path.join(directory, "logits.json"))["cases"]:
            output = os.path.join(folder, "logits.safetensors")
            program.run(device, "logits", directory, "--tokens", " ".join(map(str, case["tokens"])), "-o", output)
            found = program.read_safetensors(output)
            program.check(len(found) == 1, f"expected one tensor, found {sorted(found)}")
            shape, values = program.floats(next(iter(found.values())))
            expected_shape, expected_values = program.floats(expected[case["tensor"]])
            program.check(shape == expected_shape, f"{model} {case['tensor']}: {shape}, expected {expected_shape}")
            difference = max(abs(a - b) for a, b in zip(values, expected_values))
            worst = max(worst, difference / max(1.0, case["largest"]))
            program.check(all(a == a for a in values), f"{model} {case['tensor']}: NaN")
    print(f"logits on {device}: largest difference {worst:.2e} x max(1, largest logit); limit 1e-4")
    program.check(worst <= 1e-4, "logits differ from those recorded with transformers")


def compare_generation(device, folder):
    del folder
    alphabet = program.read_json(os.path.join(program.GPT2, "even", "tokenizer.json"))["model"]["vocab"]
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    byte_of = {alphabet[chr(b)]: b for b in plain} | {alphabet[chr(256 + i)]: b for i, b in enumerate(others)}
    for model in MODELS:
        directory = os.path.join(program.GPT2, model)
        for case in program.read_json(os.path.join(directory, "generate.json"))["cases"]:
            expected = bytes(byte_of[token] for token in case["continuation"])
            limit = {"even": 64, "odd": 45}[model] - len(case["tokens"])
            count = min(len(case["continuation"]), limit)
            done = program.run(device, "generate", directory, "--prompt", case["prompt"], "--max-tokens", count,
                               "--temperature", 0, "--json")
            result = json.loads(done.stdout)
            tokens = result.get("tokens") or result.get("token_ids")
            program.check(tokens is not None, f"no tokens in {done.stdout[:300]}")
            program.check(tokens[-count:] == case["continuation"][:count],
                          f"{model}, prompt {case['prompt']!r}: {tokens}, expected {case['continuation'][:count]} "
                          f"({expected[:count]!r})")
    print(f"generate on {device}: greedy continuations are those recorded with transformers")


def compare_training(device, folder):
    record = program.read_json(os.path.join(program.GPT2, "train", "steps.json"))
    optimizer = record["optimizer"]
    runs = record["runs"]
    if device == "cuda" and os.environ.get("DURE_FULL") != "1":
        runs = runs[-1:]  # the host's cores are slow at it
    for run in runs:
        out = os.path.join(folder, f"run-{run['accumulate']}")
        program.run(device, "train", "--model", os.path.join(program.GPT2, record["model"]),
                    "--data", os.path.join(program.GPT2, "train", "data"), "--out", out,
                    "--steps", len(run["steps"]), "--batch-size", record["batch_size"], "--context", record["context"],
                    "--accumulate", run["accumulate"], "--lr", optimizer["lr"], "--schedule", "constant",
                    "--warmup", 0, "--weight-decay", optimizer["weight_decay"], "--beta1", optimizer["beta1"],
                    "--beta2", optimizer["beta2"], "--clip", optimizer["clip"], "--dtype", "f32", "--shuffle", "off",
                    "--eval-every", 0, "--save-every", len(run["steps"]))
        found = program.read_json_lines(os.path.join(out, "metrics.jsonl"))
        program.check(len(found) == len(run["steps"]), f"{len(found)} lines in metrics.jsonl")
        errors = [abs(a["loss"] - b["loss"]) / b["loss"] for a, b in zip(found, run["steps"])]
        norms = [abs(a["grad_norm"] - b["gradient_norm"]) / b["gradient_norm"] for a, b in zip(found, run["steps"])]
        print(f"train on {device}, accumulate {run['accumulate']}: relative difference of the loss "
              f"{max(errors[:20]):.1e} over 20 steps (limit 1e-4), {max(errors):.1e} over {len(errors)} (limit 1e-3); "
              f"of the gradient norm {max(norms):.1e}")
        program.check(max(errors[:20]) <= 1e-4 and max(errors) <= 1e-3, "the loss leaves the one recorded with PyTorch")
        program.check(max(norms) <= 1e-2, "the gradient norm leaves the one recorded with PyTorch")


def main():
    what, device = sys.argv[1:]
    program.require_device(device)
    with tempfile.TemporaryDirectory() as folder:
        {"logits": compare_logits, "generate": compare_generation, "train": compare_training}[what](device, folder)


if __name__ == "__main__":
    main()
