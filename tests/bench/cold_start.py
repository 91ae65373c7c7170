#!/usr/bin/env python3
"""How long a checkpoint of 1.3 billion bf16 weights takes from the disk to the first logits, beside reading its bytes.

    sudo python3 tests/bench/cold_start.py DURE [--device auto] [--folder /tmp/dure-cold-start] [--repeat 3]

Makes the model once (2.6 GB of random weights; one file, and shards of 500 MB), then for each layout and repetition:
drops the page cache (root), times `cat FILE >/dev/null`, drops it again, times `dure logits` of four tokens. Prints a
table: seconds of each and, of the program's, those of loading the weights; cat's over either (the aim: at least 0.8; on
a software driver the logits themselves take seconds of a processor); and the largest resident memory over the file's
size, which on a software driver holds the device's memory too.
Only the standard library is needed.
"""
import argparse
import json
import os
import random
import re
import struct
import subprocess
import time

C, L, H, I, V = 2048, 24, 16, 5504, 32000
CONFIG = dict(model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=V, hidden_size=C, num_hidden_layers=L,
              num_attention_heads=H, num_key_value_heads=H, intermediate_size=I, max_position_embeddings=2048,
              rms_norm_eps=1e-5, tie_word_embeddings=False, torch_dtype="bfloat16")


def shapes():
    yield "model.embed_tokens.weight", (V, C)
    for layer in range(L):
        at = f"model.layers.{layer}."
        for name in "qkvo":
            yield f"{at}self_attn.{name}_proj.weight", (C, C)
        for name, shape in (("gate", (I, C)), ("up", (I, C)), ("down", (C, I))):
            yield f"{at}mlp.{name}_proj.weight", shape
        yield at + "input_layernorm.weight", (C,)
        yield at + "post_attention_layernorm.weight", (C,)
    yield "model.norm.weight", (C,)
    yield "lm_head.weight", (V, C)


def write_file(path, tensors, noise):
    header, offset = {}, 0
    for name, shape in tensors:
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = dict(dtype="BF16", shape=shape, data_offsets=[offset, offset + size])
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while offset > 0:
            offset -= file.write(noise[:offset])


def make(folder, shard_bytes):
    os.makedirs(folder)
    r = random.Random(1)
    # Of magnitude 2^-8 to 2^-7: the exponent's bits are fixed, the others random.
    noise = b"".join(struct.pack("<H", r.getrandbits(1) << 15 | 119 << 7 | r.getrandbits(7)) for _ in range(1 << 19)) * 8
    shards, size = [[]], 0
    for name, shape in shapes():
        bytes_ = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        if shard_bytes and size + bytes_ > shard_bytes and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += bytes_
    names = ["model.safetensors" if not shard_bytes else f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
             for i in range(len(shards))]
    for name, tensors in zip(names, shards):
        write_file(os.path.join(folder, name), tensors, noise)
    if shard_bytes:
        places = {tensor: name for name, tensors in zip(names, shards) for tensor, _ in tensors}
        with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
            json.dump(dict(metadata={}, weight_map=places), file)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(CONFIG, file)


def timed(*command):
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3\n")
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env=dict(os.environ, DURE_LOG="debug"))
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{command[0]} failed: {said}")
    loading = re.search(r"loaded the weights in ([0-9.]+) s", said)
    return (time.monotonic() - begun, float(loading.group(1)) if loading else None, usage.ru_maxrss * 1024,
            usage.ru_utime + usage.ru_stime)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", default="/tmp/dure-cold-start")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print("| files | cat, s | loading, s | cat / loading | first logits, s | cat / logits | processor, s | resident / file |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for layout, shard_bytes in (("one", 0), ("shards", 500_000_000)):
        folder = os.path.join(options.folder, layout)
        if not os.path.exists(folder):
            make(folder, shard_bytes)
        files = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".safetensors"))
        size = sum(os.path.getsize(path) for path in files)
        for _ in range(options.repeat):
            plain = timed("cat", *files)[0]
            own, loading, resident, busy = timed(options.program, "logits", folder, "--tokens", "1 2 3 4", "--dtype", "bf16",
                                        "--device", options.device, "-o",
                                                 os.path.join(options.folder, "logits.safetensors"))
            print(f"| {layout} | {plain:.2f} | {loading:.2f} | {plain / loading:.2f} | {own:.2f} | {plain / own:.2f} "
                  f"| {busy:.1f} | {resident / size:.2f} |", flush=True)


main()
