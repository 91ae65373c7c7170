#!/usr/bin/env python3
"""Writes tests/golden/families: a tiny random model of every family, and transformers' logits for one sequence.

    python3 tests/golden/make_family_fixtures.py [NAME...]      (packages: requirements.txt)

Each folder holds config.json and model.safetensors (bf16 values, so that files are small; everything is computed in
f32 from them) and expected.safetensors with `tokens` [T] (i32), `logits` [T, V] (f32), `loss`
(mean over the tokens but the first) and `gradient.NAME` of every parameter. One folder an option that
changes the mathematics: windows, rotary scalings, numbers of key heads, order of norms, biases.
"""
import json
import os
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

V, L, T = 61, 2, 40
COMMON = dict(vocab_size=V, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA = dict(max_position_embeddings=64, hidden_size=32, num_hidden_layers=L, num_attention_heads=4, intermediate_size=40)
CONFIGS = {
    "gpt2": dict(model_type="gpt2", n_positions=64, n_embd=32, n_layer=L, n_head=4),
    "gpt_neo": dict(model_type="gpt_neo", max_position_embeddings=64, hidden_size=32, num_layers=L, num_heads=4,
                    attention_types=[[["global", "local"], 1]], window_size=7),
    "gptj": dict(model_type="gptj", n_positions=64, n_embd=32, n_layer=L, n_head=2, rotary_dim=8, tie_word_embeddings=False),
    "gpt_neox": dict(model_type="gpt_neox", max_position_embeddings=64, hidden_size=48, num_hidden_layers=L,
                     num_attention_heads=4, intermediate_size=40, rotary_pct=0.5),
    "gpt_neox_sequential": dict(model_type="gpt_neox", max_position_embeddings=64, hidden_size=32, num_hidden_layers=L,
                                num_attention_heads=2, intermediate_size=40, use_parallel_residual=False,
                                attention_bias=False),
    "opt": dict(model_type="opt", max_position_embeddings=64, hidden_size=32, num_hidden_layers=L, num_attention_heads=4,
                ffn_dim=40, word_embed_proj_dim=32),
    "opt_350m": dict(model_type="opt", max_position_embeddings=64, hidden_size=32, num_hidden_layers=L,
                     num_attention_heads=4, ffn_dim=40, word_embed_proj_dim=20, do_layer_norm_before=False),
    "bloom": dict(model_type="bloom", hidden_size=48, n_layer=L, n_head=6),
    "mpt": dict(model_type="mpt", d_model=48, n_layers=L, n_heads=6, max_seq_len=64),
    "falcon_7b": dict(model_type="falcon", hidden_size=32, num_hidden_layers=L, num_attention_heads=4, multi_query=True,
                      parallel_attn=True, new_decoder_architecture=False, bias=False, alibi=False),
    "falcon_rw": dict(model_type="falcon", hidden_size=32, num_hidden_layers=L, num_attention_heads=4, multi_query=False,
                      parallel_attn=False, new_decoder_architecture=False, bias=True, alibi=True),
    "falcon_40b": dict(model_type="falcon", hidden_size=48, num_hidden_layers=L, num_attention_heads=6, num_kv_heads=2,
                       new_decoder_architecture=True, bias=False, alibi=False, ffn_hidden_size=40),
    "llama": dict(model_type="llama", **{**LLAMA, "hidden_size": 48, "num_attention_heads": 6}, num_key_value_heads=2,
                  attention_bias=True, mlp_bias=True),
    "llama_3_1": dict(model_type="llama", **LLAMA, num_key_value_heads=1, head_dim=16, rope_theta=5000.0,
                      rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                        original_max_position_embeddings=16)),
    "llama_linear": dict(model_type="llama", **LLAMA, tie_word_embeddings=True,
                         rope_scaling=dict(rope_type="linear", factor=4.0)),
    "llama_yarn": dict(model_type="llama", **LLAMA, rope_scaling=dict(rope_type="yarn", factor=2.0,
                                                                      original_max_position_embeddings=32)),
    "llama_dynamic": dict(model_type="llama", **LLAMA, rope_scaling=dict(rope_type="dynamic", factor=2.0)),
    "mistral": dict(model_type="mistral", **LLAMA, num_key_value_heads=2, sliding_window=9),
    "qwen2": dict(model_type="qwen2", **LLAMA, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2_window": dict(model_type="qwen2", **LLAMA, num_key_value_heads=2, use_sliding_window=True, sliding_window=8,
                         max_window_layers=1),
    "qwen3": dict(model_type="qwen3", **LLAMA, num_key_value_heads=2, head_dim=12, rope_theta=2000.0),
    "smollm3": dict(model_type="smollm3", **LLAMA, num_key_value_heads=2, no_rope_layers=[0, 1], mlp_bias=True),
    "olmo2": dict(model_type="olmo2", **LLAMA, num_key_value_heads=2),
    "phi3": dict(model_type="phi3", **LLAMA, num_key_value_heads=2, sliding_window=9,
                 rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)),
    "stablelm": dict(model_type="stablelm", **LLAMA, num_key_value_heads=2, use_qkv_bias=True, partial_rotary_factor=0.5),
    "mixtral": dict(model_type="mixtral", **LLAMA, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2),
    "qwen2_moe": dict(model_type="qwen2_moe", **{**LLAMA, "num_hidden_layers": 3}, num_key_value_heads=2, num_experts=6,
                      num_experts_per_tok=3, moe_intermediate_size=12, shared_expert_intermediate_size=20,
                      mlp_only_layers=[1]),
    "qwen2_moe_normalised": dict(model_type="qwen2_moe", **LLAMA, num_key_value_heads=4, num_experts=5,
                                 num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=16,
                                 norm_topk_prob=True, decoder_sparse_step=2),
    "qwen3_moe": dict(model_type="qwen3_moe", **LLAMA, num_key_value_heads=2, head_dim=12, num_experts=5,
                      num_experts_per_tok=2, moe_intermediate_size=12, norm_topk_prob=True, mlp_only_layers=[0]),
    "deepseek_v2": dict(model_type="deepseek_v2", **LLAMA, q_lora_rank=20, kv_lora_rank=24, qk_nope_head_dim=8,
                        qk_rope_head_dim=6, v_head_dim=10, n_routed_experts=8, num_experts_per_tok=2, n_shared_experts=2,
                        moe_intermediate_size=12, first_k_dense_replace=1, topk_method="group_limited_greedy", n_group=4,
                        topk_group=2, routed_scaling_factor=1.5,
                        rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, mscale=0.7,
                                          mscale_all_dim=0.6)),
    "deepseek_v2_lite": dict(model_type="deepseek_v2", **LLAMA, q_lora_rank=None, kv_lora_rank=16, qk_nope_head_dim=8,
                             qk_rope_head_dim=4, v_head_dim=8, n_routed_experts=4, num_experts_per_tok=2,
                             n_shared_experts=1, moe_intermediate_size=16, attention_bias=True),
    "deepseek_v3": dict(model_type="deepseek_v3", **LLAMA, q_lora_rank=20, kv_lora_rank=24, qk_nope_head_dim=8,
                        qk_rope_head_dim=6, v_head_dim=10, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=1,
                        moe_intermediate_size=12, first_k_dense_replace=1, n_group=4, topk_group=2, num_key_value_heads=4,
                        num_nextn_predict_layers=0),
    "mixtral_balanced": dict(model_type="mixtral", **LLAMA, num_key_value_heads=2, num_local_experts=4,
                             num_experts_per_tok=2, output_router_logits=True, router_aux_loss_coef=0.5),
    "deepseek_v3_balanced": dict(model_type="deepseek_v3", **LLAMA, q_lora_rank=20, kv_lora_rank=24, qk_nope_head_dim=8,
                                 qk_rope_head_dim=6, v_head_dim=10, n_routed_experts=6, num_experts_per_tok=2,
                                 n_shared_experts=1, moe_intermediate_size=8, first_k_dense_replace=0, n_group=1,
                                 topk_group=1, num_key_value_heads=4, num_nextn_predict_layers=0,
                                 output_router_logits=True, aux_loss_alpha=0.3, seq_aux=True),
    "gemma2": dict(model_type="gemma2", **{**LLAMA, "num_attention_heads": 4}, num_key_value_heads=2, head_dim=16,
                   query_pre_attn_scalar=10, sliding_window=8, attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
    "gemma3": dict(model_type="gemma3_text", **{**LLAMA, "num_hidden_layers": 3}, num_key_value_heads=1, head_dim=12,
                   query_pre_attn_scalar=20, sliding_window=8, sliding_window_pattern=3,
                   rope_parameters=dict(full_attention=dict(rope_type="linear", factor=4.0, rope_theta=50000.0),
                                        sliding_attention=dict(rope_type="default", rope_theta=1000.0))),
}


