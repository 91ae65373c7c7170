#!/usr/bin/env python3
"""Makes the GPT-2 fixtures in gpt2/ with PyTorch and transformers (versions: requirements.txt).

Two tiny models with random, far from trivial weights are saved by transformers itself; their logits, greedy
continuations, one step's gradients and 50 steps of AdamW are recorded. README.md beside this file describes every
file. Running the script again gives the same numbers up to the last bits of float32.

    python3 make_gpt2_fixtures.py [--output gpt2]
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import struct

import numpy as np
import torch
import xxhash
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 256
TOKENIZER_SIZE = 257

# `even` is what Dure makes itself: tied head, tanh GELU; its embedding has 15 rows of padding beyond the tokenizer.
# `odd` has no size that is a multiple of four, the erf GELU, another epsilon and its own output head.
MODELS = {
    "even": dict(vocab_size=272, n_positions=64, n_embd=48, n_layer=2, n_head=3, activation_function="gelu_new",
                 layer_norm_epsilon=1e-5, tie_word_embeddings=True),
    "odd": dict(vocab_size=257, n_positions=45, n_embd=30, n_layer=3, n_head=5, activation_function="gelu",
                layer_norm_epsilon=1e-6, tie_word_embeddings=False),
}
LOGIT_LENGTHS = {"even": (1, 7, 64), "odd": (1, 5, 45)}
PROMPTS = ("The field", "두레", "a\n")
GENERATE_TOKENS = 32

BATCH, CONTEXT, STEPS = 4, 32, 50
ADAMW = dict(lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip=1.0)


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes, in the order of its vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return [(b, chr(b)) for b in plain] + [(b, chr(256 + i)) for i, b in enumerate(others)]


def make_tokenizer(path):
    """A byte-level tokenizer without merges: 256 bytes and the end of text. Returns byte -> id."""
    alphabet = byte_alphabet()
    vocabulary = {character: token for token, (_, character) in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    assert tokenizer.token_to_id(END_OF_TEXT) == END_OF_TEXT_ID
    tokenizer.save(path)
    byte_to_id = {byte: token for token, (byte, _) in enumerate(alphabet)}
    for text in ("Two fields.", "두레 논\n"):
        assert tokenizer.encode(text).ids == [byte_to_id[b] for b in text.encode()]
    return byte_to_id


def make_text(generator, size):
    """Sentences in two languages from small word lists: learnable, and free of anybody's rights."""
    english = (("The farmer", "A neighbour", "Every hand", "The river", "One field"),
               ("waters", "plants", "keeps", "carries", "shares"),
               ("the rice", "a song", "seven seeds", "the harvest", "warm rain"))
    korean = (("농부가", "이웃이", "모든 손이", "강물이", "한 마을이"),
              ("벼를", "노래를", "씨앗을", "들판을", "봄비를"),
              ("심는다", "나눈다", "지킨다", "부른다", "기다린다"))
    documents = []
    while sum(len(d.encode()) + 1 for d in documents) < size:
        lists = generator.choice((english, korean))
        count = generator.randint(2, 6)
        documents.append(" ".join(" ".join(map(generator.choice, lists)) + "." for _ in range(count)))
    return documents


def make_model(name, seed):
    torch.manual_seed(seed)
    config = GPT2Config(bos_token_id=END_OF_TEXT_ID, eos_token_id=END_OF_TEXT_ID, resid_pdrop=0.0, embd_pdrop=0.0,
                        attn_pdrop=0.0, attn_implementation="eager", **MODELS[name])
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            if parameter.ndim >= 2:
                parameter.copy_(0.1 * noise)
            elif ".ln_" in parameter_name and parameter_name.endswith("weight"):
                parameter.copy_(1.0 + 0.2 * noise)
            else:
                parameter.copy_(0.1 * noise)
    return model.float()


def save_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def record_logits(name, model, directory, seed):
    generator = random.Random(seed)
    model.eval()
    tensors, cases = {}, []
    for index, length in enumerate(LOGIT_LENGTHS[name]):
        tokens = [generator.randrange(MODELS[name]["vocab_size"]) for _ in range(length)]
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0]
            exact = model.double()(torch.tensor([tokens])).logits[0]
            model.float()
        tensors[f"logits.{index}"] = logits.contiguous()
        cases.append({"tensor": f"logits.{index}", "tokens": tokens, "largest": logits.abs().max().item(),
                      "float32_error": (logits - exact).abs().max().item()})
    save_file(tensors, os.path.join(directory, "logits.safetensors"))
    save_json(os.path.join(directory, "logits.json"), {"cases": cases})
    return cases


