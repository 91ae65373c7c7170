#!/usr/bin/env python3
"""Simulates training on many GPUs: memory a rank, bytes on the wire, seconds a step, utilisation. Standard library only.

    scripts/scaling.py --check            the published runs of docs/scaling.md, predicted, with the error of each
    scripts/scaling.py --sweep            1.3B, 8B and 70B on 8 to 4,096 H100s, the best way to divide each
    scripts/scaling.py --svg docs/scaling.svg
    scripts/scaling.py --model 8B --gpus 64 --gpu h100 --tensor 2 --sharding 3 --batch 1 --context 8192

One step is computing, whose rate is a share of the card's peak (the one number that is calibrated, on one run a kind of
card), and communication, which a ring moves at a share of the links' rates; what fits behind computing is hidden.
docs/scaling.md says what is assumed and how far it is off.
"""

import argparse
import math
import sys

GB, GIB = 1e9, 2.0 ** 30

# Parameters without embeddings follow from the shape: width, layers, heads, key heads, feed-forward width, vocabulary.
MODELS = {
    "124M": dict(width=768, layers=12, heads=12, keys=12, inner=3072, gated=False, vocabulary=50304, tied=True),
    "1.3B": dict(width=2048, layers=24, heads=16, keys=16, inner=8192, gated=False, vocabulary=50304, tied=True),
    "1.6B": dict(width=1600, layers=48, heads=25, keys=25, inner=6400, gated=False, vocabulary=50304, tied=True),
    "8B": dict(width=4096, layers=32, heads=32, keys=8, inner=14336, gated=True, vocabulary=128256, tied=False),
    "13B": dict(width=5120, layers=40, heads=40, keys=40, inner=13824, gated=True, vocabulary=32000, tied=False),
    "70B": dict(width=8192, layers=80, heads=64, keys=8, inner=28672, gated=True, vocabulary=128256, tied=False),
    "70B-2": dict(width=8192, layers=80, heads=64, keys=8, inner=28672, gated=True, vocabulary=32000, tied=False),
}

# Peak of 16-bit products, FLOP/s; bytes/s of memory; bytes/s a GPU sends to others of its machine, and to other machines
# (of each direction); bytes of memory; and the share of the peak that large steps reach, calibrated on `by`.
GPUS = {
    "a100": dict(peak=312e12, memory=2.0e12, inside=300 * GB, outside=25 * GB, bytes=80 * GIB, share=0.660,
                 by="Llama 2 13B on 64 A100, batch 2, nothing recomputed"),
    "h100": dict(peak=989e12, memory=2.4e12, inside=450 * GB, outside=50 * GB, bytes=96 * GIB, share=0.457,
                 by="Llama 3.1 8B on 8 H100 of 500 W, batch 2"),
}
PER_MACHINE = 8
LINK_SHARE = {True: 0.90, False: 0.75}  # of a link's rate that rings of large messages reach, inside and outside
ATTENTION_SHARE = 0.6    # of the rate of products that attention reaches, forward and backward
ELEMENT_BYTES = 170      # that norms, activations, rotations and sums move for a token, layer and channel
NARROW = 90              # channels: at a part of this width products reach half their rate
LATENCY = 12e-6          # of one collective, and of each of a ring's machines
EXPOSED = 0.10           # of what could be hidden and is not: the device's own work for collectives
# Of the forward pass, what is computed again: nothing; products kept and the rest again (selective); everything.
RECOMPUTED = {"none": 0.0, "selective": 0.10, "full": 1.0}
RECOMPUTED_OP = "selective"


def parameters(model):
    m = MODELS[model]
    width, head = m["width"], m["width"] // m["heads"]
    attention = width * width * 2 + 2 * width * m["keys"] * head
    feed = (3 if m["gated"] else 2) * width * m["inner"]
    embeddings = m["vocabulary"] * width * (1 if m["tied"] else 2)
    return m["layers"] * (attention + feed + 2 * width) + embeddings


def flops_of_token(model, context):
    """Forward and backward: 6 for each parameter that multiplies, and attention over half the context."""
    m = MODELS[model]
    lookup = 0 if m["tied"] else m["vocabulary"] * m["width"]
    return 6 * (parameters(model) - lookup) + 6 * m["layers"] * m["width"] * context


def flops_reported(model, context):
    """As most projects count utilisation: attention over the whole context, the table of embeddings not."""
    m = MODELS[model]
    lookup = m["vocabulary"] * m["width"] * (0 if m["tied"] else 1)
    return 6 * (parameters(model) - lookup) + 12 * m["layers"] * m["width"] * context