def watch_routers(model):
    """A list that a forward pass fills with every router's (logits [R, E], chosen experts [R, K])."""
    said = []
    for module in model.modules():
        if type(module).__name__.lower().endswith("topkrouter"):
            module.register_forward_hook(lambda _, __, output: said.append((output[0], output[2])))
    return said


def auxiliary_loss(config, output, routers):
    """What output_router_logits adds to the loss of one sequence: transformers' own, or where it has none (DeepSeek) that
    of the papers (DeepSeek-AI 2024, equations 12 to 17; 2025, equations 17 to 20)."""
    if not getattr(config, "output_router_logits", False):
        return 0.0
    if getattr(output, "aux_loss", None) is not None:
        return config.router_aux_loss_coef * output.aux_loss
    total = 0.0
    for logits, chosen in routers:
        scores = logits.float()
        if config.model_type == "deepseek_v3":
            scores = scores.sigmoid() / scores.sigmoid().sum(-1, keepdim=True)
        else:
            scores = scores.softmax(-1)
        experts, choices = scores.shape[1], chosen.shape[1]
        shares = torch.bincount(chosen.flatten(), minlength=experts) * experts / (choices * len(chosen))
        total = total + (shares * scores.mean(0)).sum()
    return config.aux_loss_alpha * total


def make(name, options, folder):
    options = dict(COMMON, **options)
    config = AutoConfig.for_model(options.pop("model_type"), **options)
    # Falcon's eager attention adds ALiBi twice, to the scores and to the mask.
    config._attn_implementation = "sdpa" if getattr(config, "alibi", False) else "eager"
    config._experts_implementation = "eager"
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0, 0.1)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            parameter.copy_(parameter.bfloat16().float())
        for key, buffer in model.named_buffers():
            if key.endswith("e_score_correction_bias"):  # which corrects the choice of experts
                buffer.copy_((torch.randn_like(buffer) * 0.1).bfloat16().float())
    os.makedirs(folder, exist_ok=True)
    model.save_pretrained(folder)
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    save_file({k: t.bfloat16() for k, t in tensors.items()}, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    tokens = torch.randint(3, V, (1, T))  # a padding token's embedding gets no gradient in PyTorch
    routers = watch_routers(model)
    output = model(tokens)
    logits = output.logits[0].float()
    loss = torch.nn.functional.cross_entropy(logits[:-1], tokens[0, 1:])
    (loss + auxiliary_loss(config, output, routers)).backward()
    expected = {"tokens": tokens[0].int(), "logits": logits.detach().contiguous(), "loss": loss.detach()}
    # The gradients, saved as if they were the weights: so they get the names and shapes that files have.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        for key, buffer in model.named_buffers():
            if key.endswith("e_score_correction_bias"):
                buffer.zero_()
    with tempfile.TemporaryDirectory() as other:
        model.save_pretrained(other)
        for key, gradient in load_file(os.path.join(other, "model.safetensors")).items():
            expected["gradient." + key] = gradient.float().contiguous()
    save_file(expected, os.path.join(folder, "expected.safetensors"))
    generation = os.path.join(folder, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    with open(os.path.join(folder, "config.json")) as file:
        written = json.load(file)
    written.pop("transformers_version", None)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(written, file, indent=2, sort_keys=True)
        file.write("\n")
    if name:
        print(f"{name}: largest logit {logits.abs().max():.3f}")


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "families")
    for name, options in CONFIGS.items():
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            make(name, options, os.path.join(root, name))


if __name__ == "__main__":
    main()
