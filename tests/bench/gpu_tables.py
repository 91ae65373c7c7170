"""Shapes and tables of gpu.sh. Needs nothing but Python.

  gpu_tables.py config SHAPE CONTEXT                    config.json of a shape
  gpu_tables.py ops FILE.json...                        what `dure bench ops --json` or pytorch_ops.py found
  gpu_tables.py train SHAPE PEAK WHO FILE               one row; FILE: metrics.jsonl, or pytorch_train.py's JSON
  gpu_tables.py idle TRACE METRICS                      device time of the traced steps against untraced ones
  gpu_tables.py saving WITHOUT WITH                     metrics.jsonl of two runs, the second one saving
  gpu_tables.py summary FOLDER PEAK                     everything against what is asked for
"""

import json
import os
import statistics
import sys
from collections import namedtuple

Shape = namedtuple("Shape", "layers width heads key_heads hidden vocabulary is_llama")
SHAPES = {
    "gpt2-124m": Shape(12, 768, 12, 12, 3072, 50257, False),
    "gpt-neo-1.3b": Shape(24, 2048, 16, 16, 8192, 50257, False),
    "llama-1b": Shape(16, 2048, 32, 8, 8192, 32000, True),
    "tiny": Shape(2, 64, 4, 4, 256, 257, False),
    "tiny-wide": Shape(1, 96, 2, 2, 384, 257, False),
    "tiny-llama": Shape(2, 64, 4, 2, 192, 257, True),
}


def shape_of(name):
    """One of the above, or "LAYERSxWIDTHxHEADSxKEY_HEADSxHIDDENxVOCABULARYx" and gpt2 or llama."""
    if name in SHAPES:
        return SHAPES[name]
    *numbers, kind = name.split("x")
    if len(numbers) != 6 or kind not in ("gpt2", "llama"):
        sys.exit(f"no shape '{name}': {', '.join(SHAPES)}, or such as 12x768x12x12x3072x50257xgpt2")
    return Shape(*map(int, numbers), kind == "llama")


WARM_UP = 2  # steps that are left out: kernels are compiled, clocks rise


def flops_a_token(shape, context):
    """Forward and backward: 6 for every weight of a product, and causal attention at half of its square."""
    size = shape.width // shape.heads
    projections = shape.width * (shape.heads + 2 * shape.key_heads) * size + shape.width * shape.width
    products = shape.layers * (projections + (3 if shape.is_llama else 2) * shape.width * shape.hidden)
    return 6 * (products + shape.vocabulary * shape.width) + 6 * shape.layers * shape.width * context


