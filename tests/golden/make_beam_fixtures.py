#!/usr/bin/env python3
"""Writes tests/golden/beams/cases.json: what transformers' beam search says with some of the models of families/.

    python3 tests/golden/make_beam_fixtures.py      (packages: requirements.txt)

Each case: `model` (a folder of families/), `prompt` (ids), `beams`, `most_tokens`, `length_penalty`, `early_stopping`
(false, true or "never"), `ends` (ids that end a text); then what generate(do_sample=False) gave: `tokens`, generated,
without the end, `has_ended` and `score` (sequences_scores). Everything in f32. Ends are tokens that the models like to
say, so that beams end at different lengths.
"""
import json
import os

import torch
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "beams")


def prompt_of(seed, count, vocabulary):
    state, tokens = seed, []
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        tokens.append((state >> 16) % vocabulary)
    return tokens


def run(model, name, prompt, beams, most, penalty, early, ends):
    made = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False,
        num_beams=beams, max_new_tokens=most, min_new_tokens=None, length_penalty=penalty, early_stopping=early,
        eos_token_id=ends or None, pad_token_id=0, return_dict_in_generate=True, output_scores=True)
    tokens = made.sequences[0, len(prompt):].tolist()
    has_ended = any(t in ends for t in tokens)
    if has_ended:
        tokens = tokens[:min(i for i, t in enumerate(tokens) if t in ends)]
    return dict(model=name, prompt=prompt, beams=beams, most_tokens=most, length_penalty=penalty, early_stopping=early,
                ends=ends, tokens=tokens, has_ended=has_ended, score=float(made.sequences_scores[0]))


def likely_ends(model, prompt, count):
    """Tokens that the model thinks of often, but not at once."""
    with torch.no_grad():
        greedy = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=12, eos_token_id=None,
                                pad_token_id=0)[0, len(prompt):]
        logits = model(greedy[None]).logits[0]
    order = logits.softmax(-1).mean(0).argsort(descending=True).tolist()
    return [t for t in order if t != greedy[0].item()][1:1 + count]


def main():
    os.makedirs(OUT, exist_ok=True)
    cases = []
    for n, name in enumerate(["llama", "gpt2", "mistral"]):
        model = AutoModelForCausalLM.from_pretrained(os.path.join(HERE, "families", name), dtype=torch.float32).eval()
        model.generation_config.eos_token_id = None
        settings = [(2, 12, 1.0, False, 1), (4, 16, 1.0, False, 1), (4, 16, 1.0, True, 1),
                    (4, 16, 1.0, "never", 1), (3, 16, 0.0, False, 2), (5, 16, 2.0, False, 2), (5, 16, 2.0, True, 2),
                    (3, 14, -1.0, "never", 1), (4, 8, 0.6, False, 0), (8, 10, 1.0, False, 3)]
        for k, (beams, most, penalty, early, ends) in enumerate(settings):
            prompt = prompt_of(100 * n + k, 3 + 2 * k, model.config.vocab_size)
            cases.append(run(model, name, prompt, beams, most, penalty, early, likely_ends(model, prompt, ends)))
    with open(os.path.join(OUT, "cases.json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    print(f"{len(cases)} cases, {sum(case['has_ended'] for case in cases)} of which end before their length")


if __name__ == "__main__":
    main()
