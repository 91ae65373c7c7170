#!/usr/bin/env python3
"""Writes tests/golden/gguf: GGUF files made with PyPI's `gguf`, and what it reads in them.

    python3 tests/golden/make_gguf_fixtures.py      (packages: requirements.txt; needs tests/golden/families)

blocks.gguf holds a tensor of random blocks of every type; blocks.safetensors what `gguf` makes of them (f32).
NAME.gguf is tests/golden/families/NAME as the GGUF world writes it: its names, its order of rows, its metadata.
tokenizer.gguf is the tokenizer of tests/golden/gpt2/even. The seeds of tests/fuzz/gguf.c come from here too.
"""
import json
import os

import gguf
import numpy
from gguf import GGMLQuantizationType as T
from safetensors.numpy import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "gguf")
SEEDS = os.path.join(HERE, "..", "fuzz", "seeds", "gguf")
# Where the f16 scales of a block lie.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def make_blocks():
    random = numpy.random.default_rng(11)
    writer = gguf.GGUFWriter(os.path.join(OUT, "blocks.gguf"), "blocks")
    expected = {}
    for kind in [T.F32, T.F16, T.BF16, *SCALES]:
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        rows, columns = 3, 512
        if kind in SCALES:
            blocks = random.integers(0, 256, (rows * columns // elements, size), dtype=numpy.uint8)
            for at in SCALES[kind]:
                scale = random.normal(0, 0.02, len(blocks)).astype(numpy.float16)
                scale[:2] = [6e-8, -65504 / 4096]  # the smallest f16, and a large one
                blocks[:, at:at + 2] = scale.view(numpy.uint8).reshape(-1, 2)
            data = blocks.reshape(rows, -1)
        else:
            values = random.normal(0, 1, (rows, columns)).astype(numpy.float32)
            values[0, :4] = [0, -0.0, 1e-7, 60000]
            data = gguf.quants.quantize(values, kind)
        name = "tensor." + kind.name
        expected[name] = gguf.quants.dequantize(data, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.add_uint8("key.u8", 200)
    writer.add_int64("key.i64", -5)
    writer.add_float64("key.f64", 0.25)
    writer.add_bool("key.bool", True)
    writer.add_string("key.text", "안녕")
    writer.add_array("key.texts", ["a", "", "bc"])
    finish(writer)
    save_file(expected, os.path.join(OUT, "blocks.safetensors"))


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rotary(weight, heads):
    """Rotated pairs, half a head apart, come beside each other."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def by_kind(weight, groups, queries):
    """(queries.., key, value) of each group: all queries, all keys, all values."""
    width = weight.shape[0] // (groups * (queries + 2))
    parts = weight.reshape(groups, queries + 2, width, *weight.shape[1:])
    return numpy.concatenate([parts[:, :queries].reshape(-1, *weight.shape[1:]),
                              parts[:, queries].reshape(-1, *weight.shape[1:]),
                              parts[:, queries + 1].reshape(-1, *weight.shape[1:])])


class Family:
    def __init__(self, name, architecture):
        self.folder = os.path.join(HERE, "families", name)
        self.config = json.load(open(os.path.join(self.folder, "config.json")))
        self.weights = load_weights(os.path.join(self.folder, "model.safetensors"))
        self.writer = gguf.GGUFWriter(os.path.join(OUT, name + ".gguf"), architecture)
        self.names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()),
                                              max(2, self.config.get("num_hidden_layers", 2)))

    def sizes(self, context, width, layers, inner, heads, epsilon, key_heads=None, is_rms=False):
        w = self.writer
        w.add_context_length(context)
        w.add_embedding_length(width)
        w.add_block_count(layers)
        w.add_feed_forward_length(inner)
        w.add_head_count(heads)
        if key_heads is not None:
            w.add_head_count_kv(key_heads)
        (w.add_layer_norm_rms_eps if is_rms else w.add_layer_norm_eps)(epsilon)
        w.add_bos_token_id(self.config["bos_token_id"])
        w.add_eos_token_id(self.config["eos_token_id"])

    def tensors(self, change=lambda name, weight: weight):
        for name, weight in self.weights.items():
            weight = numpy.ascontiguousarray(change(name, weight))
            to = (self.names.get_name(name, try_suffixes=(".weight", ".bias")) or
                  self.names.get_name(name.removeprefix("transformer."), try_suffixes=(".weight", ".bias")))
            if to is None and ".mlp." in name:  # dense layers, of which `gguf` knows nothing in this architecture
                part = name.split(".mlp.")[1].removesuffix("_proj.weight")
                to = f"blk.{name.split('.')[2]}.ffn_{part}.weight"
            assert to is not None, name
            kind = T.BF16 if weight.ndim > 1 else T.F32
            self.writer.add_tensor(to, gguf.quants.quantize(weight, kind), raw_dtype=kind)
        finish(self.writer)


def load_weights(path):
    from safetensors import safe_open
    weights = {}
    with safe_open(path, "np") as file:
        for name in file.keys():
            try:
                weights[name] = file.get_tensor(name).astype(numpy.float32)
            except TypeError:
                break
    if weights:
        return weights
    # bf16, which numpy does not know: by hand.
    raw = open(path, "rb").read()
    length = int.from_bytes(raw[:8], "little")
    for name, entry in sorted(json.loads(raw[8:8 + length]).items()):
        if name == "__metadata__":
            continue
        begin, end = (8 + length + o for o in entry["data_offsets"])
        assert entry["dtype"] == "BF16"
        bits = numpy.frombuffer(raw[begin:end], numpy.uint16).astype(numpy.uint32) << 16
        weights[name] = bits.view(numpy.float32).reshape(entry["shape"])
    return weights


def theta(config):
    return config.get("rope_theta") or config["rope_parameters"]["rope_theta"]


def make_llama(name, architecture="llama"):
    f = Family(name, architecture)
    c = f.config
    heads, key_heads = c["num_attention_heads"], c["num_key_value_heads"]
    width = c.get("head_dim") or c["hidden_size"] // heads
    f.sizes(c["max_position_embeddings"], c["hidden_size"], c["num_hidden_layers"], c["intermediate_size"], heads,
            c["rms_norm_eps"], key_heads, is_rms=True)
    f.writer.add_rope_dimension_count(width)
    f.writer.add_rope_freq_base(theta(c))
    if width * heads != c["hidden_size"]:
        f.writer.add_key_length(width)
        f.writer.add_value_length(width)
    scaling = c.get("rope_parameters") or c.get("rope_scaling") or {}
    kind = scaling.get("rope_type", "default")
    if kind == "linear":
        f.writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        f.writer.add_rope_scaling_factor(scaling["factor"])
    if kind == "yarn":
        f.writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        f.writer.add_rope_scaling_factor(scaling["factor"])
        f.writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    if kind == "llama3":
        f.writer.add_tensor("rope_freqs.weight", llama3_factors(scaling, theta(c), width))

    def change(tensor, weight):
        if architecture == "llama" and ".q_proj." in tensor:
            return rotary(weight, heads)
        if architecture == "llama" and ".k_proj." in tensor:
            return rotary(weight, key_heads)
        return weight
    f.tensors(change)


def stack_experts(f, names, experts):
    """The experts' tensors of f.weights, taken out of it and written together; `names`: {file's: GGUF's}."""
    stacked = {}
    for tensor in sorted(f.weights):
        if ".experts." not in tensor:
            continue
        head, tail = tensor.split(".experts.")
        weight = f.weights.pop(tensor)
        stacked.setdefault((head.split(".")[2], tail.split(".")[1]), {})[int(tail.split(".")[0])] = weight
    for (layer, part), weights in stacked.items():
        together = numpy.stack([weights[i] for i in range(experts)])
        f.writer.add_tensor(f"blk.{layer}.ffn_{names[part]}_exps.weight", gguf.quants.quantize(together, T.BF16), raw_dtype=T.BF16)


def make_deepseek(name, splits_values):
    """`splits_values`: keys' and values' rows apart, as newer files have them."""
    f = Family(name, "deepseek2")
    c, w = f.config, f.writer
    heads, rank, experts = c["num_attention_heads"], c["kv_lora_rank"], c["n_routed_experts"]
    plain, rotated, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    f.sizes(c["max_position_embeddings"], c["hidden_size"], c["num_hidden_layers"], c["intermediate_size"], heads,
            c["rms_norm_eps"], 1 if splits_values else heads, is_rms=True)
    w.add_rope_dimension_count(rotated)
    w.add_rope_freq_base(theta(c))
    if c["q_lora_rank"]:
        w.add_q_lora_rank(c["q_lora_rank"])
    w.add_kv_lora_rank(rank)
    w.add_key_length(rank + rotated if splits_values else plain + rotated)
    w.add_value_length(rank if splits_values else value)
    if splits_values:
        w.add_key_length_mla(plain + rotated)
        w.add_value_length_mla(value)
    w.add_leading_dense_block_count(c.get("first_k_dense_replace", 0))
    w.add_expert_count(experts)
    w.add_expert_used_count(c["num_experts_per_tok"])
    w.add_expert_shared_count(c["n_shared_experts"])
    w.add_expert_feed_forward_length(c["moe_intermediate_size"])
    w.add_expert_weights_scale(c["routed_scaling_factor"])
    w.add_expert_weights_norm(c.get("norm_topk_prob", False))
    is_v3 = c["model_type"] == "deepseek_v3"
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if is_v3 else gguf.ExpertGatingFuncType.SOFTMAX)
    if c.get("n_group"):
        w.add_expert_group_count(c["n_group"])
        w.add_expert_group_used_count(c["topk_group"])
    stack_experts(f, {"gate_proj": "gate", "up_proj": "up", "down_proj": "down"}, experts)
    for tensor in [t for t in f.weights if splits_values and ".kv_b_proj." in t]:
        both = f.weights.pop(tensor).reshape(heads, plain + value, rank)
        keys, values = both[:, :plain].swapaxes(1, 2), both[:, plain:]
        for part, weight in (("k", keys), ("v", values)):
            w.add_tensor(f"blk.{tensor.split('.')[2]}.attn_{part}_b.weight",
                         gguf.quants.quantize(numpy.ascontiguousarray(weight), T.BF16), raw_dtype=T.BF16)
    for tensor in [t for t in f.weights if t.endswith("e_score_correction_bias")]:
        w.add_tensor(f"blk.{tensor.split('.')[2]}.exp_probs_b.bias", f.weights.pop(tensor))
    f.tensors()


def make_experts(name, architecture, gate, up, down):
    """As make_llama does it, the experts of a layer in one tensor."""
    f = Family(name, architecture)
    c = f.config
    heads, key_heads, experts = c["num_attention_heads"], c["num_key_value_heads"], c.get("num_experts") or c["num_local_experts"]
    f.sizes(c["max_position_embeddings"], c["hidden_size"], c["num_hidden_layers"], c["intermediate_size"], heads,
            c["rms_norm_eps"], key_heads, is_rms=True)
    f.writer.add_rope_dimension_count(c["hidden_size"] // heads)
    f.writer.add_rope_freq_base(theta(c))
    f.writer.add_expert_count(experts)
    f.writer.add_expert_used_count(c["num_experts_per_tok"])
    if architecture == "qwen2moe":
        f.writer.add_expert_feed_forward_length(c["moe_intermediate_size"])
        f.writer.add_expert_shared_feed_forward_length(c["shared_expert_intermediate_size"])
    stack_experts(f, {gate: "gate", up: "up", down: "down"}, experts)

    def change(tensor, weight):
        if architecture == "llama" and ".q_proj." in tensor:
            return rotary(weight, heads)
        if architecture == "llama" and ".k_proj." in tensor:
            return rotary(weight, key_heads)
        return weight[0] if tensor.endswith("shared_expert_gate.weight") else weight
    f.tensors(change)


def llama3_factors(scaling, base, width):
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    factors = []
    for frequency in 1.0 / base ** (numpy.arange(0, width, 2, dtype=numpy.float32) / width):
        wavelength = 2 * numpy.pi / frequency
        if wavelength < original / high:
            factors.append(1)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return numpy.array(factors, dtype=numpy.float32)


def make_gpt2():
    f = Family("gpt2", "gpt2")
    c = f.config
    f.sizes(c["n_positions"], c["n_embd"], c["n_layer"], c.get("n_inner") or 4 * c["n_embd"], c["n_head"],
            c["layer_norm_epsilon"])
    turned = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
    f.tensors(lambda name, weight: weight.T if name.endswith(turned) else weight)


def make_neox(name):
    f = Family(name, "gptneox")
    c = f.config
    heads = c["num_attention_heads"]
    share = c.get("rotary_pct") or c["rope_parameters"]["partial_rotary_factor"]
    f.sizes(c["max_position_embeddings"], c["hidden_size"], c["num_hidden_layers"], c["intermediate_size"], heads,
            c["layer_norm_eps"])
    f.writer.add_rope_dimension_count(int(share * (c["hidden_size"] // heads)))
    f.writer.add_parallel_residual(c["use_parallel_residual"])
    f.tensors(lambda name, weight: by_kind(weight, heads, 1) if "query_key_value" in name else weight)


def make_falcon(name):
    f = Family(name, "falcon")
    c = f.config
    heads = c["num_attention_heads"]
    key_heads = c["num_kv_heads"] if c["new_decoder_architecture"] else 1
    f.sizes(c["max_position_embeddings"], c["hidden_size"], c["num_hidden_layers"], c["ffn_hidden_size"], heads,
            c["layer_norm_epsilon"], key_heads)
    f.writer.add_rope_freq_base(theta(c))
    f.tensors(lambda name, weight: by_kind(weight, key_heads, heads // key_heads) if "query_key_value" in name else weight)


def make_bloom():
    f = Family("bloom", "bloom")
    c = f.config
    f.sizes(c.get("seq_length", 2048), c["hidden_size"], c["n_layer"], 4 * c["hidden_size"], c["n_head"],
            c["layer_norm_epsilon"])
    f.tensors(lambda name, weight: by_kind(weight, c["n_head"], 1) if "query_key_value" in name else weight)


def make_mpt():
    f = Family("mpt", "mpt")
    c = f.config
    f.sizes(c["max_seq_len"], c["d_model"], c["n_layers"], 4 * c["d_model"], c["n_heads"], c["layer_norm_epsilon"])
    f.writer.add_max_alibi_bias(c["attn_config"]["alibi_bias_max"])
    f.tensors()


def make_tokenizer():
    tokenizer = json.load(open(os.path.join(HERE, "gpt2", "even", "tokenizer.json")))
    vocabulary = {text: i for text, i in tokenizer["model"]["vocab"].items()}
    kinds = {i: gguf.TokenType.NORMAL for i in vocabulary.values()}
    for row in tokenizer["added_tokens"]:
        vocabulary[row["content"]] = row["id"]
        kinds[row["id"]] = gguf.TokenType.CONTROL
    texts = {i: text for text, i in vocabulary.items()}
    rows = 272  # of the model's embedding
    writer = gguf.GGUFWriter(os.path.join(OUT, "tokenizer.gguf"), "gpt2")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts.get(i, "[PAD%d]" % i) for i in range(rows)])
    writer.add_token_types([kinds.get(i, gguf.TokenType.UNUSED) for i in range(rows)])
    writer.add_token_merges([])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(256)
    writer.add_chat_template("{{ messages }}")
    finish(writer)


# ---- seeds of the fuzz target ----

def seed(name, architecture):
    writer = gguf.GGUFWriter(os.path.join(SEEDS, name), architecture)
    writer.add_context_length(8)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(2)
    return writer


def make_seeds():
    random = numpy.random.default_rng(3)

    def add(writer, name, *shape, kind=T.F32):
        values = random.normal(0, 1, shape).astype(numpy.float32)
        writer.add_tensor(name + ".weight", gguf.quants.quantize(values, kind), raw_dtype=kind)

    writer = seed("llama.gguf", "llama")
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    add(writer, "token_embd", 8, 8)
    add(writer, "blk.0.attn_q", 8, 8)
    add(writer, "blk.0.attn_k", 4, 8)
    add(writer, "output_norm", 8)
    writer.add_tensor("rope_freqs.weight", numpy.array([1, 8], numpy.float32))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(["a", "b", "ab", "<s>"])
    writer.add_token_types([1, 1, 1, 3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(3)
    writer.add_chat_template("{{ x }}")
    finish(writer)

    writer = seed("gpt2.gguf", "gpt2")
    writer.add_layer_norm_eps(1e-5)
    add(writer, "token_embd", 8, 8)
    add(writer, "blk.0.attn_qkv", 24, 8)
    add(writer, "blk.0.ffn_up", 8, 8, kind=T.BF16)
    finish(writer)

    writer = seed("falcon.gguf", "falcon")
    writer.add_layer_norm_eps(1e-5)
    writer.add_head_count_kv(1)
    add(writer, "token_embd", 8, 8)
    add(writer, "blk.0.attn_qkv", 16, 8)
    finish(writer)

    writer = gguf.GGUFWriter(os.path.join(SEEDS, "blocks.gguf"), "blocks")
    for kind in SCALES:
        size = gguf.GGML_QUANT_SIZES[kind][1]
        writer.add_tensor(kind.name, random.integers(0, 256, (1, size), dtype=numpy.uint8), raw_dtype=kind)
    writer.add_array("list", [1, 2, 3])
    writer.add_bool("truth", True)
    writer.add_float64("number", 1.5)
    finish(writer)

    writer = seed("sentencepiece.gguf", "llama")
    writer.add_layer_norm_rms_eps(1e-5)
    add(writer, "token_embd", 8, 8)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a", "\u2581a", "b"])
    writer.add_token_scores([0, 0, 0, 0, -3, -2, -1, -4])
    writer.add_token_types([2, 3, 3, 6, 1, 1, 1, 5])
    writer.add_bos_token_id(1)
    finish(writer)

    writer = seed("unigram.gguf", "llama")
    writer.add_layer_norm_rms_eps(1e-5)
    add(writer, "token_embd", 4, 8)
    writer.add_tokenizer_model("t5")
    writer.add_token_list(["<unk>", "\u2581", "a", "\u2581a"])
    writer.add_token_scores([0, -3, -2, -1])
    writer.add_token_types([2, 1, 1, 1])
    finish(writer)

    writer = seed("experts.gguf", "llama")
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(2)
    writer.add_expert_used_count(1)
    add(writer, "token_embd", 4, 8)
    add(writer, "blk.0.ffn_gate_inp", 2, 8)
    add(writer, "blk.0.ffn_gate_exps", 2, 8, 8)
    add(writer, "blk.0.ffn_down_exps", 2, 8, 8)
    finish(writer)

    writer = seed("deepseek.gguf", "deepseek2")
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(2)
    writer.add_kv_lora_rank(4)
    writer.add_key_length_mla(4)
    writer.add_value_length_mla(2)
    writer.add_leading_dense_block_count(0)
    writer.add_expert_count(2)
    writer.add_expert_used_count(1)
    writer.add_expert_shared_count(1)
    writer.add_expert_feed_forward_length(4)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_expert_group_count(1)
    writer.add_expert_group_used_count(1)
    add(writer, "token_embd", 4, 8)
    add(writer, "blk.0.attn_k_b", 2, 4, 2)
    add(writer, "blk.0.attn_v_b", 2, 2, 4)
    finish(writer)

    writer = seed("qwen2moe.gguf", "qwen2moe")
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(2)
    writer.add_expert_used_count(1)
    writer.add_expert_feed_forward_length(4)
    writer.add_expert_shared_feed_forward_length(4)
    add(writer, "token_embd", 4, 8)
    add(writer, "blk.0.ffn_gate_inp_shexp", 8)
    add(writer, "blk.0.ffn_gate_exps", 2, 4, 8)
    finish(writer)


os.makedirs(OUT, exist_ok=True)
os.makedirs(SEEDS, exist_ok=True)
make_seeds()
make_blocks()
for llama in ["llama", "llama_3_1", "llama_linear", "llama_yarn"]:
    make_llama(llama)
make_llama("qwen2", "qwen2")
make_experts("mixtral", "llama", "w1", "w3", "w2")
make_experts("qwen2_moe", "qwen2moe", "gate_proj", "up_proj", "down_proj")
make_deepseek("deepseek_v2_lite", False)
make_deepseek("deepseek_v3", True)
make_gpt2()
make_neox("gpt_neox")
make_neox("gpt_neox_sequential")
make_falcon("falcon_7b")
make_falcon("falcon_40b")
make_bloom()
make_mpt()
make_tokenizer()