def ring_seconds(bytes_each, ranks, gpu, inside, neighbours=1):
    """An all-gather or reduce-scatter of `bytes_each` in all; twice that for an all-reduce. Outside a machine as many
    rings as a group has ranks on each (`neighbours`) share the work, each by its own link."""
    if ranks < 2:
        return 0.0
    rate = (gpu["inside"] if inside else min(gpu["inside"], neighbours * gpu["outside"])) * LINK_SHARE[inside]
    hops = 1 if inside else math.log2(max(2, ranks / PER_MACHINE))
    return bytes_each * (ranks - 1) / ranks / rate + LATENCY * (1 + hops)


def activation_bytes(model, context, batch, recompute, tensor):
    """Of one micro-step, 16 bits each (Korthikanti et al. 2022, section 4, without the attention matrix)."""
    m = MODELS[model]
    tokens = batch * context
    kept = {"none": 34, "selective": 20, "full": 2}[recompute]
    layers = tokens * m["width"] * kept * m["layers"] / (tensor if recompute != "full" else 1)
    return layers + tokens * m["vocabulary"] * 4 / 8 / tensor + tokens * m["width"] * 34 / tensor


def simulate(model, gpus, gpu="h100", context=8192, batch=1, accumulate=1, sharding=3, tensor=1, pipeline=1,
             recompute="selective", share=None):
    """What a step takes. `batch` rows of a data-parallel rank in a micro-step, of which there are `accumulate`."""
    card, m = GPUS[gpu], MODELS[model]
    replicas = gpus // (tensor * pipeline)
    count = parameters(model) / (tensor * pipeline)  # of one rank's part of the model
    tokens = batch * context * accumulate            # of one data-parallel rank
    share = share if share is not None else card["share"]

    # Products on narrow parts reach less: their inner dimension is short.
    part = m["width"] / tensor
    narrow = part / (part + NARROW) * (m["width"] + NARROW) / m["width"]
    again = (1 + RECOMPUTED[recompute] / 3) / (tensor * pipeline)
    products = flops_of_token(model, 0) / narrow
    attention = flops_of_token(model, context) - flops_of_token(model, 0)
    compute = tokens * again * (products + attention / ATTENTION_SHARE) / (card["peak"] * share)
    compute += tokens * again * m["layers"] * m["width"] * ELEMENT_BYTES / card["memory"]
    update = count / (replicas if sharding >= 1 else 1) * 30 / card["memory"]

    # Tensor parallel: four all-reduces of a micro-step's activations a layer, six with everything computed again.
    exposed_tensor = 0.0
    tensor_bytes = 0.0
    if tensor > 1:
        message = batch * context * m["width"] * 2
        calls = (6 if recompute == "full" else 4) * m["layers"] / pipeline * accumulate
        exposed_tensor = calls * 2 * ring_seconds(message, tensor, card, tensor <= PER_MACHINE)
        tensor_bytes = calls * 2 * message * (tensor - 1) / tensor

    # Data parallel: gradients once a step (each micro-step from stage 2 on), parameters twice a micro-step in stage 3.
    inside = gpus <= PER_MACHINE
    whole = count * 2
    times = {0: 2, 1: 2, 2: 1 + accumulate, 3: 3 * accumulate}[sharding]
    data = times * ring_seconds(whole, replicas, card, inside, max(1, PER_MACHINE // (tensor * pipeline)))
    data_bytes = times * whole * (replicas - 1) / replicas if replicas > 1 else 0
    # Of stage 0 and 1 the gradients hide behind the backward pass of the last micro-step; of stage 3 nearly everything.
    hideable = compute * (1.0 if sharding == 3 else 2 / 3 / accumulate)
    exposed_data = max(0.0, data - hideable * (1 - EXPOSED)) + EXPOSED * min(data, hideable)

    # Pipeline: stages wait for each other, (p - 1) of (p - 1 + micro-steps).
    bubble = (pipeline - 1) / max(1, accumulate) * compute
    seconds = compute + update + exposed_tensor + exposed_data + bubble
    parts = replicas if sharding else 1
    memory = count * (2 / (replicas if sharding >= 3 else 1) + 4 / (replicas if sharding >= 2 else 1) + 12 / parts)
    memory += activation_bytes(model, context, batch, recompute, tensor) / pipeline * min(pipeline, accumulate)
    memory += (2 * count / m["layers"] * 2 * 2 + m["vocabulary"] * m["width"] * 4 / tensor) if sharding >= 2 else 0
    total = tokens * replicas
    return dict(seconds=seconds, tokens_per_gpu=total / seconds / gpus, memory=memory,
                wire=tensor_bytes + data_bytes, exposed=(exposed_tensor + exposed_data) / seconds,
                utilisation=total * flops_reported(model, context) / gpus / card["peak"] / seconds)


# Published tokens per second and GPU; `calibrates`: the card's share of the peak is set so that this one is met.
RUNS = [
    ("Llama 2 13B, 64 A100, FSDP", 2162, dict(model="13B", gpus=64, gpu="a100", context=4096, batch=2,
                                               recompute="none"), True, "torchtitan docs/performance.md, 2024-04"),
    ("Llama 3 8B, 64 A100, FSDP", 2973, dict(model="8B", gpus=64, gpu="a100", context=8192, batch=1,
                                              recompute="selective"), False, "torchtitan docs/performance.md, 2024-04"),
    ("Llama 3 70B, 64 A100, FSDP", 331, dict(model="70B", gpus=64, gpu="a100", context=8192, batch=1,
                                              recompute="full"), False, "torchtitan docs/performance.md, 2024-04"),
    ("Llama 2 70B, 64 A100, FSDP", 353, dict(model="70B-2", gpus=64, gpu="a100", context=4096, batch=2,
                                              recompute="full"), False, "torchtitan docs/performance.md, 2024-04"),
    ("Llama 3.1 8B, 8 H100, FSDP", 6667, dict(model="8B", gpus=8, gpu="h100", context=8192, batch=2,
                                               recompute="selective"), True, "torchtitan benchmarks, 2024-12"),
    ("Llama 3.1 8B, 128 H100, FSDP", 6514, dict(model="8B", gpus=128, gpu="h100", context=8192, batch=2,
                                                 recompute="selective"), False, "torchtitan benchmarks, 2024-12"),
    ("Llama 3 8B, 64 H100, TP 8", 4378, dict(model="8B", gpus=64, gpu="h100", context=8192, batch=12, tensor=8,
                                              recompute="selective"), False, "torchtitan benchmarks, 2025-06"),
    ("Llama 3 70B, 256 H100, TP 8", 597.3, dict(model="70B", gpus=256, gpu="h100", context=8192, batch=16, tensor=8,
                                                 recompute="full"), False, "torchtitan benchmarks, 2025-06"),
    ("GPT-2 124M, 8 A100, llm.c", 10e9 / (90 * 60) / 8, dict(model="124M", gpus=8, gpu="a100", context=1024, batch=64,
                                                              sharding=1, recompute="none"), False,
     "llm.c discussion 481: 10 G tokens in about 90 minutes"),
]


def calibrate():
    """The share of each card's peak with which its first run is met."""
    for name, published, arguments, calibrates, _ in RUNS:
        low, high = 0.05, 1.0
        while calibrates and high - low > 1e-6:
            middle = (low + high) / 2
            if simulate(**arguments, share=middle)["tokens_per_gpu"] < published:
                low = middle
            else:
                high = middle
        if calibrates:
            GPUS[arguments["gpu"]]["share"] = round(low, 4)


def check():
    calibrate()
    print(", ".join(f"{name}: {gpu['share']:.3f} of the peak (by {gpu['by']})" for name, gpu in GPUS.items()))
    worst = 0.0
    print(f"{'run':32} {'published':>10} {'predicted':>10} {'error':>7}  source")
    for name, published, arguments, calibrates, source in RUNS:
        found = simulate(**arguments)["tokens_per_gpu"]
        error = found / published - 1
        worst = worst if calibrates else max(worst, abs(error))
        print(f"{name:32} {published:10.0f} {found:10.0f} {error:+7.1%}  {source}{' (calibrates)' if calibrates else ''}")
    print(f"worst of those predicted: {worst:.1%}")
    return worst


# Of a global batch of 4 Mi tokens, the fastest way that fits.
STEP_TOKENS = 4 << 20


def ways(model, gpus):
    context = 4096 if model == "1.3B" else 8192
    for tensor in (1, 2, 4, 8):
        for pipeline in (1, 2, 4, 8, 16):
            replicas = gpus // (tensor * pipeline)
            rows = STEP_TOKENS // context
            if replicas < 1 or rows < replicas or pipeline > MODELS[model]["layers"]:
                continue
            for batch in (1, 2, 4, 8):
                accumulate = rows // replicas // batch
                if accumulate < 1:
                    continue
                for sharding in (0, 1, 2, 3):
                    if sharding > 1 and pipeline > 1:
                        continue
                    for recompute in RECOMPUTED:
                        yield dict(model=model, gpus=gpus, context=context, batch=batch, accumulate=accumulate,
                                   sharding=sharding, tensor=tensor, pipeline=pipeline, recompute=recompute)


def best(model, gpus, only=lambda way: True):
    found = None
    for way in ways(model, gpus):
        if not only(way):
            continue
        result = simulate(**way)
        if result["memory"] > 0.9 * GPUS["h100"]["bytes"]:
            continue
        if found is None or result["seconds"] < found[1]["seconds"]:
            found = (way, result)
    return found


SIZES = [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]


def sweep():
    print(f"{'model':6} {'GPUs':>5} {'s/step':>8} {'tok/s/GPU':>10} {'use':>6} {'GiB':>6} {'GB sent':>8}  way")
    for model in ("1.3B", "8B", "70B"):
        for gpus in SIZES:
            found = best(model, gpus)
            if found is None:
                print(f"{model:6} {gpus:5d}  does not fit, or has more ranks than rows")
                continue
            way, r = found
            print(f"{model:6} {gpus:5d} {r['seconds']:8.3g} {r['tokens_per_gpu']:10.0f} {r['utilisation']:6.1%} "
                  f"{r['memory'] / GIB:6.1f} {r['wire'] / GB:8.1f}  ZeRO {way['sharding']}, TP {way['tensor']}, "
                  f"PP {way['pipeline']}, {way['batch']} x {way['accumulate']}, {way['recompute']} again")


LINES = [("data parallel and ZeRO alone", "#1f77b4", lambda w: w["tensor"] == 1 and w["pipeline"] == 1),
         ("and tensor parallel", "#2ca02c", lambda w: w["pipeline"] == 1),
         ("and pipeline stages", "#d62728", lambda w: True)]


def svg(path):
    width, height, left, top = 300, 220, 50, 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{3 * width + 90}" height="{height + 110}" '
           'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for k, model in enumerate(("1.3B", "8B", "70B")):
        x0 = left + k * (width + 20)
        out.append(f'<text x="{x0}" y="{top - 14}" font-size="13">{model}, 4 Mi tokens a step, H100</text>')
        for share in (0, 10, 20, 30, 40, 50):
            y = top + height - share / 50 * height
            out.append(f'<line x1="{x0}" x2="{x0 + width - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            if k == 0:
                out.append(f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">{share} %</text>')
        for i, gpus in enumerate(SIZES):
            x = x0 + i / (len(SIZES) - 1) * (width - 20)
            if i % 2 == 0 or i == len(SIZES) - 1:
                out.append(f'<text x="{x:.1f}" y="{top + height + 14}" text-anchor="middle">{gpus}</text>')
        for name, colour, only in LINES:
            points = []
            for i, gpus in enumerate(SIZES):
                found = best(model, gpus, only)
                if found is not None:
                    points.append((x0 + i / (len(SIZES) - 1) * (width - 20),
                                   top + height - min(50, 100 * found[1]["utilisation"]) / 50 * height))
            out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.6" points="'
                       + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>')
    for k, (name, colour, _) in enumerate(LINES):
        x, y = left + k * 260, top + height + 44
        out.append(f'<line x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{x + 30}" y="{y}">{name}</text>')
    out.append(f'<text x="{left}" y="{top + height + 64}">Utilisation (of the peak of 16-bit products) over the number '
               'of GPUs; scripts/scaling.py --svg docs/scaling.svg</text></svg>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--svg")
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--gpu", choices=GPUS, default="h100")
    parser.add_argument("--recompute", choices=RECOMPUTED, default="selective")
    for name, value in (("gpus", 8), ("context", 8192), ("batch", 1), ("accumulate", 1), ("sharding", 3),
                        ("tensor", 1), ("pipeline", 1)):
        parser.add_argument("--" + name, type=int, default=value)
    a = parser.parse_args()
    if a.check and check() > 0.15:
        sys.exit(1)
    if a.sweep:
        sweep()
    if a.svg:
        svg(a.svg)
    if a.model:
        result = simulate(a.model, a.gpus, a.gpu, a.context, a.batch, a.accumulate, a.sharding, a.tensor, a.pipeline,
                          a.recompute)
        for key, value in result.items():
            print(f"{key:16} {value:.4g}")


if __name__ == "__main__":
    main()
