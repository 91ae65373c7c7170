"""Speed of single operations in PyTorch, to stand beside `dure bench ops --large`: cuBLASLt called through torch.mm and
scaled_dot_product_attention by each of its backends.

  python3 tests/bench/pytorch_ops.py [--device cuda] [--matmul 8192] [--attention 4,4096,16,128]

Prints JSON like that of `dure bench ops --json`. Times are CUDA events around whole calls, the
median of 20 groups. Causal attention counts half of the square, as `dure bench ops` does.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel


def measure(call, device, groups=20):
    """Seconds a call: lower quartile, median, upper quartile."""
    for _ in range(3):
        call()
    times = []
    for _ in range(groups):
        if device.type == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            for _ in range(3):
                call()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 3 * 1e-3)
        else:
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
    return statistics.quantiles(times, n=4)


class Results:
    """Calls as `dure bench ops --json` has them."""

    def __init__(self):
        self.calls, self.copy, self.matmul = [], 0, 0

    def add(self, what, times, flops=0, moved=0):
        lower, median, upper = times
        self.matmul = max(self.matmul, flops / median if what.startswith("torch.mm") else 0)
        self.copy = moved / median if what.startswith("copy") else self.copy
        self.calls.append({"call": what, "median_seconds": median, "lower_quartile_seconds": lower,
                           "upper_quartile_seconds": upper, "flops_per_second": flops / median,
                           "bytes_per_second": moved / median,
                           "share_of_ceiling": moved / median / self.copy if self.copy and not flops else 0})

    def refuse(self, what, reason):
        self.calls.append({"call": what, "unsupported": reason})


def matmul(size, device, results):
    a, b = (torch.rand(size, size, device=device).sub_(0.5).mul_(2).bfloat16() for _ in range(2))
    out = torch.empty_like(a)
    for name, second in (("nn", b), ("nt", b.t())):
        call = lambda: torch.mm(a, second, out=out)  # noqa: E731
        results.add(f"torch.mm bf16 {name} {size} cubed", measure(call, device), 2.0 * size**3)


def attention(shape, device, results):
    B, T, H, D = shape
    flops = 4.0 * B * H * T * T * D / 2
    make = lambda: torch.rand(B, H, T, D, device=device).sub_(0.5).mul_(2).bfloat16().requires_grad_()  # noqa: E731
    q, k, v = make(), make(), make()
    dy = torch.rand_like(q)
    backends = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION] if device.type == "cuda" else [SDPBackend.MATH]
    for backend in backends:
        for is_deterministic in (False, True):
            torch.use_deterministic_algorithms(is_deterministic, warn_only=True)
            name = f"SDPA {backend.name.lower()}{' deterministic' if is_deterministic else ''} {B}x{T}x{H}x{D}"
            try:
                with sdpa_kernel(backend):
                    y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
                    forward = lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
                    backward = lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True)  # noqa: E731
                    results.add(f"{name} forward", measure(forward, device), flops)
                    results.add(f"{name} backward", measure(backward, device), 2.5 * flops)
            except RuntimeError as error:
                results.refuse(name, str(error).splitlines()[0])
    torch.use_deterministic_algorithms(False)


def memory(scale, device, results):
    """What moves bytes; those that must be moved are counted, as `dure bench ops` counts them."""
    count, rows, width, vocabulary = 2**26 // scale, 65536 // scale, 2048, 50257
    source = torch.rand(2 * count, device=device).bfloat16()
    target = torch.empty_like(source)
    results.add(f"copy bf16 {2 * count}", measure(lambda: target.copy_(source), device), moved=8 * count)
    parameter = nn.Parameter(torch.rand(count, device=device))
    parameter.grad = torch.rand_like(parameter)
    optimizer = torch.optim.AdamW([parameter], fused=True)
    results.add(f"AdamW fused f32 {count}", measure(optimizer.step, device), moved=28 * count)
    x, weight = torch.rand(rows, width, device=device).bfloat16(), torch.rand(width, device=device).bfloat16()
    layer_norm = lambda: functional.layer_norm(x, (width,), weight, weight)  # noqa: E731
    results.add(f"layer_norm bf16 {rows}x{width}", measure(layer_norm, device), moved=4 * rows * width)
    rms_norm = lambda: functional.rms_norm(x, (width,), weight)  # noqa: E731
    results.add(f"rms_norm bf16 {rows}x{width}", measure(rms_norm, device), moved=4 * rows * width)
    logits = torch.rand(4096 // scale, vocabulary, device=device).bfloat16()
    labels = torch.randint(vocabulary, (4096 // scale,), device=device)
    loss = lambda: functional.cross_entropy(logits, labels, reduction="none")  # noqa: E731
    results.add(f"cross_entropy bf16 {4096 // scale}x{vocabulary}", measure(loss, device), moved=2 * logits.numel())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--matmul", type=int, default=8192)
    parser.add_argument("--attention", default="4,4096,16,128", help="batch, context, heads, head size")
    parser.add_argument("--scale", type=int, default=1, help="divides the sizes of what moves bytes")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(1)
    if device.type == "cuda":
        torch.backends.cuda.preferred_blas_library("cublaslt")
    results = Results()
    matmul(arguments.matmul, device, results)
    attention([int(n) for n in arguments.attention.split(",")], device, results)
    memory(arguments.scale, device, results)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(json.dumps({"device": f"PyTorch {torch.__version__}", "name": name, "clock": "device",
                      "copy_bytes_per_second": results.copy, "matmul_flops_per_second": results.matmul,
                      "calls": results.calls}))


if __name__ == "__main__":
    main()
