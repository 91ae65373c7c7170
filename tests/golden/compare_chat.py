"""Greedy answers of `dure generate --chat` and of `transformers` to the same short questions.

    python tests/golden/compare_chat.py build/dure MODEL.gguf [--device D] [--tokens N]

MODEL.gguf is a Llama-family model with a byte-level tokenizer and a chat template, such as SmolLM2-135M-Instruct; its
weights are expanded by the Python package `gguf`, put into a LlamaForCausalLM in fp32, and asked through
apply_chat_template. Status 1 when an answer differs.
"""
import argparse
import json
import subprocess
import sys
import tempfile

import gguf
import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

QUESTIONS = [
    "What is the capital of France?", "Name three fruits.", "What is 2 + 3?", "Who wrote Hamlet?",
    "What colour is the sky on a clear day?", "Translate 'good morning' into Spanish.", "What do bees make?",
    "How many days are in a week?", "Is the sun a star?", "What is water made of?", "Give me a word that rhymes with cat.",
    "What is the opposite of hot?", "Which animal says meow?", "What language is spoken in Brazil?",
    "Write a sentence about the sea.", "What is the largest planet?", "Why do leaves fall in autumn?",
    "What is a haiku?", "Say hello politely.", "What should I pack for the beach?",
]
NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "attn_norm": "input_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def read_model(reader):
    """The model of a `llama` GGUF file, its rotated pairs put back as Hugging Face orders them."""
    def value(key):
        return reader.fields["llama." + key].contents()
    heads, key_heads = value("attention.head_count"), value("attention.head_count_kv")
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].contents())
    state = {}
    for tensor in reader.tensors:
        stem = tensor.name.removesuffix(".weight")
        layer = f"model.layers.{stem.split('.')[1]}." if stem.startswith("blk.") else ""
        stem = stem.split(".")[2] if layer else stem
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        if stem in ("attn_q", "attn_k"):
            rows, columns = values.shape
            count = heads if stem == "attn_q" else key_heads
            values = values.reshape(count, rows // count // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        state[f"{layer}{NAMES[stem]}.weight"] = torch.from_numpy(values.copy())
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=value("embedding_length"), intermediate_size=value("feed_forward_length"),
        num_hidden_layers=value("block_count"), num_attention_heads=heads, num_key_value_heads=key_heads,
        max_position_embeddings=value("context_length"), rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": value("rope.freq_base")}, tie_word_embeddings="lm_head.weight" not in state)
    model = LlamaForCausalLM(config).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dure")
    parser.add_argument("model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tokens", type=int, default=48)
    arguments = parser.parse_args()
    reader = gguf.GGUFReader(arguments.model)
    model = read_model(reader)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([arguments.dure, "convert", arguments.model, folder + "/model"], check=True, stdout=subprocess.DEVNULL)
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=folder + "/model/tokenizer.json")
        with open(folder + "/questions", "w") as file:
            file.writelines(json.dumps({"prompt": question}) + "\n" for question in QUESTIONS)
        found = subprocess.run([arguments.dure, "generate", arguments.model, "--chat", "--prompts", folder + "/questions", "--temperature", "0",
                                "--max-tokens", str(arguments.tokens), "--device", arguments.device], check=True, capture_output=True, text=True)
    tokenizer.chat_template = reader.fields["tokenizer.chat_template"].contents()
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    end = reader.fields["tokenizer.ggml.eos_token_id"].contents()
    tokenizer.eos_token = tokens[end]
    tokenizer.bos_token = tokens[reader.fields["tokenizer.ggml.bos_token_id"].contents()]
    torch.manual_seed(0)
    same = 0
    for question, line in zip(QUESTIONS, found.stdout.splitlines(), strict=True):
        answer = json.loads(line)
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            ids = model.generate(**prompt, do_sample=False, max_new_tokens=arguments.tokens, eos_token_id=end, pad_token_id=end)
        wanted = ids[0, prompt["input_ids"].shape[1]:].tolist()
        text = tokenizer.decode(wanted, skip_special_tokens=True)
        is_same = text == answer["text"] and prompt["input_ids"][0].tolist() == answer["prompt_tokens"]
        same += is_same
        print(f"{'same     ' if is_same else 'DIFFERENT'} {question} -> {answer['text']!r}" + ("" if is_same else f"\n  transformers: {text!r}"))
    print(f"{same} of {len(QUESTIONS)} answers are the same")
    sys.exit(same != len(QUESTIONS))


if __name__ == "__main__":
    main()