def greedy(model, tokens, count):
    """Ids beyond the tokenizer (padding rows) are never chosen. Returns the new ids and the smallest lead."""
    tokens, smallest_lead = list(tokens), float("inf")
    for _ in range(count):
        with torch.no_grad():
            scores = model(torch.tensor([tokens])).logits[0, -1, :TOKENIZER_SIZE]
        best = scores.topk(2)
        smallest_lead = min(smallest_lead, (best.values[0] - best.values[1]).item())
        tokens.append(best.indices[0].item())
    return tokens[-count:], smallest_lead


def record_generation(model, directory, byte_to_id):
    model.eval()
    cases = []
    for prompt in PROMPTS:
        tokens = [byte_to_id[b] for b in prompt.encode()]
        continuation, lead = greedy(model, tokens, GENERATE_TOKENS)
        cases.append({"prompt": prompt, "tokens": tokens, "continuation": continuation, "smallest_lead": lead})
    save_json(os.path.join(directory, "generate.json"), {"cases": cases})
    return min(c["smallest_lead"] for c in cases), any(END_OF_TEXT_ID in c["continuation"] for c in cases)


def window_batch(stream, first_window):
    rows = [stream[(first_window + b) * CONTEXT:(first_window + b) * CONTEXT + CONTEXT + 1] for b in range(BATCH)]
    rows = torch.tensor(np.stack(rows).astype(np.int64))
    return rows[:, :-1], rows[:, 1:]


def batch_loss(model, inputs, labels):
    logits = model(inputs).logits
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


def train(directory, stream, accumulate, dtype):
    """Returns (loss and gradient norm of every step, gradients of step 0, trained model)."""
    model = GPT2LMHeadModel.from_pretrained(directory, attn_implementation="eager").to(dtype).train()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": ADAMW["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}],
        lr=ADAMW["lr"], betas=(ADAMW["beta1"], ADAMW["beta2"]), eps=ADAMW["eps"], foreach=False, fused=False)
    steps, first_gradients = [], None
    for step in range(STEPS):
        optimizer.zero_grad()
        step_loss = 0.0
        for micro_step in range(accumulate):
            inputs, labels = window_batch(stream, (step * accumulate + micro_step) * BATCH)
            loss = batch_loss(model, inputs, labels) / accumulate
            loss.backward()
            step_loss += loss.item()
        if step == 0:
            first_gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW["clip"]).item()
        optimizer.step()
        steps.append({"loss": step_loss, "gradient_norm": norm})
    return steps, first_gradients, model


def held_out_loss(model, held_out):
    """Mean loss in nats per token: every id is a label once, the first one predicted from the end of text."""
    model.eval()
    inputs, total = [END_OF_TEXT_ID] + held_out[:-1], 0.0
    for first in range(0, len(held_out), CONTEXT):
        with torch.no_grad():
            logits = model(torch.tensor([inputs[first:first + CONTEXT]])).logits[0].double()
        labels = torch.tensor(held_out[first:first + CONTEXT])
        total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
    return total / len(held_out)


def largest_relative(steps, exact_steps, key, count):
    return max(abs(a[key] - b[key]) / abs(b[key]) for a, b in zip(steps[:count], exact_steps[:count]))


