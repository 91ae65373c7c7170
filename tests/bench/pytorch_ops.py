"""Speed of single operations in PyTorch, to stand beside `dure bench ops --large`: cuBLASLt called through torch.mm and
scaled_dot_product_attention by each of its backends.

  python3 tests/bench/pytorch_ops.py [--device cuda] [--matmul 8192] [--attention 4,4096,16,128]

Prints rows of a Markdown table: what, median ms, quartiles, TFLOP/s. Times are CUDA events around whole calls, the
median of 20 groups. Causal attention counts half of the square, as `dure bench ops` does.
"""

import argparse
import statistics
import time

import torch
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


def show(what, times, flops):
    lower, median, upper = times
    print(f"| {what} | {median * 1e3:.3f} | {lower * 1e3:.3f} to {upper * 1e3:.3f} | {flops / median * 1e-12:.2f} |",
          flush=True)


def matmul(size, device):
    a, b = (torch.rand(size, size, device=device).sub_(0.5).mul_(2).bfloat16() for _ in range(2))
    out = torch.empty_like(a)
    for name, second in (("nn", b), ("nt", b.t())):
        call = lambda: torch.mm(a, second, out=out)  # noqa: E731
        show(f"torch.mm bf16 {name} {size} cubed", measure(call, device), 2.0 * size**3)


def attention(shape, device):
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
                    show(f"{name} forward", measure(forward, device), flops)
                    show(f"{name} backward", measure(backward, device), 2.5 * flops)
            except RuntimeError as error:
                print(f"| {name} | - | {str(error).splitlines()[0]} | - |")
    torch.use_deterministic_algorithms(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--matmul", type=int, default=8192)
    parser.add_argument("--attention", default="4,4096,16,128", help="batch, context, heads, head size")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(1)
    print("| what | median ms | quartiles | TFLOP/s |\n| --- | --- | --- | --- |")
    matmul(arguments.matmul, device)
    attention([int(n) for n in arguments.attention.split(",")], device)


if __name__ == "__main__":
    main()
