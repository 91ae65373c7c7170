#!/usr/bin/env python3
"""Records how PyTorch trains gpt2/even in bf16, into gpt2/train/steps-bf16.json.

Three ways that people use, all with AdamW on f32 masters: weights and activations in bf16 with two kinds of attention,
and autocast. How far they are from f32 is the spread that a bf16 training has.

    pip install -r requirements.txt && python3 make_bf16_fixtures.py
"""

import json
import os
import struct

import torch
from transformers import GPT2LMHeadModel

import make_gpt2_fixtures as fixtures

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "gpt2", "even")
TRAIN = os.path.join(HERE, "gpt2", "train")


def read_stream():
    with open(os.path.join(TRAIN, "data", "shard-00000.bin"), "rb") as file:
        data = file.read()
    return fixtures.np.array(struct.unpack(f"<{len(data) // 2}H", data))


def optimizer_of(parameters):
    settings = fixtures.ADAMW
    groups = [{"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings["weight_decay"]},
              {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings["lr"], betas=(settings["beta1"], settings["beta2"]),
                             eps=settings["eps"], foreach=False, fused=False)


def train(stream, attention, autocast):
    masters = GPT2LMHeadModel.from_pretrained(MODEL, attn_implementation=attention).train()
    worker = masters if autocast else GPT2LMHeadModel.from_pretrained(MODEL, attn_implementation=attention).bfloat16()
    worker.train()
    optimizer = optimizer_of(list(masters.parameters()))
    losses = []
    for step in range(fixtures.STEPS):
        inputs, labels = fixtures.window_batch(stream, step * fixtures.BATCH)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = worker(inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.float().reshape(-1, logits.shape[-1]), labels.reshape(-1))
        worker.zero_grad()
        loss.backward()
        if not autocast:
            for master, parameter in zip(masters.parameters(), worker.parameters()):
                master.grad = parameter.grad.float()
        torch.nn.utils.clip_grad_norm_(masters.parameters(), fixtures.ADAMW["clip"])
        optimizer.step()
        if not autocast:
            with torch.no_grad():
                for master, parameter in zip(masters.parameters(), worker.parameters()):
                    parameter.copy_(master)
        losses.append(loss.item())
    return losses


def main():
    torch.set_num_threads(1)
    with open(os.path.join(TRAIN, "steps.json")) as file:
        exact = [step["loss"] for step in json.load(file)["runs"][0]["steps"]]
    stream = read_stream()
    runs = []
    for name, attention, autocast in (("bf16, eager", "eager", False), ("bf16, sdpa", "sdpa", False),
                                      ("autocast", "eager", True)):
        losses = train(stream, attention, autocast)
        runs.append({"way": name, "losses": losses,
                     "from_f32": max(abs(a - b) / b for a, b in zip(losses, exact))})
        print(name, runs[-1]["from_f32"])
    with open(os.path.join(TRAIN, "steps-bf16.json"), "w") as file:
        json.dump({"torch": torch.__version__, "runs": runs}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