def record_training(name, directory, stream, held_out, output):
    start = GPT2LMHeadModel.from_pretrained(directory, attn_implementation="eager")
    record = {"model": name, "held_out_loss_at_start": held_out_loss(start, held_out), "batch_size": BATCH,
              "context": CONTEXT, "optimizer": ADAMW, "runs": []}
    for accumulate in (1, 2):
        steps, gradients, model = train(directory, stream, accumulate, torch.float32)
        exact_steps, _, _ = train(directory, stream, accumulate, torch.float64)
        weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        digest = hashlib.sha256(b"".join(weights[k].numpy().tobytes() for k in sorted(weights))).hexdigest()
        record["runs"].append({
            "accumulate": accumulate, "steps": steps, "held_out_loss_at_end": held_out_loss(model, held_out),
            "final_weights_sha256_of_this_torch": digest,
            "float32_noise": {"20": largest_relative(steps, exact_steps, "loss", 20),
                              "50": largest_relative(steps, exact_steps, "loss", 50)}})
        if accumulate == 1:
            save_file(gradients, os.path.join(output, "gradients-step-0.safetensors"))
            save_file(weights, os.path.join(output, "weights-step-50.safetensors"))
    save_json(os.path.join(output, "steps.json"), record)
    return record


def hash_file(path):
    with open(path, "rb") as file:
        return f"{xxhash.xxh64(file.read(), seed=0).intdigest():016x}"


def save_shard(directory, name, stream):
    path = os.path.join(directory, name)
    with open(path, "wb") as file:
        file.write(struct.pack(f"<{len(stream)}H", *stream))
    ends = stream.count(END_OF_TEXT_ID)
    return {"tokens": len(stream), "documents": ends, "text_bytes": len(stream) - ends,
            "shards": [{"file": name, "tokens": len(stream), "xxh64": hash_file(path)}]}


def save_dataset(directory, stream, held_out, tokenizer_path):
    """The token stream as a directory that `dure train --data` reads; with --shuffle off it gives the same batches."""
    os.makedirs(directory, exist_ok=True)
    shutil.copy(tokenizer_path, os.path.join(directory, "tokenizer.json"))
    save_json(os.path.join(directory, "dataset.json"), {
        "format": "dure-dataset", "version": 1, "dtype": "u16", "vocabulary_size": TOKENIZER_SIZE,
        "end_of_text": END_OF_TEXT_ID, "tokenizer_xxh64": hash_file(tokenizer_path),
        "splits": {"train": save_shard(directory, "shard-00000.bin", stream),
                   "held_out": save_shard(directory, "heldout-00000.bin", held_out)}})


def make_all(output):
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    shutil.rmtree(output, ignore_errors=True)
    for name in MODELS:
        os.makedirs(os.path.join(output, name))
    tokenizer_path = os.path.join(output, "even", "tokenizer.json")
    byte_to_id = make_tokenizer(tokenizer_path)
    shutil.copy(tokenizer_path, os.path.join(output, "odd", "tokenizer.json"))

    for name in MODELS:
        directory = os.path.join(output, name)
        for seed in range(1, 200):  # a continuation must not hang on a near tie, nor stop at the end of text
            model = make_model(name, seed)
            lead, stops = record_generation(model, directory, byte_to_id)
            if lead > 0.01 and not stops:
                break
        model.save_pretrained(directory)
        model = GPT2LMHeadModel.from_pretrained(directory, attn_implementation="eager")
        cases = record_logits(name, model, directory, seed=7)
        print(f"{name}: seed {seed}, smallest lead {lead:.3f}, largest logit {max(c['largest'] for c in cases):.2f}, "
              f"float32 error {max(c['float32_error'] for c in cases):.1e}")
        assert len(load_file(os.path.join(directory, "model.safetensors"))) > 0

    token_count = BATCH * CONTEXT * STEPS * 2 + 1
    stream, held_out = ([t for document in make_text(random.Random(seed), size)
                         for t in [*(byte_to_id[b] for b in document.encode()), END_OF_TEXT_ID]]
                        for seed, size in ((20, token_count), (21, 1000)))
    stream = stream[:token_count]
    training = os.path.join(output, "train")
    os.makedirs(training)
    save_dataset(os.path.join(training, "data"), stream, held_out, tokenizer_path)
    record = record_training("even", os.path.join(output, "even"), np.array(stream), held_out, training)
    for run in record["runs"]:
        print(f"accumulate {run['accumulate']}: loss {run['steps'][0]['loss']:.4f} -> {run['steps'][-1]['loss']:.4f}, "
              f"held out {record['held_out_loss_at_start']:.4f} -> {run['held_out_loss_at_end']:.4f}, "
              f"float32 noise {run['float32_noise']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--output", default=os.path.join(here, "gpt2"))
    make_all(parser.parse_args().output)
