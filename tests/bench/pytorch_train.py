"""Training speed of PyTorch on the shapes that gpu.sh measures: plain modules, torch.compile, fused AdamW, SDPA.

  python3 tests/bench/pytorch_train.py --shape gpt2-124m [--batch 16] [--context 1024] [--steps 20] [--device cuda]

Prints one line of JSON: "tokens" of a step, the "seconds" of every step, and "memory_mib". bf16 parameters
and gradients with f32 master copies would be PyTorch's mixed precision by hand; what its users run is autocast over f32
parameters, and that is what is measured.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional

from gpu_tables import SHAPES, shape_of


class Attention(nn.Module):
    def __init__(self, width, heads, key_heads, rotates):
        super().__init__()
        self.heads, self.key_heads, self.size, self.rotates = heads, key_heads, width // heads, rotates
        self.qkv = nn.Linear(width, (heads + 2 * key_heads) * self.size, bias=not rotates)
        self.out = nn.Linear(width, width, bias=not rotates)

    def forward(self, x, cosines, sines):
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, -1, self.size).split([self.heads, self.key_heads, self.key_heads], dim=2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if self.rotates:
            q, k = rotate(q, cosines, sines), rotate(k, cosines, sines)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.key_heads)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


def rotate(x, cosines, sines):
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1).to(x.dtype)


class Block(nn.Module):
    def __init__(self, width, heads, key_heads, hidden, is_llama):
        super().__init__()
        norm = nn.RMSNorm if is_llama else nn.LayerNorm
        self.norm1, self.norm2 = norm(width), norm(width)
        self.attention = Attention(width, heads, key_heads, is_llama)
        self.is_llama = is_llama
        self.up = nn.Linear(width, 2 * hidden if is_llama else hidden, bias=not is_llama)
        self.down = nn.Linear(hidden, width, bias=not is_llama)

    def forward(self, x, cosines, sines):
        x = x + self.attention(self.norm1(x), cosines, sines)
        h = self.up(self.norm2(x))
        if self.is_llama:
            gate, up = h.chunk(2, dim=-1)
            h = functional.silu(gate) * up
        else:
            h = functional.gelu(h, approximate="tanh")
        return x + self.down(h)


class Model(nn.Module):
    def __init__(self, shape, context):
        super().__init__()
        layers, width, heads, key_heads, hidden, vocabulary, is_llama = shape
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = None if is_llama else nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, key_heads, hidden, is_llama) for _ in range(layers))
        self.norm = nn.RMSNorm(width) if is_llama else nn.LayerNorm(width)
        half = width // heads // 2
        angles = torch.arange(context)[:, None] / 10000.0 ** (torch.arange(half)[None, :] / half)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, labels):
        x = self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, self.cosines, self.sines)
        logits = functional.linear(self.norm(x), self.tokens.weight)  # tied, as the models measured beside it
        return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="gpt2-124m", help=f"{', '.join(SHAPES)}, or as gpu_tables.py says")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    device = torch.device(arguments.device)
    is_cuda = device.type == "cuda"
    shape = shape_of(arguments.shape)
    model = Model(shape, arguments.context).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    run = model if arguments.no_compile else torch.compile(model)
    size = (arguments.batch, arguments.context)
    batches = [torch.randint(shape[5], size, device=device) for _ in range(4)]

    def step(i):
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = run(batches[i % 4], batches[(i + 1) % 4])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for i in range(3 if is_cuda else 1):  # compiles
        step(i)
    times = []
    for i in range(arguments.steps):
        if is_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        for k in range(2 if is_cuda else 1):  # pairs, so that waiting is spread over two
            step(i + k)
        if is_cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / (2 if is_cuda else 1))
    memory = torch.cuda.max_memory_allocated() / 2**20 if is_cuda else 0
    print(json.dumps({"tokens": arguments.batch * arguments.context, "seconds": times, "memory_mib": memory}))


if __name__ == "__main__":
    main()
