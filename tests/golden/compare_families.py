#!/usr/bin/env python3
"""Compares Dure with transformers on random configurations of every family, other ones than the fixtures'.

    python3 tests/golden/compare_families.py DURE [--seed 1] [--each 5] [--devices reference,vulkan:0] [FAMILY...]

For each: logits (whole; token by token on the first device) and all gradients against fp32 transformers, within 1e-4 of
the largest logit and of each tensor's norm; then transformers -> `dure convert` -> transformers, with the same tensors,
bit by bit, and a configuration of the same meaning. Prints a line each and exits with 1 when one is beyond its limit.
A failure names the seed that makes this configuration again. (packages: requirements.txt)
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

import make_family_fixtures as fixtures

# Written by transformers for itself, or said otherwise with the same meaning.
UNCOMPARED = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures"}


def sizes(r):
    """Layers, heads, key heads, head width (odd multiples of two), width."""
    heads = r.choice([2, 3, 4, 6])
    key_heads = r.choice([g for g in (1, 2, 3, 4, 6) if heads % g == 0])
    head = r.choice([6, 8, 10, 14, 18])
    return r.choice([1, 2, 3]), heads, key_heads, head


def rope(r, context):
    kind = r.choice(["default", "default", "linear", "dynamic", "llama3", "yarn"])
    base = r.choice([500.0, 10000.0, 250000.0])
    rows = {
        "default": {},
        "linear": dict(factor=r.choice([1.5, 4.0])),
        "dynamic": dict(factor=r.choice([2.0, 3.0])),
        "llama3": dict(factor=r.choice([4.0, 32.0]), low_freq_factor=1.0, high_freq_factor=r.choice([2.0, 4.0]),
                       original_max_position_embeddings=r.choice([8, 24])),
        "yarn": dict(factor=r.choice([2.0, 8.0]), original_max_position_embeddings=context // 4,
                     **r.choice([{}, dict(beta_fast=16.0, beta_slow=2.0), dict(attention_factor=1.3),
                                 dict(mscale=0.8, mscale_all_dim=0.5), dict(truncate=False)])),
    }
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=base, **rows[kind]))


def llama(r, has_rope=True):
    layers, heads, key_heads, head = sizes(r)
    context = r.choice([64, 96])
    return dict(max_position_embeddings=context, hidden_size=heads * r.randint(3, 15), num_hidden_layers=layers,
                num_attention_heads=heads, num_key_value_heads=key_heads, head_dim=head,
                intermediate_size=r.randint(20, 70), tie_word_embeddings=r.random() < 0.5,
                rms_norm_eps=r.choice([1e-6, 1e-5, 1e-3]), **(rope(r, context) if has_rope else {}))


def split(r, options):
    """Sizes of families whose heads divide the width."""
    return dict(options, hidden_size=options["num_attention_heads"] * options.pop("head_dim"))


def make_gpt2(r):
    layers, heads, _, head = sizes(r)
    return dict(n_positions=64, n_embd=heads * head, n_layer=layers, n_head=heads,
                n_inner=r.choice([None, 37, 50]), activation_function=r.choice(["gelu_new", "relu", "gelu"]),
                scale_attn_by_inverse_layer_idx=r.random() < 0.5, tie_word_embeddings=r.random() < 0.6,
                scale_attn_weights=r.random() < 0.7)


def make_gpt_neo(r):
    _, heads, _, head = sizes(r)
    kinds = r.choice([[["global", "local"], 1], [["local"], 2], [["global", "global", "local"], 1]])
    return dict(max_position_embeddings=70, hidden_size=heads * head, num_layers=len(kinds[0]) * kinds[1],
                num_heads=heads, attention_types=[kinds], window_size=r.randint(1, 20),
                intermediate_size=r.choice([None, 43]), activation_function=r.choice(["gelu_new", "gelu"]))


def make_gptj(r):
    layers, heads, _, head = sizes(r)
    return dict(n_positions=64, n_embd=heads * head, n_layer=layers, n_head=heads,
                rotary_dim=r.choice([2, 4, head, head - 2]), n_inner=r.choice([None, 45]),
                tie_word_embeddings=False)


def make_gpt_neox(r):
    options = split(r, llama(r, False))
    for key in ("num_key_value_heads", "rms_norm_eps"):
        options.pop(key)
    head = options["hidden_size"] // options["num_attention_heads"]
    shares = [share for share in (0.25, 0.5, 1.0) if int(head * share) % 2 == 0 and int(head * share) > 0]
    return dict(options, rotary_pct=r.choice(shares), use_parallel_residual=r.random() < 0.5,
                attention_bias=r.random() < 0.5, hidden_act=r.choice(["gelu", "gelu_new", "gelu_fast"]),
                rotary_emb_base=r.choice([1000, 10000]))


def make_opt(r):
    layers, heads, _, head = sizes(r)
    width = heads * head
    return dict(max_position_embeddings=64, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
                ffn_dim=r.randint(20, 70), word_embed_proj_dim=r.choice([width, width // 2 + 1]),
                do_layer_norm_before=r.random() < 0.6, enable_bias=r.random() < 0.7,
                activation_function=r.choice(["relu", "gelu"]), tie_word_embeddings=True)


def make_bloom(r):
    layers, heads, _, head = sizes(r)
    return dict(hidden_size=heads * head, n_layer=layers, n_head=heads, tie_word_embeddings=r.random() < 0.7,
                apply_residual_connection_post_layernorm=False)


def make_mpt(r):
    layers, heads, _, head = sizes(r)
    return dict(d_model=heads * head, n_layers=layers, n_heads=heads, max_seq_len=64, expansion_ratio=r.choice([2, 4]),
                attn_config=dict(alibi=True, alibi_bias_max=8, clip_qkv=None))  # transformers takes 8, whatever it says


def make_falcon(r):
    layers, heads, key_heads, head = sizes(r)
    is_new = r.random() < 0.5
    options = dict(hidden_size=heads * head, num_hidden_layers=layers, num_attention_heads=heads,
                   new_decoder_architecture=is_new, bias=r.random() < 0.4,
                   # transformers rounds these slopes to bf16, which powers of two survive
                   alibi=heads in (2, 4) and r.random() < 0.5,
                   ffn_hidden_size=r.choice([40, 61]), tie_word_embeddings=r.random() < 0.6)
    if is_new:
        return dict(options, num_kv_heads=key_heads, num_ln_in_parallel_attn=r.choice([None, 1, 2]))
    return dict(options, multi_query=r.random() < 0.6, parallel_attn=r.random() < 0.6)


def make_llama(r):
    return dict(llama(r), attention_bias=r.random() < 0.5, mlp_bias=r.random() < 0.5,
                hidden_act=r.choice(["silu", "gelu", "gelu_pytorch_tanh"]))


def make_mistral(r):
    return dict(llama(r), sliding_window=r.choice([None, 2, 5, 23, 300]))


def make_qwen2(r):
    options = llama(r)
    options["head_dim"] = options["head_dim"]
    return dict(options, use_sliding_window=r.random() < 0.6, sliding_window=r.choice([4, 17]),
                max_window_layers=r.choice([0, 1, 2]))


def make_qwen3(r):
    return dict(make_qwen2(r), attention_bias=r.random() < 0.4)


def make_smollm3(r):
    options = llama(r)
    options.pop("head_dim")
    options["hidden_size"] = options["num_attention_heads"] * r.choice([6, 10, 14])
    layers = options["num_hidden_layers"]
    return dict(options, attention_bias=r.random() < 0.4, mlp_bias=r.random() < 0.4,
                **r.choice([dict(no_rope_layer_interval=r.choice([1, 2, 4])),
                            dict(no_rope_layers=[r.randint(0, 1) for _ in range(layers)])]),
                **r.choice([{}, dict(use_sliding_window=True, sliding_window=r.choice([4, 17]))]))


def make_olmo2(r):
    return dict(split(r, llama(r)), attention_bias=r.random() < 0.4)


def make_phi3(r):
    options = split(r, llama(r))
    head = options["hidden_size"] // options["num_attention_heads"]
    options["rope_parameters"] = dict(rope_type="default", rope_theta=r.choice([500.0, 10000.0]),
                                      partial_rotary_factor=rotated_part(r, head))
    return dict(options, sliding_window=r.choice([None, 5, 23]))


def rotated_part(r, head):
    return r.choice([p for p in (0.25, 0.5, 0.75, 1.0) if int(head * p) % 2 == 0 and int(head * p) > 0])


def make_stablelm(r):
    options = split(r, llama(r))
    options.pop("rms_norm_eps")
    head = options["hidden_size"] // options["num_attention_heads"]
    options["rope_parameters"]["partial_rotary_factor"] = rotated_part(r, head)
    return dict(options, use_qkv_bias=r.random() < 0.5, use_parallel_residual=r.random() < 0.5,
                layer_norm_eps=r.choice([1e-5, 1e-3]))


def balance(r, key, **others):
    """The auxiliary loss of experts, or not."""
    return r.choice([{}, {key: r.choice([0.01, 0.5]), "output_router_logits": True, **others}])


def make_mixtral(r):
    experts = r.randint(2, 7)
    return dict(llama(r), num_local_experts=experts, num_experts_per_tok=r.randint(1, min(3, experts)),
                sliding_window=r.choice([None, 9]), **balance(r, "router_aux_loss_coef"))


def make_qwen2_moe(r):
    experts = r.randint(2, 9)
    options = split(r, llama(r))
    options["num_hidden_layers"] = max(2, options["num_hidden_layers"])  # one has experts
    return dict(options, num_experts=experts, num_experts_per_tok=r.randint(1, min(4, experts)),
                moe_intermediate_size=r.randint(5, 30), shared_expert_intermediate_size=r.randint(5, 40),
                norm_topk_prob=r.random() < 0.5, qkv_bias=r.random() < 0.7, decoder_sparse_step=r.choice([1, 1, 2]),
                mlp_only_layers=r.choice([[], [0]]), **balance(r, "router_aux_loss_coef"))


def make_qwen3_moe(r):
    experts = r.randint(2, 9)
    options = llama(r)
    options["num_hidden_layers"] = max(2, options["num_hidden_layers"])  # one has experts
    return dict(options, num_experts=experts, num_experts_per_tok=r.randint(1, min(4, experts)),
                moe_intermediate_size=r.randint(5, 30), norm_topk_prob=r.random() < 0.5,
                attention_bias=r.random() < 0.3, decoder_sparse_step=r.choice([1, 1, 2]),
                mlp_only_layers=r.choice([[], [0]]),
                **r.choice([{}, dict(use_sliding_window=True, sliding_window=r.choice([4, 17]))]),
                **balance(r, "router_aux_loss_coef"))


def deepseek(r):
    options = llama(r)
    options.pop("head_dim")
    options["num_key_value_heads"] = options["num_attention_heads"]
    groups, each = r.choice([(1, 6), (2, 3), (4, 2), (3, 4)])
    return dict(options, q_lora_rank=r.choice([None, 13, 20]), kv_lora_rank=r.choice([10, 24]),
                qk_nope_head_dim=r.choice([6, 10, 16]), qk_rope_head_dim=r.choice([4, 6, 10]),
                v_head_dim=r.choice([6, 8, 10]), n_routed_experts=groups * each, num_experts_per_tok=r.choice([1, 2, 3]),
                n_shared_experts=r.choice([1, 2]), moe_intermediate_size=r.randint(6, 24),
                first_k_dense_replace=r.choice([0, 1]), n_group=groups, topk_group=r.randint(max(1, groups // 2), groups),
                routed_scaling_factor=r.choice([1.0, 2.5]), attention_bias=r.random() < 0.3,
                **balance(r, "aux_loss_alpha", seq_aux=r.random() < 0.5))


def make_deepseek_v2(r):
    options = deepseek(r)
    is_grouped = options["n_group"] > 1
    return dict(options, topk_method="group_limited_greedy" if is_grouped else "greedy")


def make_deepseek_v3(r):
    return dict(deepseek(r), norm_topk_prob=r.random() < 0.7, num_nextn_predict_layers=0,
                rope_interleave=r.random() < 0.7)


def gemma(r):
    options = llama(r, False)
    return dict(options, query_pre_attn_scalar=r.choice([5, 24]), sliding_window=r.choice([3, 11]),
                hidden_activation=r.choice(["gelu_pytorch_tanh", "gelu"]), attention_bias=r.random() < 0.3)


def make_gemma2(r):
    options = gemma(r)
    return dict(options, attn_logit_softcapping=r.choice([None, 1.5, 30.0]),
                final_logit_softcapping=r.choice([None, 2.0, 30.0]))


def make_gemma3_text(r):
    return dict(gemma(r), sliding_window_pattern=r.choice([2, 3]),
                rope_parameters=dict(full_attention=r.choice([dict(rope_type="default", rope_theta=70000.0),
                                                              dict(rope_type="linear", factor=8.0, rope_theta=50000.0)]),
                                     sliding_attention=dict(rope_type="default", rope_theta=1500.0)))


def dure(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else str(arguments))


def is_key_bias(name):
    return any(part in name for part in ("k_proj.bias", "query_key_value.bias", "c_attn.bias", "Wqkv.bias"))


def is_sure_router(config, name):
    """Of one expert a token whose weight is divided by itself: 1, whatever the router says, so its true gradient is zero
    unless an auxiliary loss gives it one."""
    is_normalised = config["model_type"] == "mixtral" or config.get("norm_topk_prob", False)
    return (name.endswith("gate.weight") and config.get("num_experts_per_tok") == 1 and is_normalised
            and not config.get("output_router_logits", False))


def compare(program, config, folder, devices, scratch):
    """(worst logits, worst gradient, its name)"""
    expected = load_file(os.path.join(folder, "expected.safetensors"))
    steepest = max(t.norm().item() for key, t in expected.items() if key.startswith("gradient."))
    tokens, out = " ".join(str(int(t)) for t in expected["tokens"]), os.path.join(scratch, "out.safetensors")
    largest = max(1.0, expected["logits"].abs().max().item())
    worst, gradient, name = 0.0, 0.0, ""
    for number, device in enumerate(devices):
        for way in (["--decode"] if number == 0 else []), []:
            dure(program, "logits", folder, "--tokens", tokens, "-o", out, "--device", device, "--dtype", "f32", *way)
            difference = (load_file(out)["logits"] - expected["logits"]).abs().max().item() / largest
            worst = max(worst, difference) if difference == difference else float("inf")
        dure(program, "gradients", folder, "--tokens", tokens, "-o", out, "--device", device)
        found = load_file(out)
        for key in expected:
            if not key.startswith("gradient."):
                continue
            true, own = expected[key], found.get(key[9:])
            if own is None or own.shape != true.shape:
                return worst, float("inf"), key
            norm, whole = true.norm().item(), 1e-6 * largest
            if is_key_bias(key):  # a key's part of it is zero but for rounding
                continue
            if is_sure_router(config, key):  # both sides have rounding alone
                norm = 1e-2 * steepest
            error = (own - true).norm().item() / max(norm, whole)
            if not error <= gradient:
                gradient, name = error, key
    return worst, gradient, name


def round_trip(program, folder, scratch):
    """What a converted folder differs in, or nothing."""
    again = os.path.join(scratch, "again")
    dure(program, "convert", folder, again)
    before, after = (AutoConfig.from_pretrained(path).to_dict() for path in (folder, again))
    for key in sorted((set(before) | set(after)) - UNCOMPARED):
        if before.get(key) != after.get(key):
            return f"config's {key}: {before.get(key)} became {after.get(key)}"
    one, other = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).state_dict() for path in (folder, again))
    if set(one) != set(other):
        return f"tensors {sorted(set(one) ^ set(other))[:3]}"
    differing = [key for key in one if not torch.equal(one[key].view(torch.int16) if one[key].dtype == torch.bfloat16
                                                       else one[key], other[key].view(torch.int16)
                                                       if other[key].dtype == torch.bfloat16 else other[key])]
    return f"tensor {differing[0]}" if differing else ""


def main():
    families = {name[5:]: make for name, make in globals().items() if name.startswith("make_")}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("families", nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=5)
    parser.add_argument("--devices", default="reference,vulkan:0")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    failures = 0
    for family in options.families or families:
        for seed in range(options.seed, options.seed + options.each):
            r = random.Random(f"{family} {seed}")
            config = dict(model_type=family, **families[family](r))
            fixtures.V, fixtures.T = r.choice([37, 61, 101, 257]), r.choice([17, 33, 40])
            fixtures.COMMON["vocab_size"] = fixtures.V
            with tempfile.TemporaryDirectory() as scratch:
                folder = os.path.join(scratch, "model")
                try:
                    fixtures.make(None, config, folder)
                    logits, gradient, name = compare(options.program, config, folder, options.devices.split(","), scratch)
                    trip = round_trip(options.program, folder, scratch)
                    is_good = logits <= 1e-4 and gradient <= 1e-4 and not trip
                    text = f"logits {logits:.1e}, gradients {gradient:.1e} ({name})" + (", " + trip if trip else "")
                except Exception as error:  # said, counted, and on to the next
                    is_good, text = False, f"{type(error).__name__}: {error}"
            failures += not is_good
            print(f"{'ok  ' if is_good else 'FAIL'} {family} seed {seed}: {text}", flush=True)
            if not is_good:
                print(f"     {config}", flush=True)
    sys.exit(failures > 0)


main()