def config(name, context):
    s = shape_of(name)
    if s.is_llama:
        return {"model_type": "llama", "num_hidden_layers": s.layers, "hidden_size": s.width,
                "num_attention_heads": s.heads, "num_key_value_heads": s.key_heads, "intermediate_size": s.hidden,
                "max_position_embeddings": context, "vocab_size": s.vocabulary, "rms_norm_eps": 1e-5,
                "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.02, "tie_word_embeddings": True}
    return {"model_type": "gpt2", "n_layer": s.layers, "n_embd": s.width, "n_head": s.heads, "n_inner": s.hidden,
            "n_positions": context, "vocab_size": s.vocabulary, "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5, "initializer_range": 0.02}


def read(path):
    with open(path) as file:
        return json.load(file)


def read_lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def quartiles(values):
    return statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3


# ---- operations --------------------------------------------------------------------------------------------------

def show_ops(path):
    found = read(path)
    print(f"{found['device']}, {found['name']}: copy {found['copy_bytes_per_second'] * 1e-9:.0f} GB/s, "
          f"best matmul {found['matmul_flops_per_second'] * 1e-12:.4g} TFLOP/s, times by the {found['clock']} clock\n")
    print("| call | median ms | quartiles | TFLOP/s | GB/s | share |\n| --- | --- | --- | --- | --- | --- |")
    for call in found["calls"]:
        if "unsupported" in call:
            print(f"| {call['call']} | - | {call['unsupported']} | | | |")
            continue
        rate = f"{call['flops_per_second'] * 1e-12:.4g}" if call["flops_per_second"] else "-"
        share = f"{100 * call['share_of_ceiling']:.0f} %" if call.get("share_of_ceiling") else "-"
        print(f"| {call['call']} | {call['median_seconds'] * 1e3:.3f} | {call['lower_quartile_seconds'] * 1e3:.3f} to "
              f"{call['upper_quartile_seconds'] * 1e3:.3f} | {rate} | {call['bytes_per_second'] * 1e-9:.0f} | {share} |")


# ---- training ----------------------------------------------------------------------------------------------------

def rates(path):
    """Tokens a second of the steps after the first ones, and the context."""
    if path.endswith(".jsonl"):
        return [row["tokens_per_second"] for row in read_lines(path)[WARM_UP:]]
    found = read(path)
    return [found["tokens"] / seconds for seconds in found["seconds"]]


def utilisation(rate, shape, context, peak):
    return rate * flops_a_token(shape, context) * 1e-12 / peak if peak > 0 else None


def percent(part):
    return f"{100 * part:.1f} %" if part is not None else "-"


def show_training(name, context, peak, who, path):
    lower, median, upper = quartiles(rates(path))
    shape = shape_of(name)
    print(f"| {name}, context {context} | {who} | {median:.0f} | {lower:.0f} to {upper:.0f} | "
          f"{median * flops_a_token(shape, context) * 1e-12:.4g} | "
          f"{percent(utilisation(median, shape, context, peak))} |", flush=True)


def idleness(trace_path, metrics_path):
    """Share of a step in which the device has nothing to do; the traced run's operations are timed one by one."""
    with open(trace_path) as file:
        text = file.read().rstrip().rstrip(",")
    events = json.loads(text if text.endswith("]") else text + "]")
    parts = [e for e in events if e.get("cat") == "op"]
    submissions = [e for e in events if e.get("cat") == "submit" and e["name"] == "optimizer"]
    if not submissions or not parts:
        return None
    begin = submissions[0]["ts"] + submissions[0]["dur"]  # the first step warms up
    busy = sum(e["dur"] for e in parts if e["ts"] >= begin) * 1e-6 / max(1, len(submissions) - 1)
    wall = statistics.median(row["seconds"] for row in read_lines(metrics_path)[WARM_UP:])
    return busy, wall, 1 - busy / wall


def show_idleness(trace_path, metrics_path):
    found = idleness(trace_path, metrics_path)
    if found is None:
        sys.exit("the trace has no operations")
    busy, wall, idle = found
    print(f"operations {busy * 1e3:.2f} ms of a step of {wall * 1e3:.2f} ms: idle {100 * idle:.2f} % "
          "(traced operations run one by one, so a little below zero is none)")


def saving(without_path, with_path):
    def mean(path):  # all but the last step, after which both save
        seconds = [row["seconds"] for row in read_lines(path)][WARM_UP:-1]
        return statistics.fmean(seconds), max(seconds)
    (plain, _), (busy, slowest) = mean(without_path), mean(with_path)
    return plain, busy, slowest


def show_saving(without_path, with_path):
    plain, busy, slowest = saving(without_path, with_path)
    print(f"mean step {plain * 1e3:.2f} ms without and {busy * 1e3:.2f} ms with checkpoints in between: "
          f"ratio {busy / plain:.3f}; the slowest step {slowest * 1e3:.2f} ms")


# ---- summary -----------------------------------------------------------------------------------------------------

class Summary:
    def __init__(self, folder, peak):
        self.folder, self.peak = folder, peak
        self.files = {}

    def path(self, name):
        return os.path.join(self.folder, name)

    def ops(self, name, prefix):
        """The calls of a file whose names begin so; {} where there is no file."""
        if name not in self.files:
            self.files[name] = read(self.path(name)) if os.path.exists(self.path(name)) else {"calls": []}
        return [c for c in self.files[name]["calls"] if c["call"].startswith(prefix) and "unsupported" not in c]

    def best(self, name, prefix, contains="", exactly=False):
        found = [c["flops_per_second"] for c in self.ops(name, prefix)
                 if contains in c["call"] and (not exactly or c["call"] == prefix)]
        return max(found) if found else None

    def of_size(self, name, kind, size):
        """The rate of a square matmul."""
        calls = [c for c in self.ops(name, f"matmul/{kind}/") if c["call"].endswith(f"m={size},n={size},k={size}")]
        return max((c["flops_per_second"] for c in calls), default=None)

    def least_share(self, name, prefixes):
        shares = [c["share_of_ceiling"] for p in prefixes for c in self.ops(name, p)]
        return min(shares) if shares else None

    def rate(self, name):
        return statistics.median(rates(self.path(name))) if os.path.exists(self.path(name)) else None

    @staticmethod
    def row(what, asked, found, detail=""):
        if found is None:
            print(f"| {what} | {asked} | not measured | {detail} |")
        else:
            print(f"| {what} | {asked:.2f} | {found:.3f} | {detail} |")

    def ratio(self, what, asked, mine, other, detail=""):
        self.row(what, asked, mine / other if mine and other else None, detail)


def summary(folder, peak, cube, large):
    s = Summary(folder, peak)
    memory = ["adamw", "layer_norm", "rms_norm", "cross_entropy", "embedding_gradient"]
    print("| what | asked for, at least | found | |\n| --- | --- | --- | --- |")
    torch, direct = "pytorch-ops.json", "cublaslt.json"
    for kind in ("nn", "nt", "tn"):
        best = s.of_size("cuda-matmul.json", kind, cube)
        detail = f"{best * 1e-12:.4g} TFLOP/s" if best else ""
        first, fastest = f"cuBLASLt bf16 {kind} {cube} cubed", f"cuBLASLt bf16 {kind} {cube} cubed, fastest"
        s.ratio(f"CUDA bf16 matmul {kind} {cube} cubed / cuBLASLt called directly", 0.98, best,
                s.best(direct, first, exactly=True), detail)
        s.ratio("... / the fastest of its first eight algorithms", 0.98, best, s.best(direct, fastest))
    best = s.of_size("cuda-matmul.json", "nn", cube)
    s.ratio(f"CUDA bf16 matmul nn {cube} cubed / torch.mm", 0.98, best, s.best(torch, "torch.mm", " nn "))
    s.ratio(f"CUDA fp8 matmul nt {cube} cubed, rounding included / cuBLASLt called directly", 0,
            s.of_size("cuda-fp8.json", "nt", cube), s.best(direct, f"cuBLASLt fp8 nt {cube} cubed", exactly=True))
    for which, op in (("forward", "attention/"), ("backward", "attention_gradient/")):
        mine = s.best("cuda-attention.json", op)
        for name, choose in (("fastest", lambda c: True), ("deterministic", lambda c: "deterministic" in c["call"])):
            others = [c for c in s.ops(torch, "SDPA") if which in c["call"] and choose(c)]
            other = max(others, key=lambda c: c["flops_per_second"], default=None)
            s.ratio(f"CUDA attention {which} / SDPA, {name}", 0.9, mine, other and other["flops_per_second"],
                    other["call"] if other else "")
    for op in memory:
        s.row(f"CUDA {op}, share of the copy", 0.9, s.least_share("cuda-ops.json", [op]))
    for name, context, asked, used in large:
        mine = s.rate(f"{name}.cuda.jsonl")
        s.row(f"{name}: model FLOP utilisation", used, mine and utilisation(mine, shape_of(name), context, peak))
        s.ratio(f"{name}: tokens/s / PyTorch compiled", asked, mine, s.rate(f"{name}.pytorch.json"))
    if os.path.exists(s.path("trace.json")) and os.path.exists(s.path("idle.jsonl")):
        found = idleness(s.path("trace.json"), s.path("idle.jsonl"))
        if found is not None:
            print(f"| CUDA idle between steps | at most 0.01 | {max(0, found[2]):.4f} | |")
    if os.path.exists(s.path("saving.jsonl")):
        plain, busy, _ = saving(s.path("plain.jsonl"), s.path("saving.jsonl"))
        print(f"| mean step while saving in the background / without | | {busy / plain:.3f} | |")
    for name in sorted(n for n in os.listdir(folder) if n.startswith("vulkan-") and n.endswith(".json")):
        dtype, _, size = name[len("vulkan-"):-len(".json")].partition("-")
        if size.isdigit():
            for kind in ("nn", "nt", "tn"):
                found = s.best(name, f"matmul/{kind}", f"m={size},n={size},")
                s.row(f"Vulkan {dtype} matmul {kind} {size} cubed, TFLOP/s", 155, found and found * 1e-12)
    for op in ["adamw", "layer_norm", "rms_norm", "cross_entropy"]:
        s.row(f"Vulkan {op}, share of the copy", 0.85, s.least_share("vulkan-ops.json", [op]))
    matmul = s.best("vulkan-ops.json", "matmul/")
    for op in ("attention/", "attention_gradient/"):
        s.ratio(f"Vulkan {op[:-1]} / matmul's rate", 0.5, s.best("vulkan-ops.json", op), matmul)
    first = large[0][0]
    s.ratio(f"Vulkan {first}: tokens/s / PyTorch compiled", 0, s.rate(f"{first}.vulkan.jsonl"),
            s.rate(f"{first}.pytorch.json"))


def main(argv):
    command, rest = argv[1] if len(argv) > 1 else "", argv[2:]
    if command == "config":
        json.dump(config(rest[0], int(rest[1])), sys.stdout)
    elif command == "ops":
        for path in rest:
            show_ops(path)
    elif command == "train":
        show_training(rest[0], int(rest[1]), float(rest[2]), rest[3], rest[4])
    elif command == "idle":
        show_idleness(*rest)
    elif command == "saving":
        show_saving(*rest)
    elif command == "summary":
        large = [(name, int(context), float(asked), float(used))
                 for name, context, asked, used in (word.split(":") for word in rest[3:])]
        summary(rest[0], float(rest[1]), int(rest[2]), large)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv)
